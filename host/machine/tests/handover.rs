//! What moves, snapshots and restores must keep, found by a reader who looked for what they lose.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use flatland_contract::Port;
use flatland_machine::{
    Builder, Device, EngineChoice, EngineKind, Event, Host, Machine, MemorySize, Outcome, Program, RunError,
    Snapshot, Stop, Streams, Unfinished, Wants,
};
use flatland_x86::{FaultKind, Fpu, Shadow, WatchKind, Watchpoint, eflags};

/// Whether tests of KVM are left out, because there is none.
fn is_without_kvm() -> bool {
    env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some()
}

fn engines() -> &'static [EngineChoice] {
    match is_without_kvm() {
        true => &[EngineChoice::Soft],
        false => &[EngineChoice::Soft, EngineChoice::Kvm],
    }
}

fn builder(engine: EngineChoice, input: &[u8]) -> Builder {
    Machine::builder()
        .engine(engine)
        .memory(MemorySize::mib(1))
        .input(input)
        .output(Vec::new())
        .time_limit(Duration::from_secs(2))
}
fn machine(engine: EngineChoice, code: &[u8], input: &[u8]) -> Machine {
    builder(engine, input).build(&Program::from_bytes(code.to_vec()).unwrap()).unwrap()
}
fn transfers() -> Wants {
    Wants { transfers: true, ..Wants::default() }
}

/// Of a run that has been on KVM up to its first transfer.
fn snapshot_on_kvm(code: &[u8]) -> Snapshot {
    let mut kvm = machine(EngineChoice::Kvm, code, b"");
    kvm.resume(&transfers()).unwrap();
    kvm.snapshot().unwrap()
}

// out 0xe9, al; jmp $
const TALK_THEN_LOOP: &[u8] = &[0xe6, 0xe9, 0xeb, 0xfe];

#[test]
fn a_limit_cannot_be_kept_by_a_snapshot_that_was_not_counted() {
    if is_without_kvm() {
        return;
    }
    let snapshot = snapshot_on_kvm(TALK_THEN_LOOP);
    let program = Program::from_bytes(TALK_THEN_LOOP.to_vec()).unwrap();
    let mut soft = builder(EngineChoice::Soft, b"").instruction_limit(1000).build(&program).unwrap();
    soft.restore(&snapshot, Streams::none()).unwrap();
    let refused = soft.resume(&Wants::nothing());
    assert!(matches!(refused, Err(RunError::Unsupported(_))), "{refused:?}");
}

/// Code that soft cannot go on with. It is the same whether real mode is of 16 bits at once or after a far jump only:
/// mov edi, 0x1000; mov ebx, edi; mov eax, cr0; and al, 0xfe; mov cr0, eax; out 0xe9, al; mov byte [edi], 1 or [bx]; jmp $
const REAL_MODE: &[u8] = &[
    0xbf, 0, 0x10, 0, 0, 0x89, 0xfb, 0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0, 0xe6, 0xe9, 0xc6, 0x07,
    1, 0xeb, 0xfe,
];

#[test]
fn a_limit_is_not_lost_by_a_restore_that_needs_kvm() {
    if is_without_kvm() {
        return;
    }
    let snapshot = snapshot_on_kvm(REAL_MODE);
    let program = Program::from_bytes(REAL_MODE.to_vec()).unwrap();
    let mut auto =
        builder(EngineChoice::Auto, b"").many_runs().instruction_limit(1000).build(&program).unwrap();
    auto.restore(&snapshot, Streams::none()).unwrap();
    assert_eq!(auto.engine().name(), "kvm");
    let refused = auto.run();
    assert!(matches!(refused, Err(RunError::Unsupported(_))), "{refused:?}");
}

#[test]
fn a_watchpoint_is_not_lost_by_a_restore_that_needs_kvm() {
    if is_without_kvm() {
        return;
    }
    let snapshot = snapshot_on_kvm(REAL_MODE);
    let mut auto = machine(EngineChoice::Auto, &[0xeb, 0xfe], b"");
    let watch = Watchpoint { address: 0x1000, len: 1, kind: WatchKind::Write };
    let wants = Wants { watchpoints: vec![watch], clock: Some(Duration::from_millis(5)), ..Wants::default() };
    assert_eq!(auto.resume(&wants).unwrap(), Event::Clock);
    auto.restore(&snapshot, Streams::none()).unwrap();
    assert_eq!(auto.engine().name(), "kvm");
    let wants = Wants { clock: Some(Duration::from_millis(500)), ..wants };
    let event = auto.resume(&wants);
    assert!(!matches!(event, Ok(Event::Clock)), "the watchpoint was forgotten");
}

