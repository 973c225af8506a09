//! The processor's state, and the accesses of instructions to it.

mod access;
mod breakpoints;
#[cfg(all(feature = "translate", unix, target_arch = "x86_64"))]
mod offsets;
mod state;

pub use access::PAGE_FAULT;
pub use breakpoints::{DEBUG_EXCEPTION, bits as debug_bits};
pub use state::SYSENTER;

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::comparisons::Comparisons;
use super::event::{Break, Event, EventKind, Problem, Request, Step};
use super::flags::{self, Flags};
use super::fpu::Fpu;
use super::int::{Bytes, Int};
use super::memory::Memory;
use super::segment::{self, Descriptor, Segment, number};
use super::stop::Watch;
use super::tlb::CodePage;
use flatland_x86::{
    Access, MemoryMap, PendingInterrupts, Processor, Ram, SegmentRegister, Shadow, entry, paging,
};

/// General registers' numbers in instructions (SDM volume 2, table 2-2).
pub mod register {
    pub const EAX: u8 = 0;
    pub const ECX: u8 = 1;
    pub const EDX: u8 = 2;
    pub const EBX: u8 = 3;
    pub const ESP: u8 = 4;
    pub const EBP: u8 = 5;
    pub const ESI: u8 = 6;
    pub const EDI: u8 = 7;
    /// Always 0: the base or index of an address that has none.
    pub const ZERO: u8 = 8;
    /// An address that the previous operation has computed.
    pub const ADDRESS: u8 = 9;
}

pub use flatland_x86::entry::Table;

/// The processor.
#[derive(Debug)]
pub struct Cpu {
    /// The general registers and two internal ones: see [`register`]. With 16 elements, an index of four bits needs no
    /// bounds check.
    registers: [u32; 16],
    /// The status flags.
    pub flags: Flags,
    /// The other flags of EFLAGS.
    pub control_flags: u32,
    /// The address of the next instruction, while none is being executed.
    pub eip: u32,
    /// RAM.
    pub memory: Memory,
    segments: [Segment; segment::COUNT],
    /// For each segment register, the address below which a load needs no further check: the start of the guard or
    /// the end of RAM; 0 if the segment is not flat or loads are watched.
    readable: [u32; 8],
    /// The end of the guard, from which loads are allowed again up to the end of RAM. The end of the address space if
    /// there is no guard.
    readable_from: [u32; 8],
    /// The same for stores. Read-only memory and the guard are checked separately, by the marks of lines.
    writable: [u32; 8],
    /// The segments whose accesses need the page tables and nothing else: [`access::READ`], [`access::WRITE`].
    translated: [u8; 8],
    /// The current privilege level: that of SS, except while it changes (SDM volume 3, section 6.5).
    privilege_level: u8,
    /// Which bits of ESP the stack uses: 0xffff_ffff or 0xffff.
    stack_mask: u32,
    /// The global descriptor table.
    pub gdt: Table,
    /// The interrupt descriptor table.
    pub idt: Table,
    /// The local descriptor table.
    pub ldt: SegmentRegister,
    /// The task register. Its segment has the stacks of inner levels and the ports that outer ones may use.
    pub task: SegmentRegister,
    /// CR0.
    pub cr0: u32,
    /// The linear address of the page fault of `problem`.
    pub fault_address: u32,
    /// CR2.
    pub cr2: u32,
    /// CR3.
    pub cr3: u32,
    /// CR4.
    pub cr4: u32,
    /// IA32_SYSENTER_CS, IA32_SYSENTER_ESP and IA32_SYSENTER_EIP.
    pub sysenter: [u32; 3],
    /// DR0 to DR7.
    pub debug: [u32; 8],
    /// The breakpoints of the debug registers that the instruction has met, as bits of DR6.
    pub met: u32,
    /// Instructions executed, up to the start of the current block.
    pub instructions: u64,
    /// What the time stamp was before these.
    pub time_stamp_base: u64,
    /// Whether that is the number since entry. It is not known if another engine has not counted.
    pub counts: bool,
    /// The problem of [`Break::Problem`].
    pub problem: Problem,
    /// The request of [`Break::Request`].
    pub request: Option<Request>,
    /// The last instruction that inhibits traps or interrupts until the next one, and how many instructions had been
    /// executed after it: see [`Self::shadow`].
    shadow: (Shadow, u64),
    /// The interrupts of devices that are to be delivered.
    pub interrupts: PendingInterrupts,
    /// What has been compared, if somebody wants to know. Blocks are decoded in another way for that.
    pub comparisons: Option<Box<Comparisons>>,
    /// The registers of x87, MMX and SSE.
    pub fpu: Box<Fpu>,
    /// Model-specific registers. No instruction of this engine uses them: they are kept for other engines.
    msrs: Vec<(u32, u64)>,
}

