//! Finishes the I/O of an exit without running the guest, or gives it up.
//!
//! KVM finishes an I/O at the start of the next KVM_RUN (KVM API 5, KVM_EXIT_IO). So it must be finished or given up before the
//! processor's state is changed or saved.

use flatland_contract::Direction;
use flatland_x86::{DebugStop, End, Engine, EngineError, Exit, Sent, Settled, eflags};

use super::run_page::{self, Io};
use super::{Kind, KvmEngine, LastExit, Output};

impl KvmEngine {
    /// Finishes the I/O of the last exit without running the guest: KVM_RUN does that first, and then returns EINTR
    /// at once if `immediate_exit` is set (KVM API 4.10 and 5). Returns an exit if there was one: memory may refuse
    /// what an `ins` has read.
    pub(super) fn finish_io(&mut self) -> Result<Option<Kind>, EngineError> {
        self.vcpu.set_kvm_immediate_exit(1);
        let result = self.enter_kvm();
        self.vcpu.set_kvm_immediate_exit(0);
        Ok(match result? {
            // The instruction is complete, and the guest is single-stepped.
            Kind::Debug | Kind::Interrupted => None,
            kind => Some(kind),
        })
    }

    /// Finishes an exit that is given up, and ignores the exits that follow: KVM reports each part of an access
    /// outside RAM.
    pub(super) fn give_up_io(&mut self) -> Result<(), EngineError> {
        while let Some(Kind::Mmio(..)) = self.finish_io()? {}
        Ok(())
    }

    /// Finishes an `out`, which causes no exit.
    pub(super) fn finish_out(&mut self) -> Result<LastExit, EngineError> {
        self.give_up_io()?;
        let regs = self.kvm_regs()?;
        let goes_on = regs.rcx as u32 != 0 && self.repeated(regs.rip as u32).is_some();
        Ok(LastExit::Sent { goes_on })
    }

    /// Moves all output from the ring to `unreported`.
    pub(super) fn drain_ring(&mut self) -> Result<(), EngineError> {
        while let Some(port) = self.ring.take(&mut self.vcpu)? {
            let bytes = self.ring.bytes().to_vec();
            self.unreported.push_back(Output { port, width: 1, bytes, last: LastExit::Before });
        }
        Ok(())
    }

    /// Gives up a pending I/O exit. Output has been sent, and is reported after that of the ring. Input becomes the
    /// next instruction again.
    pub(super) fn give_up_pending_io(&mut self) -> Result<(), EngineError> {
        if !matches!(self.pending, Some(Kind::Io)) {
            return Ok(());
        }
        self.pending = None;
        self.drain_ring()?;
        let Io { port, width, direction, data } = run_page::io(self.vcpu.get_kvm_run());
        match direction {
            Direction::Out => {
                let bytes = data.to_vec();
                let last = self.finish_out()?;
                self.unreported.push_back(Output { port, width, bytes, last });
            }
            Direction::In => self.give_up_input(0)?,
        }
        Ok(())
    }

    /// See [`flatland_x86::Engine::settle`].
    pub(super) fn settle_exit(&mut self, filled: usize) -> Result<Settled, EngineError> {
        let asked = self.pending_input().map_or(0, |(_, _, data)| data.len());
        let input_is_filled = filled >= asked;
        let is_transfer = matches!(self.last, LastExit::In | LastExit::Out | LastExit::Sent { .. });
        match self.last {
            LastExit::In if input_is_filled => {
                self.pending = self.finish_io()?;
                self.last = LastExit::After;
            }
            LastExit::In => {
                self.give_up_input(filled)?;
                self.last = LastExit::Before;
            }
            LastExit::Out => self.last = self.finish_out()?,
            LastExit::Repeated(repeated) => {
                let regs = match repeated.direction {
                    Direction::In if !input_is_filled => repeated.regs_after_part(filled as u32),
                    _ => repeated.regs_after(),
                };
                self.set_kvm_regs(&regs)?;
                self.last = LastExit::Before;
            }
            LastExit::Fault(..) => self.give_up_io()?,
            LastExit::Before | LastExit::After | LastExit::Sent { .. } | LastExit::Elsewhere(_) => {}
        }
        let mut settled = Settled::default();
        let is_complete = is_transfer && !matches!(self.last, LastExit::Before);
        if is_complete && self.stopping.is_active() && self.pending.is_none() {
            let regs = self.kvm_regs()?;
            let goes_on = self.stopping.is_in(regs.rip as u32) || regs.rflags as u32 & eflags::TF != 0;
            settled.stop = (self.stopping.steps() && !goes_on).then_some(DebugStop::Step);
        }
        if matches!(self.pending, Some(Kind::Debug)) && self.stopping.steps() {
            // It lies behind the output in the ring.
            settled.stop = Some(DebugStop::Step);
        }
        if settled.stop.is_some() {
            self.stopping.report(self.kvm_regs()?.rip as u32);
            if let LastExit::Sent { .. } = self.last {
                // The step is not reported again.
                self.last = LastExit::After;
            }
        }
        self.drain_ring()?;
        self.give_up_pending_io()?;
        for output in std::mem::take(&mut self.unreported) {
            self.last = output.last;
            settled.sent.push(Sent { port: output.port, width: output.width, data: output.bytes });
        }
        let exit = match self.pending.take() {
            Some(Kind::Halt) => Some(self.on_halt()?),
            Some(Kind::Mmio(access, address, value)) => Some(self.on_mmio(access, address, value)?),
            Some(Kind::InternalError { suberror }) => Some(self.on_internal_error(suberror)?),
            Some(Kind::Shutdown) => Some(self.on_shutdown()?),
            // Interrupts and stops belong to the caller. An I/O has been given up.
            Some(Kind::Debug | Kind::Breakpoint | Kind::Interrupted | Kind::InterruptWindow | Kind::Io)
            | None => None,
        };
        settled.end = match exit {
            Some(Exit::Fault(fault)) => Some(End::Fault(fault)),
            Some(_) => Some(End::Halt),
            None => None,
        };
        if let LastExit::Fault(..) = self.last {
            self.give_up_io()?;
        }
        Ok(settled)
    }