#[test]
fn soft_takes_each_of_its_own_snapshots() {
    // It has no real mode.
    let mut soft = machine(EngineChoice::Soft, REAL_MODE, b"");
    let Outcome::Fault(fault) = soft.run().unwrap() else { panic!("it took real mode") };
    assert!(matches!(fault.kind, FaultKind::Unsupported { .. }), "{fault:?}");
    let snapshot = soft.snapshot().unwrap();
    soft.restore(&snapshot, Streams::none()).unwrap();
}

#[test]
fn debug_breakpoints_of_a_guest_under_auto() {
    if is_without_kvm() {
        return;
    }
    // mov ecx, 100; l: out 0xe9, al; loop l; mov eax, 0x19; mov dr0, eax; mov eax, 2; mov dr7, eax; 19: nop; hlt
    let code = [
        0xb9, 100, 0, 0, 0, 0xe6, 0xe9, 0xe2, 0xfc, 0xb8, 0x19, 0, 0, 0, 0x0f, 0x23, 0xc0, 0xb8, 2, 0, 0, 0,
        0x0f, 0x23, 0xf8, 0x90, 0xf4,
    ];
    let ends: Vec<_> = [EngineChoice::Kvm, EngineChoice::Auto]
        .into_iter()
        .map(|engine| machine(engine, &code, b"").run().unwrap())
        .collect();
    assert_eq!(ends[0], ends[1], "kvm, auto");
}

#[test]
fn breakpoints_and_the_resume_flag_move() {
    if is_without_kvm() {
        return;
    }
    #[rustfmt::skip]
    let mut code = vec![
        0x0f, 0x01, 0x1d, 0x20, 0x00, 0x00, 0x00, //  0: lidt [0x20]
        0xb8, 0x17, 0x00, 0x00, 0x00,             //  7: mov eax, 0x17
        0x0f, 0x23, 0xc0,                         //  c: mov dr0, eax
        0xb8, 0x01, 0x00, 0x00, 0x00,             //  f: mov eax, 1
        0x0f, 0x23, 0xf8,                         // 14: mov dr7, eax
        0x43,                                     // 17: inc ebx
        0xf4,                                     // 18: hlt
        0x41,                                     // 19: inc ecx
        0xcf,                                     // 1a: iret
    ];
    // The IDT at 0x28, of which there is #DB's gate.
    code.resize(0x20, 0);
    code.extend([0x0f, 0, 0x28, 0, 0, 0, 0, 0]);
    code.extend([0; 8]);
    code.extend([0x19, 0, 8, 0, 0, 0x8e, 0, 0]);
    let mut m = machine(EngineChoice::Soft, &code, b"");
    let wants = Wants { breakpoints: vec![0x17], ..Wants::default() };
    for ecx in [0, 1] {
        // The host's own breakpoint, before the guest's and after its handler.
        assert!(matches!(m.resume(&wants).unwrap(), Event::Stopped(_)));
        assert_eq!(m.registers().unwrap().ecx, ecx);
    }
    m.move_to(EngineKind::Kvm).unwrap();
    let (state, _) = m.engine().processor().unwrap();
    assert_eq!((state.debug[0], state.debug[6], state.debug[7]), (0x17, 0xffff_0ff1, 0x401));
    assert_ne!(state.registers.eflags & eflags::RF, 0);
    assert_eq!(m.run().unwrap(), Outcome::Halted);
    let registers = m.registers().unwrap();
    assert_eq!((registers.ebx, registers.ecx), (1, 1));
}

fn stops_of(mut machine: Machine, wants: &Wants, snapshots: bool) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = machine.resume(wants).unwrap();
        events.push(event.clone());
        if let Event::Ended(_) = event {
            return events;
        }
        if snapshots {
            machine.snapshot().unwrap();
        }
        assert!(events.len() < 100);
    }
}

#[test]
fn a_breakpoint_behind_a_transfer_is_reported_once() {
    // out 0xe9, al; nop; hlt
    let code = [0xe6, 0xe9, 0x90, 0xf4];
    let wants = Wants { steps: true, transfers: true, breakpoints: vec![2], ..Wants::default() };
    for &engine in engines() {
        let plain = stops_of(machine(engine, &code, b""), &wants, false);
        let with = stops_of(machine(engine, &code, b""), &wants, true);
        assert_eq!(plain, with, "{engine:?}");
    }
}

