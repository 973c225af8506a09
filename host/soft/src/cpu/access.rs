//! Accesses to memory that are not the fast ones: through page tables, across pages, with checks.

use alloc::vec::Vec;

use flatland_x86::paging::{self, Missing, error_code};
use flatland_x86::{Access, cr0, entry};

use super::Cpu;
use crate::event::{Break, Event, EventKind, Problem, Step};
use crate::flags;
use crate::int::{Bytes, Int};
use crate::segment::{Descriptor, number};
use crate::tlb::{CodePage, OFFSET};

/// The vector of #PF.
pub const PAGE_FAULT: u8 = 14;

/// The vector of #AC.
const ALIGNMENT_CHECK: u8 = 17;

/// The alignment of an operand of so many bytes (SDM volume 3, table 7-7). Operands of 16 bytes have none: whether `movups` is checked is
/// the processor's, and the others fault by #GP.
fn alignment(len: u32) -> u32 {
    match len {
        2 | 4 | 8 => len,
        // An extended double, or a BCD number.
        10 => 8,
        // The environment of the x87, without and with its registers.
        28 | 108 => 4,
        14 | 94 => 2,
        _ => 1,
    }
}

/// The most bytes of a value in memory: FXSAVE's area.
const MOST: usize = 512;

/// The bytes of an access in RAM: in one page, or in two.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The physical address of the first byte.
    first: u32,
    /// How many bytes lie there.
    len: u32,
    /// The physical address of the others.
    second: u32,
}

impl Place {
    /// The physical address of a byte.
    fn byte(&self, index: u32) -> u32 {
        if index < self.len { self.first + index } else { self.second + (index - self.len) }
    }
}

/// What an access is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// An instruction, at the current privilege level.
    Instruction,
    /// The processor itself, such as a load of a descriptor: it has the rights of privilege level 0.
    Processor,
}

/// Why a walk of the page tables has no result.
enum Refusal {
    /// A page fault with this error code.
    PageFault(u32),
    /// An access to a table that memory refuses.
    Memory(Access, u32),
}

impl Cpu {
    /// Whether paging is on.
    #[inline(always)]
    pub fn is_paged(&self) -> bool {
        self.cr0 & cr0::PG != 0
    }

    /// A load that goes through the page tables, if [`Cpu::load`] has no faster way for it.
    #[inline(always)]
    pub(super) fn load_slowly<T: Bytes>(&mut self, segment: u8, offset: u32) -> Result<T, Break> {
        if self.translated[usize::from(segment & 7)] & READ != 0
            && let Some(address) = self.memory.tlb.find::<T>(offset, false)
            && let Some(value) = self.memory.read_ram(address)
        {
            return Ok(value);
        }
        self.load_checked(segment, offset)
    }

    /// A store that goes through the page tables, if [`Cpu::store`] has no faster way for it.
    #[inline(always)]
    pub(super) fn store_slowly<T: Bytes>(&mut self, segment: u8, offset: u32, value: T) -> Step {
        if self.translated[usize::from(segment & 7)] & WRITE != 0
            && let Some(address) = self.memory.tlb.find::<T>(offset, true)
            && let Some(()) = self.memory.write(address, value)
        {
            return Ok(());
        }
        self.store_checked(segment, offset, value)
    }

    #[cold]
    #[inline(never)]
    fn load_checked<T: Bytes>(&mut self, segment: u8, offset: u32) -> Result<T, Break> {
        let place = self.place(segment, offset, T::BYTES, Access::Read)?;
        self.memory.watch.access(place.first, place.len, Access::Read);
        if place.len < T::BYTES {
            self.memory.watch.access(place.second, T::BYTES - place.len, Access::Read);
        }
        self.note_access(segment, offset, T::BYTES, Access::Read);
        Ok(self.read(place))
    }

    #[cold]
    #[inline(never)]
    fn store_checked<T: Bytes>(&mut self, segment: u8, offset: u32, value: T) -> Step {
        let place = self.place(segment, offset, T::BYTES, Access::Write)?;
        self.note_access(segment, offset, T::BYTES, Access::Write);
        self.write(place, value);
        Ok(())
    }