impl Cpu {
    /// The processor at the contract's entry.
    pub fn new(memory: MemoryMap, ram: Ram) -> Self {
        let state = Processor::at_entry(memory.ram());
        let mut cpu = Self {
            registers: [0; 16],
            flags: Flags::from_eflags(0),
            control_flags: 0,
            eip: 0,
            memory: Memory::new(memory, ram),
            segments: state.segments.map(Segment::from),
            readable: [0; 8],
            readable_from: [u32::MAX; 8],
            writable: [0; 8],
            translated: [0; 8],
            privilege_level: 0,
            fault_address: 0,
            stack_mask: u32::MAX,
            gdt: state.gdt,
            idt: state.idt,
            ldt: state.ldtr,
            task: state.tr,
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            sysenter: [0; 3],
            debug: [0; 8],
            met: 0,
            instructions: 0,
            time_stamp_base: 0,
            counts: true,
            problem: Problem::Unsupported,
            request: None,
            shadow: (Shadow::None, 0),
            interrupts: PendingInterrupts::NONE,
            comparisons: None,
            fpu: Box::new(Fpu::from(&flatland_x86::Fpu::default())),
            msrs: Vec::new(),
        };
        cpu.set_state(&state);
        cpu
    }

    /// A general register.
    #[inline(always)]
    pub fn reg(&self, number: u8) -> u32 {
        self.registers[usize::from(number & 0xf)]
    }

    /// Stores to a general register.
    #[inline(always)]
    pub fn set_reg(&mut self, number: u8, value: u32) {
        self.registers[usize::from(number & 0xf)] = value;
    }

    /// A general register, or its part of this size. The byte registers are AL, CL, DL, BL, AH, CH, DH and BH.
    #[inline(always)]
    pub fn reg_part<T: Int>(&self, number: u8) -> T {
        if T::BYTES == 1 {
            T::truncate(self.reg(number & 0b11) >> ((number & 0b100) * 2))
        } else {
            T::truncate(self.reg(number))
        }
    }

    /// Stores to a general register, or its part of this size.
    #[inline(always)]
    pub fn set_reg_part<T: Int>(&mut self, number: u8, value: T) {
        let (number, shift) = if T::BYTES == 1 { (number & 0b11, (number & 0b100) * 2) } else { (number, 0) };
        let others = self.reg(number) & !(T::MASK << shift);
        self.set_reg(number, others | value.zero_extend() << shift);
    }

    /// ECX or CX, and the like: a register's part that an address size selects.
    pub fn reg_masked(&self, number: u8, mask: u32) -> u32 {
        self.reg(number) & mask
    }

    /// Stores to that part.
    pub fn set_reg_masked(&mut self, number: u8, mask: u32, value: u32) {
        self.set_reg(number, self.reg(number) & !mask | value & mask);
    }

    /// EFLAGS.
    pub fn eflags(&self) -> u32 {
        self.control_flags | self.flags.to_eflags()
    }

    /// Sets the bits of EFLAGS that exist.
    pub fn set_eflags(&mut self, eflags: u32) {
        use flags::*;
        const CONTROL: u32 = TF | IF | DF | IOPL | NT | RF | AC | VIF | VIP | ID;
        let changed = (self.control_flags ^ eflags) & AC;
        self.control_flags = eflags & CONTROL | RESERVED_1;
        self.flags = Flags::from_eflags(eflags);
        if changed != 0 {
            self.update_accesses();
        }
    }