#[test]
fn a_breakpoint_at_an_instruction_that_one_engine_lacks() {
    if is_without_kvm() {
        return;
    }
    // mov ax, 0x0f; aaa; hlt
    let code = [0x66, 0xb8, 0x0f, 0, 0x37, 0xf4];
    let wants = Wants { breakpoints: vec![4], ..Wants::default() };
    let auto = stops_of(machine(EngineChoice::Auto, &code, b""), &wants, false);
    let soft = stops_of(machine(EngineChoice::Soft, &code, b""), &wants, false);
    assert_eq!(auto, soft);
}

#[test]
fn the_trap_of_tf_survives_two_moves() {
    if is_without_kvm() {
        return;
    }
    // pushf; or dword [esp], 0x100; popf; out 0xe9, al; nop; nop; hlt
    let code = [0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0xe6, 0xe9, 0x90, 0x90, 0xf4];
    let end = |moves: &[EngineKind]| {
        let mut machine = machine(EngineChoice::Soft, &code, b"");
        machine.resume(&transfers()).unwrap();
        for engine in moves {
            machine.move_to(*engine).unwrap();
        }
        machine.run().unwrap()
    };
    let plain = end(&[]);
    assert_eq!(end(&[EngineKind::Kvm]), plain, "one move");
    assert_eq!(end(&[EngineKind::Kvm, EngineKind::Soft]), plain, "two moves");
}

#[test]
fn the_trap_of_tf_survives_a_move_and_a_snapshot() {
    if is_without_kvm() {
        return;
    }
    let code = [0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0xe6, 0xe9, 0x90, 0x90, 0xf4];
    let mut m = machine(EngineChoice::Soft, &code, b"");
    m.resume(&transfers()).unwrap();
    m.move_to(EngineKind::Kvm).unwrap();
    let snapshot = m.snapshot().unwrap();
    let plain = m.run().unwrap();
    m.restore(&snapshot, Streams::none()).unwrap();
    assert_eq!(m.run().unwrap(), plain);
}

// mov ecx, EFER; mov eax, 1 (SCE); xor edx, edx; wrmsr; out 0xe9, al; rdmsr; out 0xf4, al
const EFER: &[u8] =
    &[0xb9, 0x80, 0, 0, 0xc0, 0xb8, 1, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30, 0xe6, 0xe9, 0x0f, 0x32, 0xe6, 0xf4];

#[test]
fn efer_survives() {
    if is_without_kvm() {
        return;
    }
    let mut plain = machine(EngineChoice::Kvm, EFER, b"");
    assert_eq!(plain.run().unwrap(), Outcome::Exited(1));
    let mut moved = machine(EngineChoice::Kvm, EFER, b"");
    moved.resume(&transfers()).unwrap();
    moved.move_to(EngineKind::Soft).unwrap();
    moved.move_to(EngineKind::Kvm).unwrap();
    assert_eq!(moved.run().unwrap(), Outcome::Exited(1), "after two moves");
    let mut kvm = machine(EngineChoice::Kvm, EFER, b"");
    kvm.resume(&transfers()).unwrap();
    let snapshot = kvm.snapshot().unwrap();
    kvm.restore(&snapshot, Streams::none()).unwrap();
    assert_eq!(kvm.run().unwrap(), Outcome::Exited(1), "by name, after a restore");
}

#[test]
fn the_time_stamp_does_not_go_back() {
    if is_without_kvm() {
        return;
    }
    let code = [
        0x0f, 0x31, 0x89, 0xc6, 0x89, 0xd3, 0xe6, 0xe9, 0x0f, 0x31, 0x29, 0xf0, 0x19, 0xda, 0x19, 0xc9, 0x88,
        0xc8, 0xe6, 0xf4,
    ];
    let mut m = machine(EngineChoice::Kvm, &code, b"");
    m.resume(&transfers()).unwrap();
    m.move_to(EngineKind::Soft).unwrap();
    assert_eq!(m.run().unwrap(), Outcome::Exited(0));
}