    fn read<T: Bytes>(&self, place: Place) -> T {
        if place.len >= T::BYTES {
            return self.memory.read_ram(place.first).expect("it was checked");
        }
        let mut bytes = [0; MOST];
        let bytes = &mut bytes[..T::BYTES as usize];
        for (index, byte) in (0..).zip(&mut *bytes) {
            *byte = self.memory.read_ram(place.byte(index)).expect("it was checked");
        }
        T::from_bytes(bytes).expect("it has this size")
    }

    fn write<T: Bytes>(&mut self, place: Place, value: T) {
        if place.len >= T::BYTES {
            return self.memory.write(place.first, value).expect("it was checked");
        }
        let mut bytes = [0; MOST];
        let bytes = &mut bytes[..T::BYTES as usize];
        value.to_bytes(bytes);
        for (index, byte) in (0..).zip(&*bytes) {
            self.memory.write(place.byte(index), *byte).expect("it was checked");
        }
    }

    /// Stores bytes to a segment: all of them, or nothing. They may lie on more lines than those of [`Cpu::store`].
    pub fn store_block(&mut self, segment: u8, offset: u32, bytes: &[u8]) -> Step {
        let place = self.place(segment, offset, bytes.len() as u32, Access::Write)?;
        self.note_access(segment, offset, bytes.len() as u32, Access::Write);
        let (first, second) = bytes.split_at(place.len as usize);
        self.memory.store_bytes(place.first, first);
        self.memory.store_bytes(place.second, second);
        Ok(())
    }

    /// Where `len` bytes of a segment lie. Fails if the segment, a page or memory refuses this access to one of them.
    pub fn place(&mut self, segment: u8, offset: u32, len: u32, access: Access) -> Result<Place, Break> {
        match self.segment(segment).linear(offset, len, access) {
            None if segment == number::SS => Err(self.stack_fault(0)),
            None => Err(self.general_protection(0)),
            Some(address) => {
                // The manual orders it behind page faults, but in one class with them (SDM volume 3, table 7-2); Intel's processors look
                // at the address first.
                if self.checks_alignment() {
                    self.check_linear_alignment(address, alignment(len))?;
                }
                self.place_of(address, len, access, For::Instruction)
            }
        }
    }

    /// Fails if accesses must be aligned, and one at this offset is not.
    pub fn check_operand_alignment(&mut self, segment: u8, offset: u32, alignment: u32) -> Step {
        if !self.checks_alignment() {
            return Ok(());
        }
        self.check_linear_alignment(self.segment(segment).base.wrapping_add(offset), alignment)
    }

    fn check_linear_alignment(&mut self, address: u32, alignment: u32) -> Step {
        if address.is_multiple_of(alignment) { Ok(()) } else { Err(self.exception(ALIGNMENT_CHECK, Some(0))) }
    }

    /// Where `len` bytes at a linear address lie, at most a page.
    fn place_of(&mut self, address: u32, len: u32, access: Access, by: For) -> Result<Place, Break> {
        if !self.is_paged() {
            return self.check_memory(address, len, access).map(|()| Place {
                first: address,
                len,
                second: 0,
            });
        }
        let is_user = self.is_user(by);
        let first = self.translate(address, access, is_user)?;
        let in_first = len.min(OFFSET - (address & OFFSET) + 1);
        let mut place = Place { first, len: in_first, second: 0 };
        if in_first < len {
            place.second = self.translate(address.wrapping_add(in_first), access, is_user)?;
        }
        self.check_memory(first, in_first, access)?;
        self.check_memory(place.second, len - in_first, access)?;
        Ok(place)
    }

    fn is_user(&self, by: For) -> bool {
        by == For::Instruction && self.privilege_level() == 3
    }

    /// Loads from a linear address for the processor itself.
    pub fn load_system<T: Int>(&mut self, address: u32) -> Result<T, Break> {
        let place = self.place_of(address, T::BYTES, Access::Read, For::Processor)?;
        Ok(self.read(place))
    }

    /// Stores to a linear address for the processor itself.
    pub fn store_system<T: Int>(&mut self, address: u32, value: T) -> Step {
        let place = self.place_of(address, T::BYTES, Access::Write, For::Processor)?;
        self.write(place, value);
        Ok(())
    }