    /// Discards unreported output, the pending exit, and the unfinished I/O of the last exit.
    pub(super) fn discard_exit(&mut self) -> Result<(), EngineError> {
        let is_pending = self.pending.take().is_some();
        self.drain_ring()?;
        self.unreported.clear();
        if is_pending || matches!(self.last, LastExit::In | LastExit::Out | LastExit::Fault(..)) {
            self.give_up_io()?;
        }
        self.last = LastExit::Before;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flatland_contract::Port;
    use flatland_x86::{MemorySize, Registers};

    use super::*;

    /// An engine that has reported the first piece of the ring. The ring still holds another piece, and the exit of
    /// `end` follows it. `None` if tests run without KVM.
    fn behind_the_ring(end: &[u8]) -> Option<KvmEngine> {
        if std::env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
            return None;
        }
        let diagnostics = Port::Diagnostics.number() as u8;
        // mov ecx, 1100; out diagnostics, al; loop; out console, al; out diagnostics, al
        let mut code = vec![0xb9, 0x4c, 4, 0, 0, 0xe6, diagnostics, 0xe2, 0xfc];
        code.extend([0xe6, Port::Console.number() as u8, 0xe6, diagnostics]);
        let end_at = code.len() as u64;
        code.extend(end);
        code.resize(ELSEWHERE as usize, 0x90);
        // mov al, '!'; out 0x80, al; hlt
        code.extend([0xb0, b'!', 0xe6, 0x80, 0xf4]);
        let mut engine = KvmEngine::new(MemorySize::default()).expect("this test needs /dev/kvm");
        engine.write_ram(0, &code);
        // The ring may also end with an exit of the loop, where it is full.
        while engine.pending.is_none() || engine.kvm_regs().unwrap().rip < end_at {
            assert!(matches!(engine.run().unwrap(), Exit::Out { .. }));
        }
        Some(engine)
    }

    const ELSEWHERE: u32 = 0x80;

    type Sent = (u16, u8, Vec<u8>);

    /// Runs to the end and returns the output, how the run ended, and the registers. Each input is a Z.
    fn rest(engine: &mut KvmEngine) -> (Vec<Sent>, String, Registers) {
        let mut output = Vec::new();
        loop {
            match engine.run().unwrap() {
                Exit::Out { port, width, data } => output.push((port, width, data.to_vec())),
                Exit::In { data, .. } => data.fill(b'Z'),
                exit => {
                    let end = match exit {
                        Exit::Halt => End::Halt,
                        Exit::Fault(fault) => End::Fault(fault),
                        exit => panic!("{exit:?}"),
                    };
                    return (output, in_words(end, engine), engine.registers().unwrap());
                }
            }
        }
    }

    fn in_words(end: End, engine: &mut KvmEngine) -> String {
        format!("{end:?} {:?}", engine.location().unwrap())
    }

    /// The same after the last exit was settled.
    fn rest_after(settled: &Settled, engine: &mut KvmEngine) -> (Vec<Sent>, String, Registers) {
        let sent = |sent: &flatland_x86::Sent| (sent.port, sent.width, sent.data.clone());
        let mut output: Vec<_> = settled.sent.iter().map(sent).collect();
        if let Some(end) = settled.end {
            return (output, in_words(end, engine), engine.registers().unwrap());
        }
        let (more, end, registers) = rest(engine);
        output.extend(more);
        (output, end, registers)
    }