    /// Whether string instructions go downwards.
    #[inline(always)]
    pub fn direction_down(&self) -> bool {
        self.control_flags & flags::DF != 0
    }

    /// Loads from a segment.
    #[inline(always)]
    pub fn load<T: Bytes>(&mut self, segment: u8, offset: u32) -> Result<T, Break> {
        let index = usize::from(segment & 7);
        let end = u64::from(offset) + u64::from(T::BYTES);
        if (end <= u64::from(self.readable[index]) || offset >= self.readable_from[index])
            && let Some(value) = self.memory.read_ram(offset)
        {
            return Ok(value);
        }
        self.load_slowly(segment, offset)
    }

    /// Stores to a segment: all of the value, or nothing.
    ///
    /// An instruction that stores ends with [`Self::stored`].
    #[inline(always)]
    pub fn store<T: Bytes>(&mut self, segment: u8, offset: u32, value: T) -> Step {
        if u64::from(offset) + u64::from(T::BYTES) <= u64::from(self.writable[usize::from(segment & 7)])
            && let Some(()) = self.memory.write(offset, value)
        {
            return Ok(());
        }
        self.store_slowly(segment, offset, value)
    }

    /// Fails if an operand of 16 bytes is not aligned.
    #[inline]
    pub fn check_alignment(&mut self, segment: u8, offset: u32) -> Step {
        let address = self.segment(segment).base.wrapping_add(offset);
        if address & 15 != 0 { Err(self.general_protection(0)) } else { Ok(()) }
    }

    /// Ends an instruction that stored. The block ends if decoded code may have changed.
    #[inline(always)]
    pub fn stored(&self) -> Step {
        if self.memory.code_changed() { Err(Break::CodeChanged) } else { Ok(()) }
    }

    /// The fault of a read whose operand was to be replaced. A segment that cannot be written takes precedence over
    /// `reason`.
    #[cold]
    #[inline(never)]
    pub fn refused_to_write(&mut self, segment: u8, offset: u32, len: u32, reason: Break) -> Break {
        match self.segment(segment).linear(offset, len, Access::Write) {
            None if segment == number::SS => self.stack_fault(0),
            None => self.general_protection(0),
            Some(_) => {
                // What it would have been as a store.
                if let Problem::Event(Event { vector: PAGE_FAULT, error_code: Some(code), .. }) =
                    &mut self.problem
                {
                    *code |= paging::error_code::WRITE;
                }
                reason
            }
        }
    }

    /// A segment register.
    pub fn segment(&self, number: u8) -> &Segment {
        &self.segments[usize::from(number) % segment::COUNT]
    }

    /// Changes a segment register. The caller has made all checks.
    pub fn set_segment(&mut self, number: u8, segment: Segment) {
        self.segments[usize::from(number) % segment::COUNT] = segment;
        self.update_fast_ends(number);
        if number == number::CS {
            self.memory.tlb.code = CodePage::default();
        }
    }

    fn update_fast_ends(&mut self, number: u8) {
        let segment = *self.segment(number);
        let watches_loads = self.memory.watch.watches_loads();
        let checks = self.checks_alignment() || self.watches_data();
        let is_fast =
            |access| segment.is_flat_for(access) && !checks && (access == Access::Write || !watches_loads);
        let (reads, writes) = (is_fast(Access::Read), is_fast(Access::Write));
        let (size, guard) = (self.memory.size(), self.memory.map().guard());
        let index = usize::from(number) % segment::COUNT;
        let is_paged = self.is_paged();
        let flag = |is_fast, flag| if is_fast && is_paged { flag } else { 0 };
        self.translated[index] = flag(reads, access::READ) | flag(writes, access::WRITE);
        self.writable[index] = if writes && !is_paged { size } else { 0 };
        (self.readable[index], self.readable_from[index]) = match reads && !is_paged {
            false => (0, u32::MAX),
            true if guard.is_empty() => (size, u32::MAX),
            true => (guard.start, guard.end),
        };
        if number == number::SS {
            self.stack_mask = if segment.is_32_bit() { u32::MAX } else { 0xffff };
        }
    }