    /// An entry of the GDT, LDT or IDT at a linear address.
    ///
    /// The tables at entry are not in memory: they have the flat segments and no gates. KVM's engine keeps them in a
    /// page above RAM.
    pub fn read_table(&mut self, address: u32) -> Result<Descriptor, Break> {
        let physical = self.translate(address, Access::Read, false)?;
        if let Some(offset) = physical.checked_sub(entry::GDT.base)
            && offset <= u32::from(entry::GDT.limit)
        {
            return Ok(Descriptor(entry::DESCRIPTORS.get(offset as usize / 8).copied().unwrap_or(0)));
        }
        let place = self.place_of(address, 8, Access::Read, For::Processor)?;
        let byte = |index| u64::from(self.memory.read_ram::<u8>(place.byte(index)).expect("it was checked"));
        Ok(Descriptor((0..8).fold(0, |value, index| value | byte(index) << (8 * index))))
    }

    /// Fails if memory refuses the access to one of `len` bytes at a physical address.
    fn check_memory(&mut self, address: u32, len: u32, access: Access) -> Step {
        match self.memory.map().refuses(access, address, len) {
            Some(refused) if len > 0 => Err(self.fail(Problem::Refused(access, refused))),
            _ => Ok(()),
        }
    }

    /// How many elements of a string, at most `count`, can be accessed from `offset` on without checks in between, and
    /// the physical address of the first: they lie in the segment, in one page and in memory that allows the access, the
    /// offset does not wrap, and loads are not watched. The segment must be flat.
    pub fn run<T: Int>(&mut self, segment: u8, offset: u32, count: u32, access: Access) -> (u32, u32) {
        if count == 0 {
            // Nothing is accessed, so no page is used.
            return (0, 0);
        }
        let index = usize::from(segment & 7);
        let ends = if access == Access::Write { &self.writable } else { &self.readable };
        let (address, end) = if ends[index] != 0 {
            (offset, u32::MAX)
        } else if self.translated[index] & if access == Access::Write { WRITE } else { READ } != 0
            && let Ok(address) = self.translate(offset, access, self.is_user(For::Instruction))
        {
            (address, (address | OFFSET).saturating_add(1))
        } else {
            return (0, 0);
        };
        let end = self.memory.map().end_of_run(access, address).min(end);
        (address, count.min((end - address) / T::BYTES))
    }

    /// An event is about to be delivered: if it is a page fault, CR2 has its address.
    pub fn note_page_fault(&mut self, event: Event) {
        if event.vector == PAGE_FAULT && event.kind == EventKind::Fault {
            self.cr2 = self.fault_address;
        }
    }

    /// The physical address of a linear one. Fails with a page fault.
    fn translate(&mut self, address: u32, access: Access, is_user: bool) -> Result<u32, Break> {
        if !self.is_paged() {
            return Ok(address);
        }
        if let Some(physical) = self.memory.tlb.find_for(is_user, address, 1, access == Access::Write) {
            return Ok(physical);
        }
        self.walk(address, access, is_user).map_err(|refusal| match refusal {
            Refusal::PageFault(code) => {
                self.fault_address = address;
                let event = Event { vector: PAGE_FAULT, error_code: Some(code), kind: EventKind::Fault };
                self.fail(Problem::Event(event))
            }
            Refusal::Memory(access, address) => self.fail(Problem::Refused(access, address)),
        })
    }

