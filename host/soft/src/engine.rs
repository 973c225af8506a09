//! The software processor as an [`Engine`]: what a machine asks of it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use flatland_x86::{
    BlockSink, Comparison, DebugStop, Engine, EngineError, Exit, Interrupt, Location, MemoryMap,
    PendingException, PendingInterrupts, Position, Processor, RamCopy, Registers, Settled, Stops,
    SystemRegisters, Unsupported, Vector,
};

use super::cpu::DEBUG_EXCEPTION;
use super::event::OutData;
use super::segment::number;
use super::stop::Watch;
use super::trap::AfterInstruction;
use super::{NAME, SoftEngine, Stopped};

impl Engine for SoftEngine {
    fn name(&self) -> &'static str {
        "soft"
    }

    fn memory_map(&self) -> &MemoryMap {
        self.cpu.memory.map()
    }

    fn run(&mut self) -> Result<Exit<'_>, EngineError> {
        let interrupted = Arc::clone(&self.interrupted);
        Ok(match self.execute(&interrupted) {
            Stopped::In(input) => {
                self.input_data.clear();
                self.input_data.resize(input.count as usize * usize::from(input.width), 0);
                self.input = Some(input);
                Exit::In { port: input.port, width: input.width, data: &mut self.input_data }
            }
            Stopped::Out { port, width } => {
                let data = match &self.output {
                    OutData::Ram(address, len) => self.cpu.memory.bytes(*address, *len),
                    OutData::Accumulator(bytes) => &bytes[..usize::from(width)],
                    OutData::Bytes(bytes) => bytes,
                };
                Exit::Out { port, width, data }
            }
            Stopped::Halt => Exit::Halt,
            Stopped::Fault(fault) => Exit::Fault(fault),
            Stopped::Interrupted => Exit::Interrupted,
            Stopped::Debug(stop) => Exit::Debug(stop),
        })
    }

    fn interrupt_handle(&self) -> Arc<dyn Interrupt> {
        self.interrupted.clone()
    }

    fn pending_input(&mut self) -> Option<(u16, u8, &mut [u8])> {
        self.input.as_ref().map(|input| (input.port, input.width, &mut self.input_data[..]))
    }

    fn registers(&mut self) -> Result<Registers, EngineError> {
        Ok(self.cpu.registers())
    }

    fn set_registers(&mut self, registers: &Registers) -> Result<(), EngineError> {
        self.cpu.set_registers(&registers.as_held());
        self.forget_exit();
        Ok(())
    }

    fn raise(&mut self, vector: Vector) -> Result<(), Unsupported> {
        self.cpu.interrupts.raise(vector);
        Ok(())
    }

    fn pending_interrupts(&self) -> PendingInterrupts {
        self.cpu.interrupts
    }

    fn interrupt_at(&mut self, progress: Option<u64>) -> bool {
        self.interrupt_at = progress;
        true
    }

    fn system_registers(&mut self) -> Result<SystemRegisters, EngineError> {
        let selector = |number| self.cpu.segment(number).selector;
        Ok(SystemRegisters {
            cs: selector(number::CS),
            ds: selector(number::DS),
            es: selector(number::ES),
            fs: selector(number::FS),
            gs: selector(number::GS),
            ss: selector(number::SS),
            cr0: self.cpu.cr0,
            cr2: self.cpu.cr2,
            cr3: self.cpu.cr3,
            cr4: self.cpu.cr4,
        })
    }

    fn set_stops(&mut self, stops: &Stops) -> Result<(), Unsupported> {
        if stops.instructions.is_some() && !self.cpu.counts {
            return Err(Unsupported {
                engine: NAME,
                what: "count the instructions of a run that has been on KVM",
                advice: "run it with the soft engine from its beginning",
            });
        }
        if stops.watchpoints != self.cpu.memory.watch.points() {
            self.cpu.set_watch(Watch::new(&stops.watchpoints));
        }
        self.blocks.set_breakpoints(&mut self.cpu, &stops.breakpoints);
        self.stops = stops.clone();
        Ok(())
    }

    fn watch_comparisons(&mut self, on: bool) -> Result<(), Unsupported> {
        self.blocks.clear(&mut self.cpu);
        self.cpu.comparisons = on.then(Box::default);
        Ok(())
    }

    fn take_comparisons(&mut self) -> Vec<Comparison> {
        self.cpu.comparisons.as_mut().map(|comparisons| comparisons.take()).unwrap_or_default()
    }

    fn set_block_sink(
        &mut self,
        sink: Option<Box<dyn BlockSink>>,
    ) -> Result<Option<Box<dyn BlockSink>>, Unsupported> {
        Ok(self.blocks.set_sink(&mut self.cpu, sink))
    }

    fn block_sink(&mut self) -> Option<&mut dyn BlockSink> {
        self.blocks.sink()
    }

    fn pause_block_sink(&mut self, is_paused: bool) {
        self.blocks.pause_sink(is_paused);
    }

    fn instructions(&self) -> Option<u64> {
        self.cpu.counts.then_some(self.cpu.instructions)
    }

    fn progress(&self) -> Option<u64> {
        Some(self.cpu.instructions)
    }

    fn location(&mut self) -> Result<Location, EngineError> {
        Ok(self.location)
    }

    fn settle(&mut self, filled: usize) -> Result<Settled, EngineError> {
        let mut settled = Settled::default();
        if let Some(input) = self.input {
            self.input_data.truncate(filled);
            match self.input_data.len() / usize::from(input.width) {
                0 => self.forget_exit(),
                made if made < input.count as usize && !input.repeats() => self.forget_exit(),
                _ => self.complete_input(),
            }
        }
        if let Some(AfterInstruction { eip, trap, complete }) = self.after.take() {
            let causes = self.cpu.causes_of_trap(trap);
            if causes != 0 {
                self.cpu.note_debug_exception(causes);
                self.pending = Some(PendingException { vector: DEBUG_EXCEPTION, error_code: None });
            }
            // If a trap is pending, the step ends in its handler.
            if complete && self.pending.is_none() {
                self.location = Location::At(eip);
                settled.stop = match self.cpu.memory.watch.take_hit() {
                    Some((address, access)) => Some(DebugStop::Watchpoint { address, access }),
                    None => self.stops.step.then_some(DebugStop::Step),
                };
                if settled.stop.is_some() {
                    self.reported = Some(self.cpu.eip);
                }
            }
        }
        Ok(settled)
    }

    fn processor(&mut self) -> Result<(Processor, Position), EngineError> {
        let state = Processor { pending: self.pending, ..self.cpu.state() };
        let was_reported = self.reported == Some(self.cpu.eip);
        Ok((state, Position { location: self.location, was_reported }))
    }

    fn set_processor(&mut self, processor: &Processor, position: Position) -> Result<(), EngineError> {
        if let Some(what) = Self::lacks(processor) {
            return Err(EngineError::CannotCarryOn { engine: NAME, what });
        }
        self.cpu.set_state(processor);
        self.forget_exit();
        self.pending = processor.pending;
        self.location = position.location;
        self.reported = position.was_reported.then_some(self.cpu.eip);
        Ok(())
    }

    fn save_ram(&mut self) -> Result<RamCopy, EngineError> {
        Ok(self.cpu.memory.save())
    }

    fn restore_ram(&mut self, copy: &RamCopy) -> Result<(), EngineError> {
        self.cpu.memory.restore(copy);
        Ok(())
    }

    fn ram_was_written(&mut self) {
        self.blocks.clear(&mut self.cpu);
        self.cpu.memory.was_written();
    }

    fn read_ram(&self, address: u32, bytes: &mut [u8]) -> usize {
        let from = self.cpu.memory.bytes(address, bytes.len() as u32);
        bytes[..from.len()].copy_from_slice(from);
        from.len()
    }

    fn write_ram(&mut self, address: u32, bytes: &[u8]) -> usize {
        self.cpu.memory.write_bytes(address, bytes)
    }
}