    /// What depends on the registers that decide how accesses are made has changed.
    pub fn update_accesses(&mut self) {
        (0..segment::COUNT as u8).for_each(|number| self.update_fast_ends(number));
    }

    /// Sets a control register that page tables are used by: CR0, CR3 or CR4.
    pub fn set_paging(&mut self, cr0: u32, cr3: u32, cr4: u32) {
        (self.cr0, self.cr3, self.cr4) = (cr0, cr3, cr4);
        self.memory.tlb.turn(self.is_paged());
        self.update_accesses();
    }

    /// The current privilege level.
    #[inline(always)]
    pub fn privilege_level(&self) -> u8 {
        self.privilege_level
    }

    /// Sets the current privilege level.
    pub fn set_privilege_level(&mut self, level: u8) {
        self.privilege_level = level;
        self.memory.tlb.set_user(level == 3);
        self.update_accesses();
    }

    /// Sets the watchpoints.
    pub fn set_watch(&mut self, watch: Watch) {
        self.memory.set_watch(watch);
        self.update_accesses();
    }

    /// Whether the code segment is 32-bit: the default of operand and address size.
    pub fn code_is_32_bit(&self) -> bool {
        self.segment(number::CS).is_32_bit()
    }

    /// Sets EIP. Fails if it lies beyond the code segment's limit.
    #[inline(always)]
    pub fn branch(&mut self, target: u32) -> Step {
        self.check_target(target)?;
        self.eip = target;
        Err(Break::Branch)
    }

    /// Fails if the address lies beyond the code segment's limit.
    #[inline(always)]
    pub fn check_target(&mut self, target: u32) -> Step {
        if target > self.segments[usize::from(number::CS)].limit {
            return Err(self.general_protection(0));
        }
        Ok(())
    }

    /// Sets EIP to a target that has been checked, at the end of an instruction that stored.
    #[inline(always)]
    pub fn branch_after_store(&mut self, target: u32) -> Step {
        self.eip = target;
        Err(if self.memory.code_changed() { Break::BranchAnew } else { Break::Branch })
    }

    /// Sets EIP at the end of an instruction that has changed CS or TF.
    pub fn branch_anew(&mut self, target: u32) -> Step {
        self.eip = target;
        Err(Break::BranchAnew)
    }

    /// The stack pointer: ESP or SP.
    #[inline(always)]
    pub fn stack_pointer(&self) -> u32 {
        self.reg(register::ESP) & self.stack_mask
    }

    /// Which bits of ESP the stack uses.
    #[inline(always)]
    pub fn stack_mask(&self) -> u32 {
        self.stack_mask
    }

    /// Sets the stack pointer.
    #[inline(always)]
    pub fn set_stack_pointer(&mut self, value: u32) {
        let others = self.reg(register::ESP) & !self.stack_mask;
        self.set_reg(register::ESP, others | value & self.stack_mask);
    }

    /// Pushes a value. ESP changes only if that succeeds.
    #[inline(always)]
    pub fn push<T: Int>(&mut self, value: T) -> Step {
        let offset = self.stack_pointer().wrapping_sub(T::BYTES) & self.stack_mask;
        self.store(number::SS, offset, value)?;
        self.set_stack_pointer(offset);
        Ok(())
    }

    /// The value `index` places above the top of the stack; 0 is the top.
    #[inline(always)]
    pub fn peek<T: Int>(&mut self, index: u32) -> Result<T, Break> {
        let offset = self.stack_pointer().wrapping_add(index * T::BYTES) & self.stack_mask;
        self.load(number::SS, offset)
    }

    /// Drops this many bytes from the top of the stack.
    #[inline(always)]
    pub fn drop_stack(&mut self, bytes: u32) {
        self.set_stack_pointer(self.stack_pointer().wrapping_add(bytes));
    }