    /// Walks the page tables, sets their flags, and keeps the result (SDM volume 3, sections 5.6 to 5.8).
    #[cold]
    #[inline(never)]
    fn walk(&mut self, address: u32, access: Access, is_user: bool) -> Result<u32, Refusal> {
        let is_write = access == Access::Write;
        let fault = |code| {
            let write = if is_write { error_code::WRITE } else { 0 };
            Refusal::PageFault(code | write | if is_user { error_code::USER } else { 0 })
        };
        let walk = paging::walk(self.cr3, self.cr4, address, |at| self.memory.read(at));
        if let (Some(directory), Some(_)) = (walk.directory, walk.table) {
            self.set_entry(directory, paging::ACCESSED)?;
        }
        let physical = match walk.physical {
            Ok(physical) => physical,
            Err(Missing::Unreadable(at)) => return Err(Refusal::Memory(Access::Read, at)),
            Err(Missing::NotPresent) => return Err(fault(0)),
            Err(Missing::Reserved) => return Err(fault(error_code::PROTECTION | error_code::RESERVED)),
        };
        let has_rights = walk.all_have(paging::WRITABLE) || (!is_user && self.cr0 & cr0::WP == 0);
        if (is_user && !walk.all_have(paging::USER)) || (is_write && !has_rights) {
            return Err(fault(error_code::PROTECTION));
        }
        let Some(leaf) = walk.table.or(walk.directory) else { return Err(fault(0)) };
        let dirty = if is_write { paging::DIRTY } else { 0 };
        self.set_entry(leaf, paging::ACCESSED | dirty)?;
        for entry in [walk.directory, walk.table].into_iter().flatten() {
            self.memory.mark_table(entry.address);
        }
        if self.memory.map().refuses(Access::Read, physical & !OFFSET, OFFSET + 1).is_none() {
            let writable = has_rights && (leaf.value | dirty) & paging::DIRTY != 0;
            self.memory.tlb.insert(is_user, address, physical, writable);
        }
        Ok(physical)
    }

    /// Sets flags of an entry of a table.
    fn set_entry(&mut self, entry: paging::Entry, flags: u32) -> Result<(), Refusal> {
        let value = entry.value | flags;
        if value == entry.value {
            return Ok(());
        }
        if let Some(at) = self.memory.map().refuses(Access::Write, entry.address, 4) {
            return Err(Refusal::Memory(Access::Write, at));
        }
        self.memory.set_table_entry(entry.address, value);
        Ok(())
    }

    /// The number of the physical page that an EIP lies on, with paging on. `None` if none can be executed there.
    #[inline(always)]
    pub fn code_page(&mut self, eip: u32) -> Option<u32> {
        if self.memory.tlb.code.has(eip) {
            Some(self.memory.tlb.code.number)
        } else {
            self.find_code_page(eip)
        }
    }

    #[inline(never)]
    fn find_code_page(&mut self, eip: u32) -> Option<u32> {
        let linear = self.segment(number::CS).base.wrapping_add(eip);
        let number = self.page_of_code(linear).ok()?;
        self.memory.tlb.code = CodePage::new(eip.wrapping_sub(linear & OFFSET), number);
        Some(number)
    }

    /// The number of the physical page of a linear address that code is fetched from, if it has one.
    pub fn page_of_code(&mut self, linear: u32) -> Result<u32, Break> {
        let physical = self.translate(linear, Access::Execute, self.is_user(For::Instruction))?;
        Ok(physical / (OFFSET + 1))
    }

    /// The physical address of a linear one, for somebody who looks on: nothing changes.
    pub fn look_up(&self, linear: u32) -> Option<u32> {
        if !self.is_paged() {
            return Some(linear);
        }
        paging::walk(self.cr3, self.cr4, linear, |at| self.memory.read(at)).physical.ok()
    }

    /// The bytes of code at a linear address, for somebody who looks on: at most `len`, and fewer where memory or a page ends.
    pub fn code_at(&self, linear: u32, len: usize) -> Vec<u8> {
        let mut code = Vec::new();
        while code.len() < len {
            let at = linear.wrapping_add(code.len() as u32);
            let on_page = (OFFSET - (at & OFFSET) + 1).min((len - code.len()) as u32);
            match self.look_up(at).map(|at| self.memory.code(at, on_page)) {
                None | Some([]) => break,
                Some(bytes) => code.extend_from_slice(bytes),
            }
        }
        code
    }

    /// Whether an access of an instruction must be aligned (SDM volume 3, section 7.15, "Interrupt 17").
    pub fn checks_alignment(&self) -> bool {
        self.privilege_level() == 3 && self.cr0 & cr0::AM != 0 && self.control_flags & flags::AC != 0
    }
}

/// The segment is flat for loads, and they go through page tables only.
pub(super) const READ: u8 = 1 << 0;
/// The same for stores.
pub(super) const WRITE: u8 = 1 << 1;
