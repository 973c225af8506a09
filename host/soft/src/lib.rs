#![doc = include_str!("../README.md")]
//!
//! Instructions are decoded once, a block at a time (`block`, `decode`), into operations (`operation`), which are
//! then executed. The files in `instructions` are the groups of SDM volume 1, section 5.1.
//!
//! Floating-point numbers are computed with integers (`float`), so that results are the same on any host.
//!
//! It does not have real mode, task switches by the processor, virtual-8086 mode and what came later than SSE2. An
//! instruction that needs one of them is a fault that names it. `cpuid` does not advertise them.

#![no_std]

extern crate alloc;

mod block;
mod comparisons;
mod cpu;
mod decode;
mod engine;
mod event;
mod exception;
mod flags;
mod float;
mod fpu;
mod instructions;
mod int;
mod memory;
mod operand;
mod operation;
mod privilege;
mod segment;
mod stop;
mod tlb;
#[cfg(all(feature = "translate", unix, target_arch = "x86_64"))]
mod translate;
#[cfg(not(all(feature = "translate", unix, target_arch = "x86_64")))]
#[path = "translate/none.rs"]
mod translate;
mod trap;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering, fence};

use flatland_x86::{
    CodeBytes, DebugStop, Fault, FaultKind, Interrupt, Location, MemoryMap, PendingException, Processor, Ram,
    Shadow, Stops, cr0,
};

use block::{Blocks, Id};
use cpu::{Cpu, register};
use event::{Break, Event, EventKind, In, OutData, Problem, Request};
use exception::Undelivered;
use operation::{Op, execute_block};
use segment::number;
use trap::AfterInstruction;

/// The engine's name in a sentence.
const NAME: &str = "the soft engine";

/// No limit of instructions. A block that costs more than what is left of the limit is executed one instruction at a
/// time. So a block that costs [`u64::MAX`] always is.
const NO_LIMIT: u64 = u64::MAX - 1;

/// The interpreter: a processor and its RAM.
#[derive(Debug)]
pub struct SoftEngine {
    cpu: Cpu,
    blocks: Blocks,
    stops: Stops,
    interrupted: Arc<Interrupted>,
    /// The transfers of the last [`Exit::In`], until their instruction is complete.
    input: Option<In>,
    /// The data of these transfers.
    input_data: Vec<u8>,
    /// The data of the last [`Exit::Out`].
    output: OutData,
    location: Location,
    /// The checks after the instruction of the last exit, if they are still to be made.
    after: Option<AfterInstruction>,
    /// The breakpoint that was reported last.
    reported: Option<u32>,
    /// An exception to deliver before the next instruction.
    pending: Option<PendingException>,
    /// The instruction count at which to return.
    interrupt_at: Option<u64>,
}

/// Whether the run must return. Set by another thread.
#[derive(Debug, Default)]
struct Interrupted(AtomicBool);