#[test]
fn nothing_in_the_ring_is_lost_at_a_time_limit() {
    if is_without_kvm() {
        return;
    }
    let diagnostics = Port::Diagnostics.number() as u8;
    // l: out 0xe9, al; out diagnostics, al; inc ecx; jmp l
    let code = [0xe6, 0xe9, 0xe6, diagnostics, 0x41, 0xeb, 0xf9];
    let mut m = machine(EngineChoice::Kvm, &code, b"");
    m.set_time_limit(Duration::from_millis(300));
    assert!(matches!(m.run().unwrap(), Outcome::Stopped(Stop::TimeLimit(_), _)));
    let ecx = m.registers().unwrap().ecx as usize;
    let (out, err) = (m.streams().output.bytes().len(), m.streams().diagnostics.bytes().len());
    assert!(out - ecx <= 1 && err - ecx <= 1, "{ecx} sent, {out} and {err} written");
}

#[test]
fn a_watchpoint_of_before_a_restore_is_forgotten() {
    // mov esi, 0x100; mov edx, 0xe9; outsb; hlt
    let code = [0xbe, 0, 1, 0, 0, 0xba, 0xe9, 0, 0, 0, 0x6e, 0xf4];
    let mut m = machine(EngineChoice::Soft, &code, b"");
    let start = m.snapshot().unwrap();
    let watch = Watchpoint { address: 0x100, len: 1, kind: WatchKind::Read };
    let wants = Wants { watchpoints: vec![watch], transfers: true, ..Wants::default() };
    let first = m.resume(&wants).unwrap();
    m.restore(&start, Streams::none()).unwrap();
    assert_eq!(m.resume(&wants).unwrap(), first);
}

#[test]
fn the_shadow_of_mov_ss_ends() {
    // mov eax, ss; mov ss, eax; nop; nop; out 0xe9, al
    let code = [0x8c, 0xd0, 0x8e, 0xd0, 0x90, 0x90, 0xe6, 0xe9, 0xf4];
    for &engine in engines() {
        let mut m = machine(engine, &code, b"");
        m.resume(&transfers()).unwrap();
        m.snapshot().unwrap();
        assert_eq!(m.engine().processor().unwrap().0.shadow, Shadow::None, "{engine:?}");
    }
}

#[test]
fn why_a_limit_is_refused_under_auto() {
    if is_without_kvm() {
        return;
    }
    let snapshot = snapshot_on_kvm(TALK_THEN_LOOP);
    let error = builder(EngineChoice::Auto, b"").instruction_limit(1000).build_from(&snapshot).unwrap_err();
    assert!(error.to_string().contains("soft engine cannot count"), "{error}");
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn a_step_behind_the_ring_is_settled() {
    use flatland_x86::{DebugStop, Engine, Exit, Stops};

    if is_without_kvm() {
        return;
    }
    let diagnostics = Port::Diagnostics.number() as u8;
    // mov ecx, 2000; l: out diagnostics, al; loop l; hlt
    let code = [0xb9, 0xd0, 7, 0, 0, 0xe6, diagnostics, 0xe2, 0xfc, 0xf4];
    let mut engine = flatland_kvm::KvmEngine::new(MemorySize::mib(1)).unwrap();
    engine.write_ram(0, &code);
    while !engine.holds_output() {
        assert!(matches!(engine.run().unwrap(), Exit::Out { .. }));
    }
    engine.set_stops(&Stops { step: true, ..Stops::default() }).unwrap();
    // Until an output comes out of the ring, with the step behind it.
    loop {
        let before = engine.registers().unwrap();
        match engine.run().unwrap() {
            Exit::Out { .. } => {
                if before.eip == 5 {
                    break;
                }
            }
            Exit::Debug(_) => {}
            exit => panic!("{exit:?}"),
        }
    }
    let settled = engine.settle(0).unwrap();
    assert_eq!(settled.stop, Some(DebugStop::Step));
}

#[test]
fn an_unwanted_watchpoint_is_not_reported() {
    // mov esi, 0x100; mov edx, 0xe9; outsb; nop; hlt
    let code = [0xbe, 0, 1, 0, 0, 0xba, 0xe9, 0, 0, 0, 0x6e, 0x90, 0xf4];
    let mut m = machine(EngineChoice::Soft, &code, b"");
    let watch = Watchpoint { address: 0x100, len: 1, kind: WatchKind::Read };
    let wants = Wants { watchpoints: vec![watch], transfers: true, ..Wants::default() };
    m.resume(&wants).unwrap();
    m.snapshot().unwrap();
    let event = m.resume(&Wants::nothing()).unwrap();
    assert!(matches!(event, Event::Ended(_)), "{event:?}");
}

#[test]
fn an_instruction_that_neither_has_ends_the_run_at_once_whatever_rf_is() {
    if is_without_kvm() {
        return;
    }
    // pshufb mm0, mm1; hlt
    for rf in [0, eflags::RF] {
        let mut m = machine(EngineChoice::Auto, &[0x0f, 0x38, 0x00, 0xc1, 0xf4], b"");
        let (mut state, position) = m.engine().processor().unwrap();
        state.registers.eflags |= rf;
        m.engine().set_processor(&state, position).unwrap();
        let end = m.run().unwrap();
        // A KVM that runs the guest on the processor has it.
        assert!(matches!(end, Outcome::Halted | Outcome::Fault(_)), "{end:?}");
        assert!(m.stats().move_count <= 1, "{rf:#x}: {:?}", m.stats().moves);
    }
}

struct Panics(u8);
impl Device for Panics {
    fn read(&mut self, _: u16, _: &mut Host) -> Result<u8, Unfinished> {
        self.0 += 1;
        if self.0 == 2 {
            panic!("the second one")
        }
        Ok(self.0)
    }
}

#[test]
fn an_input_whose_device_panicked_was_not_made() {
    // mov edx, 0x300; in al, dx; in al, dx; out 0xf4, al
    let code = [0xba, 0, 3, 0, 0, 0xec, 0xec, 0xe6, 0xf4];
    for &engine in engines() {
        let program = Program::from_bytes(code.to_vec()).unwrap();
        let mut m = builder(engine, b"").device(0x300, Panics(0)).build(&program).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| m.run()));
        assert!(caught.is_err());
        m.snapshot().unwrap();
        assert_eq!(m.run().unwrap(), Outcome::Exited(3), "{engine:?}");
    }
}