    /// Consecutive output of one port as one.
    fn joined((output, end, registers): (Vec<Sent>, String, Registers)) -> (Vec<Sent>, String, Registers) {
        let mut joined: Vec<Sent> = Vec::new();
        for (port, width, data) in output {
            match joined.last_mut() {
                Some(last) if (last.0, last.1) == (port, width) => last.2.extend(data),
                _ => joined.push((port, width, data)),
            }
        }
        (joined, end, registers)
    }

    const ENDS: [&[u8]; 7] = [
        // hlt
        &[0xf4],
        // out 0x80, eax; hlt
        &[0xe7, 0x80, 0xf4],
        // in al, console; out 0x80, al; hlt
        &[0xe4, 0xe9, 0xe6, 0x80, 0xf4],
        // mov edx, 0xe9; mov edi, 0x1000; mov ecx, 3; rep insb; mov eax, [0x1000]; out 0x80, eax; hlt
        &[
            0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x10, 0, 0, 0xb9, 3, 0, 0, 0, 0xf3, 0x6c, 0xa1, 0, 0x10, 0, 0,
            0xe7, 0x80, 0xf4,
        ],
        // mov eax, [0xf0000000]
        &[0xa1, 0, 0, 0, 0xf0],
        // mov [0xf0000000], eax
        &[0xa3, 0, 0, 0, 0xf0],
        // ud2
        &[0x0f, 0x0b],
    ];

    /// This test needs KVM.
    #[test]
    fn what_lies_in_the_ring_and_behind_it_is_settled() {
        for end in ENDS {
            let Some(mut plain) = behind_the_ring(end) else { return };
            let expected = joined(rest(&mut plain));
            assert!(expected.0.len() >= 2, "{:?}", expected.0);

            let mut engine = behind_the_ring(end).expect("there is KVM");
            let settled = engine.settle(0).unwrap();
            let (state, position) = engine.processor().unwrap();
            let ram = engine.save_ram().unwrap();
            let again = engine.settle(0).unwrap();
            assert!(again.sent.is_empty() && again.end.is_none(), "{again:?}");
            assert_eq!(joined(rest_after(&settled, &mut engine)), expected, "after settling {end:x?}");
            for _ in 0..2 {
                engine.restore_ram(&ram).unwrap();
                engine.set_processor(&state, position).unwrap();
                assert_eq!(
                    joined(rest_after(&settled, &mut engine)),
                    expected,
                    "after the restore of {end:x?}"
                );
            }
            let mut other = KvmEngine::new(MemorySize::default()).unwrap();
            other.restore_ram(&ram).unwrap();
            other.set_processor(&state, position).unwrap();
            assert_eq!(joined(rest_after(&settled, &mut other)), expected, "in another engine: {end:x?}");
        }
    }

    /// This test needs KVM.
    #[test]
    fn a_new_state_drops_what_lies_in_the_ring_and_behind_it() {
        for end in ENDS {
            let Some(mut engine) = behind_the_ring(end) else { return };
            let registers = Registers { eip: ELSEWHERE, ..engine.registers().unwrap() };
            let mut other = behind_the_ring(end).expect("there is KVM");
            rest(&mut other);
            other.set_registers(&registers).unwrap();
            let (state, position) = other.processor().unwrap();
            engine.set_processor(&state, position).unwrap();
            let (output, end_of_it, _) = rest(&mut engine);
            assert_eq!(output, [(0x80, 1, b"!".to_vec())], "{end:x?}");
            assert!(end_of_it.starts_with("Halt"), "{end_of_it}");
        }
    }

    /// This test needs KVM.
    #[test]
    fn new_registers_drop_the_exit_behind_the_ring_but_no_output() {
        for end in ENDS {
            let Some(mut engine) = behind_the_ring(end) else { return };
            let registers = Registers { eip: ELSEWHERE, ..engine.registers().unwrap() };
            engine.set_registers(&registers).unwrap();
            assert_eq!(engine.registers().unwrap(), registers.as_held());
            let (output, end_of_it, _) = rest(&mut engine);
            let ports: Vec<_> = output.iter().map(|(port, width, _)| (*port, *width)).collect();
            let (console, diagnostics) = (Port::Console.number(), Port::Diagnostics.number());
            // The guest had already sent this.
            let sent: &[_] = if end[0] == 0xe7 { &[(0x80, 4)] } else { &[] };
            let expected = [&[(console, 1), (diagnostics, 1)], sent, &[(0x80, 1)]].concat();
            assert_eq!(ports, expected, "{end:x?}");
            assert_eq!(output.last().expect("there is some").2, b"!");
            assert!(end_of_it.starts_with("Halt"), "{end_of_it}");
        }
    }
}