impl Interrupt for Interrupted {
    fn interrupt(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Why the processor stopped.
#[derive(Debug)]
enum Stopped {
    In(In),
    Out { port: u16, width: u8 },
    Halt,
    Fault(Fault),
    Interrupted,
    Debug(DebugStop),
}

/// How a block ended.
enum BlockEnd {
    /// The processor continues.
    Complete,
    /// It continues in the handler of an event.
    InHandler,
    /// It continues with the same instruction.
    Again,
    /// It stops.
    Stopped(Stopped),
}

impl SoftEngine {
    /// A machine's processor and zeroed RAM, in the contract's state at entry.
    pub fn new(memory: impl Into<MemoryMap>) -> Self {
        let memory = memory.into();
        let ram = Ram::zeroed(memory.ram().bytes() as usize);
        Self::with_ram(memory, ram)
    }

    /// The same with this RAM, which must have the size that the map says.
    pub fn with_ram(memory: impl Into<MemoryMap>, ram: Ram) -> Self {
        Self {
            cpu: Cpu::new(memory.into(), ram),
            blocks: Blocks::default(),
            stops: Stops::default(),
            interrupted: Arc::default(),
            input: None,
            input_data: Vec::new(),
            output: OutData::Accumulator([0; 4]),
            location: Location::At(flatland_contract::memory::ENTRY),
            after: None,
            reported: None,
            pending: None,
            interrupt_at: None,
        }
    }

    /// From now on, a block is translated to code of the host when it has been executed so often; without a number, none is
    /// any more. What is translated stays so.
    #[cfg(all(feature = "translate", unix, target_arch = "x86_64"))]
    pub fn translate_after(&mut self, executions: Option<u32>) {
        self.blocks.translate_after(executions);
    }

    /// The instruction count up to which whole blocks may be executed without checks. 0 if each instruction needs one.
    fn limit(&self) -> u64 {
        let watch = &self.cpu.memory.watch;
        let one_by_one = self.stops.step
            || watch.watches_loads()
            || watch.has_hit()
            || self.cpu.has_breakpoints()
            || self.cpu.control_flags & flags::TF != 0
            || self.cpu.is_interruptible();
        let limit = self.stops.instructions.unwrap_or(NO_LIMIT).min(self.interrupt_at.unwrap_or(NO_LIMIT));
        if one_by_one { 0 } else { limit }
    }

    fn execute(&mut self, interrupted: &Interrupted) -> Stopped {
        if self.cpu.memory.code_changed() {
            self.blocks.remove_changed(&mut self.cpu);
        }
        if let Some(stopped) = self.finish_last().or_else(|| self.deliver_pending()) {
            return stopped;
        }
        // A reported breakpoint is skipped only if the run begins there.
        self.reported =
            self.reported.filter(|&at| at == self.cpu.eip && self.stops.breakpoints.contains(&at));
        loop {
            let executed = match (self.blocks.are_seen(), self.cpu.is_paged()) {
                (false, false) => self.execute_blocks::<false, false>(interrupted),
                (false, true) => self.execute_blocks::<false, true>(interrupted),
                (true, false) => self.execute_blocks::<true, false>(interrupted),
                (true, true) => self.execute_blocks::<true, true>(interrupted),
            };
            let stopped = match executed {
                None => self.execute_one(),
                stopped => stopped,
            };
            if let Some(stopped) = stopped {
                return stopped;
            }
        }
    }

    /// Completes the instruction of the last exit.
    fn finish_last(&mut self) -> Option<Stopped> {
        self.complete_input();
        let after = self.after.take()?;
        self.after_instruction(after)
    }

    fn complete_input(&mut self) {
        let Some(input) = self.input.take() else { return };
        let complete = instructions::complete_input(&mut self.cpu, &input, &self.input_data);
        self.cpu.instructions += u64::from(complete);
        if complete {
            self.blocks.was_completed(&mut self.cpu, input.eip);
        }
        self.input_completed(complete);
        if self.cpu.memory.code_changed() {
            self.blocks.remove_changed(&mut self.cpu);
        }
        self.after = self.one_by_one(input.eip, complete);
    }

    /// Delivers the exception that was pending in the state that was set.
    fn deliver_pending(&mut self) -> Option<Stopped> {
        let PendingException { vector, error_code } = self.pending.take()?;
        let event = Event { vector, error_code, kind: EventKind::Trap };
        let eip = self.cpu.eip;
        match self.on_event(event, eip, eip) {
            BlockEnd::Stopped(stopped) => Some(stopped),
            _ => self.after_instruction(AfterInstruction { eip, trap: false, complete: true }),
        }
    }

    /// Delivers the first interrupt that is pending, if the processor accepts it here.
    fn deliver_interrupt(&mut self) -> Option<BlockEnd> {
        if !self.cpu.is_interruptible() || self.cpu.shadow() != Shadow::None {
            return None;
        }
        let vector = self.cpu.interrupts.take_highest()?.number();
        let eip = self.cpu.eip;
        Some(self.on_event(Event { vector, error_code: None, kind: EventKind::Trap }, eip, eip))
    }

    /// Gives up the last exit: its instruction is the next one.
    fn forget_exit(&mut self) {
        (self.input, self.after, self.pending) = (None, None, None);
        self.blocks.jumped();
        self.cpu.memory.watch.take_hit();
        self.cpu.met = 0;
        self.location = Location::At(self.cpu.eip);
    }

    /// Why this engine cannot run on from a state, if it cannot.
    fn lacks(state: &Processor) -> Option<&'static str> {
        [
            (state.cr0 & cr0::PE == 0, "real mode"),
            (state.registers.eflags & flags::VM != 0, "virtual-8086 mode"),
        ]
        .into_iter()
        .find_map(|(needs, what)| needs.then_some(what))
    }

    /// Executes whole blocks. Returns `None` when the next block must be executed one instruction at a time, and when
    /// paging was turned on or off.
    fn execute_blocks<const ARE_SEEN: bool, const PAGED: bool>(
        &mut self,
        interrupted: &Interrupted,
    ) -> Option<Stopped> {
        let mut limit = self.limit();
        if limit == 0 && !interrupted.0.load(Ordering::Relaxed) {
            return None;
        }
        let mut id = self.blocks.find(&mut self.cpu, false);
        loop {
            if interrupted.0.load(Ordering::Relaxed) {
                // The caller reads the reason of this interrupt next. The fence keeps that read after this store.
                interrupted.0.store(false, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                self.location = Location::At(self.cpu.eip);
                return Some(Stopped::Interrupted);
            }
            let block = self.blocks.get(id);
            if block.cost > limit.saturating_sub(self.cpu.instructions) {
                return None;
            }
            let before = self.cpu.instructions;
            let (op, reason) = if ARE_SEEN || PAGED {
                execute_block(&mut self.cpu, &block.ops)
            } else {
                self.blocks.execute(&mut self.cpu, id, limit)
            };
            if reason == Break::Branch {
                let executed = u64::from(op.ordinal);
                self.cpu.instructions += executed;
                if ARE_SEEN {
                    self.blocks.was_seen(id, executed);
                }
                id = self.blocks.next::<PAGED>(&mut self.cpu, id);
                continue;
            }
            let (op, reason) = match (*op, reason) {
                (op, Break::CodeChanged) => self.execute_rest(id, op),
                other => other,
            };
            let end = self.end_block(&op, reason);
            if ARE_SEEN {
                self.blocks.was_executed(id, self.cpu.instructions - before);
            }
            if let BlockEnd::Stopped(stopped) = end {
                return Some(stopped);
            }
            if self.cpu.memory.watch.has_hit() {
                // A repeated instruction is completed first, by `execute_one`.
                let complete = !matches!(end, BlockEnd::Again);
                return self.after_instruction(AfterInstruction { eip: op.eip, trap: false, complete });
            }
            limit = self.limit();
            if self.cpu.is_paged() != PAGED {
                return None;
            }
            id = self.blocks.find(&mut self.cpu, false);
        }
    }

    /// Continues in a block after a store to decoded code, as long as the block itself is not removed, and the store is
    /// not watched and changed no page table.
    #[cold]
    fn execute_rest(&mut self, id: Id, mut op: Op) -> (Op, Break) {
        loop {
            self.blocks.remove_changed(&mut self.cpu);
            let is_elsewhere = self.cpu.memory.tlb.take_changed();
            if is_elsewhere || !self.blocks.contains(id) || self.cpu.memory.watch.has_hit() {
                return (op, Break::CodeChanged);
            }
            let ops = &self.blocks.get(id).ops;
            // The last one only ends the block.
            let executed = ops[..ops.len() - 1].partition_point(|other| other.ordinal <= op.ordinal);
            let (last, reason) = execute_block(&mut self.cpu, &ops[executed..]);
            op = *last;
            if reason != Break::CodeChanged {
                return (op, reason);
            }
        }
    }

    /// Executes one instruction, with all checks before and after it.
    fn execute_one(&mut self) -> Option<Stopped> {
        let eip = self.cpu.eip;
        if self.stops.instructions.is_some_and(|limit| self.cpu.instructions >= limit) {
            return Some(self.debug_stop(DebugStop::InstructionLimit, Location::At(eip)));
        }
        if self.interrupt_at.take_if(|at| self.cpu.instructions >= *at).is_some() {
            self.location = Location::At(eip);
            return Some(Stopped::Interrupted);
        }
        if let Some(end) = self.deliver_interrupt() {
            return match end {
                BlockEnd::Stopped(stopped) => Some(stopped),
                _ => self.after_instruction(AfterInstruction { eip, trap: false, complete: true }),
            };
        }
        if self.reported.take() != Some(eip) && self.stops.breakpoints.contains(&eip) {
            return Some(self.debug_stop(DebugStop::Breakpoint, Location::At(eip)));
        }
        let trap = self.cpu.control_flags & flags::TF != 0;
        let (id, resume) = match self.stop_at_breakpoint() {
            Some(BlockEnd::Stopped(stopped)) => return Some(stopped),
            Some(_) => return self.after_instruction(AfterInstruction { eip, trap: false, complete: true }),
            None => (self.blocks.find(&mut self.cpu, true), self.take_resume_flag()),
        };
        let (op, reason) = execute_block(&mut self.cpu, &self.blocks.get(id).ops);
        let op = *op;
        let mut after = AfterInstruction { eip, trap, complete: true };
        let before = self.cpu.instructions;
        let end = self.end_block(&op, reason);
        self.blocks.was_executed(id, self.cpu.instructions - before);
        self.keep_resume_flag(&end, eip, resume);
        match end {
            BlockEnd::Complete => {}
            // The gate has cleared TF before a trap could come (SDM volume 3, section 19.3.1.4).
            BlockEnd::InHandler => after.trap = false,
            BlockEnd::Again => after.complete = false,
            BlockEnd::Stopped(stopped) => {
                if let Stopped::Out { .. } = stopped {
                    after.complete = self.cpu.eip != eip;
                    self.after = Some(after);
                }
                return Some(stopped);
            }
        }
        self.after_instruction(after)
    }

    /// Ends a block, or the executed part of one: counts instructions and handles requests, exceptions and faults.
    #[inline(never)]
    fn end_block(&mut self, op: &Op, reason: Break) -> BlockEnd {
        let cpu = &mut self.cpu;
        let before = u64::from(op.ordinal) - 1;
        let left = match reason {
            Break::Branch | Break::BranchAnew => {
                cpu.instructions += before + 1;
                BlockEnd::Complete
            }
            Break::CodeChanged => {
                cpu.instructions += before + 1;
                cpu.eip = op.next;
                BlockEnd::Complete
            }
            Break::Again => {
                cpu.instructions += before;
                cpu.eip = op.eip;
                BlockEnd::Again
            }
            Break::Request => {
                cpu.instructions += before;
                match self.on_request(op) {
                    // An interrupt wakes the processor.
                    Stopped::Halt if self.cpu.is_interruptible() => BlockEnd::Complete,
                    stopped => BlockEnd::Stopped(stopped),
                }
            }
            Break::Problem => {
                cpu.instructions += before;
                cpu.eip = op.eip;
                self.on_problem(op)
            }
        };
        if self.cpu.memory.code_changed() {
            self.blocks.remove_changed(&mut self.cpu);
        }
        left
    }

    fn on_request(&mut self, op: &Op) -> Stopped {
        self.location = Location::At(op.eip);
        match self.cpu.request.take() {
            Some(Request::In(input)) => {
                self.cpu.eip = op.eip;
                Stopped::In(input)
            }
            Some(Request::Out { port, width, data, complete }) => {
                self.cpu.instructions += u64::from(complete);
                self.output = data;
                Stopped::Out { port, width }
            }
            Some(Request::Halt) | None => {
                self.cpu.instructions += 1;
                Stopped::Halt
            }
        }
    }

    /// Handles an instruction that cannot be executed. If the guest has an IDT, it gets the exception.
    fn on_problem(&mut self, op: &Op) -> BlockEnd {
        let problem = self.cpu.problem;
        let location = Location::At(op.eip);
        let kind = match problem {
            Problem::Event(event) => return self.on_event(event, op.eip, op.next),
            Problem::Refused(access, address) => {
                self.cpu.memory.map().fault(access, address, self.cpu.reg(register::ESP))
            }
            Problem::Unsupported => self.unsupported(op.eip),
        };
        self.fault(kind, location)
    }

    /// Handles an exception or software interrupt of the instruction between two addresses.
    fn on_event(&mut self, event: Event, eip: u32, next: u32) -> BlockEnd {
        self.cpu.note_page_fault(event);
        self.cpu.end_shadow();
        if !self.cpu.has_idt() {
            return self.on_event_without_idt(event, eip, next);
        }
        let delivered = exception::deliver(&mut self.cpu, event, eip, next);
        // A fault undoes what its instruction has done, and the frame is the processor's own access.
        self.cpu.met = 0;
        match delivered {
            Ok(delivered) => {
                self.entered_handler(delivered);
                self.cpu.instructions += u64::from(delivered.kind.is_software());
                BlockEnd::InHandler
            }
            Err(Undelivered::TripleFault) => {
                let kind = self.frame_overflows(event).unwrap_or(FaultKind::TripleFault);
                self.fault(kind, Location::At(eip))
            }
            Err(Undelivered::Unsupported) => self.fault(self.unsupported(eip), Location::At(eip)),
        }
    }

    /// Handles an event while the IDT is the one at entry: it has gates for the processor's own vectors, all of which
    /// lead to the host. Other vectors are beyond its limit. The frame is left below the stack, as on KVM.
    fn on_event_without_idt(&mut self, event: Event, eip: u32, next: u32) -> BlockEnd {
        const VECTORS: u8 = 32;
        const GENERAL_PROTECTION: u8 = 13;
        if let Some(overflow) = self.frame_overflows(event) {
            return self.fault(overflow, Location::At(eip));
        }
        let is_allowed = event.kind != EventKind::Software || self.cpu.privilege_level() == 0;
        let event = if event.vector < VECTORS && is_allowed {
            event
        } else {
            // EXT and IDT (SDM volume 3, section 7.13).
            let external = u32::from(event.kind == EventKind::Trap);
            let error_code = Some(u32::from(event.vector) * 8 + 2 + external);
            Event { vector: GENERAL_PROTECTION, error_code, kind: EventKind::Fault }
        };
        // At another level the frame would go to the stack of level 0, if there is one.
        if self.cpu.privilege_level() == 0 {
            exception::leave_frame(&mut self.cpu, event, eip, next);
        }
        let location = if event.kind.is_software() {
            self.cpu.eip = next;
            Location::EndsAt(next)
        } else {
            Location::At(eip)
        };
        self.fault(FaultKind::Exception { vector: event.vector, error_code: event.error_code }, location)
    }

    /// Whether the event's frame (SDM volume 3, section 7.12.1) goes into the guard below the stack.
    fn frame_overflows(&self, event: Event) -> Option<FaultKind> {
        let frame = if event.error_code.is_some() { 16 } else { 12 };
        let top = self.cpu.look_up(self.cpu.reg(register::ESP).wrapping_sub(1))?.wrapping_add(1);
        let kind = self.cpu.memory.map().frame_fault(top, frame)?;
        matches!(kind, FaultKind::StackOverflow { .. }).then_some(kind)
    }

    fn unsupported(&self, eip: u32) -> FaultKind {
        let linear = self.cpu.segment(number::CS).base.wrapping_add(eip);
        let code = self.cpu.code_at(linear, CodeBytes::MOST);
        FaultKind::Unsupported { engine: NAME, code: CodeBytes::new(&code) }
    }

    fn fault(&mut self, kind: FaultKind, location: Location) -> BlockEnd {
        self.location = location;
        BlockEnd::Stopped(Stopped::Fault(Fault { kind, location }))
    }
}