    /// The descriptor that a selector selects in the GDT or LDT, and its linear address. `None` beyond the table's
    /// limit.
    pub fn find_descriptor(&mut self, selector: u16) -> Result<Option<(Descriptor, u32)>, Break> {
        let (base, limit) = if selector & segment::TABLE_INDICATOR == 0 {
            (self.gdt.base, self.gdt.limit.into())
        } else {
            (self.ldt.base, self.ldt.limit)
        };
        let offset = u32::from(selector & !0b111);
        if offset + 7 > limit {
            return Ok(None);
        }
        let address = base.wrapping_add(offset);
        Ok(Some((self.read_table(address)?, address)))
    }

    /// Sets the accessed flag of a descriptor that has been loaded, in its table.
    pub fn mark_accessed(&mut self, descriptor: Descriptor, address: u32) -> Step {
        // The table at entry is not in memory, and has the flag set already.
        if descriptor.accessed() == descriptor {
            return Ok(());
        }
        self.write_access_byte(descriptor.accessed(), address)
    }

    /// Changes the access byte of a descriptor in its table.
    pub fn write_access_byte(&mut self, descriptor: Descriptor, address: u32) -> Step {
        const ACCESS_BYTE: u32 = 5;
        self.store_system(address.wrapping_add(ACCESS_BYTE), (descriptor.0 >> (8 * ACCESS_BYTE)) as u8)
    }

    /// The instruction with this ordinal in its block inhibits traps or interrupts until the next one has been executed.
    pub fn cast_shadow(&mut self, shadow: Shadow, ordinal: u8) {
        self.shadow = (shadow, self.instructions + u64::from(ordinal));
    }

    /// What the last instruction inhibits, while none is being executed. The count tells without any instruction clearing it.
    pub fn shadow(&self) -> Shadow {
        if self.shadow.1 == self.instructions { self.shadow.0 } else { Shadow::None }
    }

    /// What the last instruction inhibits ends here: an event was delivered.
    pub fn end_shadow(&mut self) {
        self.shadow.0 = Shadow::None;
    }

    /// Whether an interrupt is pending, and IF lets it be delivered.
    pub fn is_interruptible(&self) -> bool {
        !self.interrupts.is_empty() && self.control_flags & flags::IF != 0
    }

    /// Whether the guest has loaded an IDT.
    pub fn has_idt(&self) -> bool {
        self.idt != entry::IDT
    }
}

impl Cpu {
    /// Records why the instruction cannot be executed.
    #[cold]
    #[inline(never)]
    pub fn fail(&mut self, problem: Problem) -> Break {
        self.problem = problem;
        Break::Problem
    }

    pub(crate) fn exception(&mut self, vector: u8, error_code: Option<u32>) -> Break {
        self.fail(Problem::Event(Event { vector, error_code, kind: EventKind::Fault }))
    }

    /// #DE.
    pub fn divide_error(&mut self) -> Break {
        self.exception(0, None)
    }

    /// #BR.
    pub fn bound_range(&mut self) -> Break {
        self.exception(5, None)
    }

    /// #UD.
    pub fn invalid_opcode(&mut self) -> Break {
        self.exception(6, None)
    }

    /// #NM.
    #[cold]
    pub fn no_device(&mut self) -> Break {
        self.exception(7, None)
    }

    /// #MF.
    #[cold]
    pub fn floating_point_error(&mut self) -> Break {
        self.exception(16, None)
    }

    /// #XM.
    #[cold]
    pub fn simd_error(&mut self) -> Break {
        self.exception(19, None)
    }

    /// #NP.
    pub fn not_present(&mut self, error_code: u32) -> Break {
        self.exception(11, Some(error_code))
    }

    /// #SS.
    pub fn stack_fault(&mut self, error_code: u32) -> Break {
        self.exception(12, Some(error_code))
    }

    /// #GP.
    #[cold]
    #[inline(never)]
    pub fn general_protection(&mut self, error_code: u32) -> Break {
        self.exception(13, Some(error_code))
    }

    /// A software interrupt.
    pub fn software_interrupt(&mut self, vector: u8) -> Break {
        self.fail(Problem::Event(Event { vector, error_code: None, kind: EventKind::Software }))
    }
}