#[test]
fn the_end_of_a_run_stays_after_a_snapshot() {
    if is_without_kvm() {
        return;
    }
    let diagnostics = Port::Diagnostics.number() as u8;
    // mov ecx, 1100; l: out diagnostics, al; loop l; out console, al; out diagnostics, al; hlt
    let code = [0xb9, 0x4c, 4, 0, 0, 0xe6, diagnostics, 0xe2, 0xfc, 0xe6, 0xe9, 0xe6, diagnostics, 0xf4];
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let program = Program::from_bytes(code.to_vec()).unwrap();
    let mut m = builder(EngineChoice::Kvm, b"").output(writer).build(&program).unwrap();
    let end = m.run().unwrap();
    m.snapshot().unwrap();
    assert_eq!(m.run().unwrap(), end);
}

#[test]
fn steps_under_tf_are_the_same_after_a_settle() {
    // pushf; or dword [esp], 0x100; popf; out 0xe9, al; nop; nop; hlt, with an IDT whose #DB is at 0x80
    let mut code = vec![0x0f, 0x01, 0x1d, 0x60, 0, 0, 0]; // lidt [0x60]
    code.extend([0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0xe6, 0xe9, 0x90, 0x90, 0xf4]);
    code.resize(0x60, 0x90);
    code.extend([0x0f, 0, 0, 2, 0, 0]); // limit, base 0x200
    code.resize(0x80, 0x90);
    code.extend([0x40, 0x40, 0xf4]); // inc eax; inc eax; hlt
    code.resize(0x200, 0);
    code.extend([0; 8]);
    code.extend([0x80, 0, 8, 0, 0, 0x8e, 0, 0]);
    let wants = Wants { steps: true, transfers: true, ..Wants::default() };
    let trace = |snapshots: bool| {
        let mut m = machine(EngineChoice::Soft, &code, b"");
        let mut all = Vec::new();
        loop {
            let event = m.resume(&wants).unwrap();
            if let Event::Stopped(_) = event {
                all.push(m.registers().unwrap().eip)
            }
            if let Event::Ended(_) = event {
                return all;
            }
            if snapshots {
                m.snapshot().unwrap();
            }
        }
    };
    let (plain, settled) = (trace(false), trace(true));
    assert_eq!(plain, settled, "{plain:x?} {settled:x?}");
}

#[test]
fn mxcsr_is_part_of_the_state() {
    if is_without_kvm() {
        return;
    }
    let mut m = machine(EngineChoice::Kvm, &[0xf4], b"");
    let (mut state, position) = m.engine().processor().unwrap();
    let fpu = Fpu { mxcsr: 0x7f80, control: 0x27f, ..Fpu::default() };
    state.fpu = Some(Box::new(fpu.clone()));
    m.engine().set_processor(&state, position).unwrap();
    let after = m.engine().processor().unwrap().0.fpu.unwrap();
    assert_eq!((after.control, after.mxcsr), (fpu.control, fpu.mxcsr));
}
