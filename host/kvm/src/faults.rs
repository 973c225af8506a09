//! Exits without I/O: the guest's halt, and each fault with its kind, location and registers.

use flatland_contract::memory::PAGE_SIZE;

use flatland_x86::{
    Access, CodeBytes, Engine, EngineError, Exit, Fault, FaultKind, Location, Registers, cr0, eflags,
};

use super::registers::registers;
use super::{KvmEngine, LastExit, call, exception_page};

/// KVM_INTERNAL_ERROR_DELIVERY_EV: an exception could not be delivered (linux/kvm.h).
const SUBERROR_DELIVERY: u32 = 3;
/// The vector of #GP.
const GENERAL_PROTECTION: u8 = 13;

impl KvmEngine {
    pub(super) fn read_u32(&self, address: u32) -> Option<u32> {
        let mut bytes = [0; 4];
        (self.read_ram(address, &mut bytes) == 4).then_some(u32::from_le_bytes(bytes))
    }

    /// The fault of an exception whose frame does not fit in memory.
    pub(super) fn frame_fault(&self, esp: u32) -> Option<FaultKind> {
        /// With an error code, which not every exception has (SDM volume 3, section 7.12.1).
        const FRAME: u32 = 16;
        self.map.frame_fault(esp, FRAME)
    }

    pub(super) fn code_at(&self, address: u32) -> CodeBytes {
        let mut bytes = [0; CodeBytes::MOST];
        let there = self.map.end_of_run(Access::Execute, address) - address;
        let len = self.read_ram(address, &mut bytes);
        CodeBytes::new(&bytes[..len.min(there as usize)])
    }

    /// The most bytes that KVM moves at once for the repeated `ins`, `outs`, `movs` or `stos` at this address, if
    /// there is one. EIP stays at it until it is complete, also when KVM reports an iteration that has been executed.
    pub(super) fn repeated(&self, eip: u32) -> Option<u32> {
        let code = self.code_at(eip);
        // Prefixes (SDM volume 2, section 2.1.1).
        let is_prefix = |byte: &u8| {
            matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3)
        };
        let count = code.as_slice().iter().take_while(|byte| is_prefix(byte)).count();
        let (prefixes, rest) = code.as_slice().split_at(count);
        prefixes.iter().find(|byte| matches!(byte, 0xf2 | 0xf3))?;
        match rest.first()? {
            // At most a page of input at a time (emulate.c, pio_in_emulated).
            0x6c..=0x6f => Some(PAGE_SIZE),
            0xa4 | 0xaa => Some(1),
            0xa5 | 0xab => Some(if prefixes.contains(&0x66) { 2 } else { 4 }),
            _ => None,
        }
    }

    /// Whether a store to this address was an iteration of the repeated instruction at EIP. KVM leaves EIP there even
    /// after the last iteration, so ECX cannot decide this. EDI can: it has just passed the address.
    pub(super) fn is_in_repetition(&self, registers: &Registers, address: u32) -> bool {
        self.repeated(registers.eip).is_some_and(|size| {
            if registers.eflags & eflags::DF == 0 {
                (1..=size).contains(&registers.edi.wrapping_sub(address))
            } else {
                // An element lies above its address.
                (1..2 * size).contains(&address.wrapping_sub(registers.edi))
            }
        })
    }

    /// A `hlt`: the guest's own, or one of the exception page's.
    pub(super) fn on_halt(&mut self) -> Result<Exit<'_>, EngineError> {
        let registers = registers(&self.kvm_regs()?);
        let Some(vector) = exception_page::vector_at(registers.eip) else {
            self.last = LastExit::After;
            return Ok(Exit::Halt);
        };
        let dr6 = match vector {
            exception_page::DEBUG_EXCEPTION => self.debug_registers()?.dr6,
            _ => 0,
        };
        let mut frame = exception_page::frame(vector, registers, dr6, |address| self.read_u32(address));
        frame.registers.eflags = self.stopping.pushed_flags(frame.registers.eflags);
        let kind = match frame.location {
            Location::At(eip)
                if vector == GENERAL_PROTECTION && self.refuses_paging(eip, &frame.registers) =>
            {
                FaultKind::Unsupported { engine: "KVM", code: self.code_at(eip) }
            }
            _ => FaultKind::Exception { vector, error_code: frame.error_code },
        };
        Ok(self.fault(kind, frame.location, frame.registers))
    }

    /// Whether the instruction turns on paging in a way that a processor allows. A KVM that emulates has none, and refuses
    /// it with #GP.
    fn refuses_paging(&self, eip: u32, registers: &Registers) -> bool {
        // mov cr0, reg (SDM volume 2, MOV to control registers)
        let [0x0f, 0x22, operands, ..] = *self.code_at(eip).as_slice() else { return false };
        let Registers { eax, ecx, edx, ebx, esp, ebp, esi, edi, .. } = *registers;
        let value = [eax, ecx, edx, ebx, esp, ebp, esi, edi][usize::from(operands & 0b111)];
        let both = cr0::PG | cr0::PE;
        operands & 0b11_1000 == 0 && value & both == both && value & (cr0::NW | cr0::CD) != cr0::NW
    }

    /// KVM's instruction emulator cannot run the instruction.
    pub(super) fn on_internal_error(&mut self, suberror: u32) -> Result<Exit<'_>, EngineError> {
        let registers = registers(&self.kvm_regs()?);
        let (eip, esp) = (registers.eip, registers.esp);
        let code = self.code_at(eip);
        let kind = if let Some(refused) = self.map.refuses(Access::Execute, eip, CodeBytes::MOST as u32) {
            // Memory ends in the middle of the instruction, or before it.
            self.map.fault(Access::Execute, refused, esp)
        } else if let Some(kind) = self.frame_fault(esp) {
            // An exception whose frame does not fit in memory. KVM on VMX and SVM tries to emulate the instruction
            // that caused it, and fails. On a processor it is a triple fault.
            kind
        } else if suberror == SUBERROR_DELIVERY {
            FaultKind::TripleFault
        } else {
            FaultKind::Unsupported { engine: "KVM", code }
        };
        Ok(self.fault(kind, Location::At(eip), registers))
    }

    pub(super) fn on_shutdown(&mut self) -> Result<Exit<'_>, EngineError> {
        let registers = registers(&self.kvm_regs()?);
        let sregs = self.vcpu.get_sregs().map_err(EngineError::call("KVM_GET_SREGS"))?;
        // kvm-amd resets the vCPU at a triple fault (svm.c, shutdown_interception).
        let location =
            if sregs.cr0 as u32 & cr0::PE == 0 { Location::Unknown } else { Location::At(registers.eip) };
        let overflow = self.frame_fault(registers.esp).filter(|_| location != Location::Unknown);
        // A fault sets RF where it is pushed, and VMX also where it exits (SDM volume 3, section 29.3.3).
        let registers = Registers { eflags: registers.eflags & !eflags::RF, ..registers };
        Ok(self.fault(overflow.unwrap_or(FaultKind::TripleFault), location, registers))
    }

    /// A load or store without a memory slot, or a store to a read-only one. KVM completes a load on the next run, so
    /// EIP is still at it. After a store EIP is past it (x86.c, x86_emulate_instruction). `value` is the stored
    /// value, if it has 4 bytes.
    pub(super) fn on_mmio(
        &mut self,
        access: Access,
        address: u64,
        value: Option<u32>,
    ) -> Result<Exit<'_>, EngineError> {
        // Physical addresses have 32 bits, because paging and long mode are off.
        let address = address as u32;
        let registers = registers(&self.kvm_regs()?);
        let called_from = value
            .filter(|_| access == Access::Write && address == registers.esp)
            .filter(|pushed| call::is_behind_one(*pushed, &registers, |address| self.read_u32(address)));
        let location = match (access, called_from) {
            (Access::Write, Some(behind)) => Location::EndsAt(behind),
            (Access::Write, None) if !self.is_in_repetition(&registers, address) => {
                Location::EndsAt(registers.eip)
            }
            _ => Location::At(registers.eip),
        };
        let kind = self.map.fault(access, address, registers.esp);
        Ok(self.fault(kind, location, registers))
    }

    pub(super) fn fault(&mut self, kind: FaultKind, location: Location, registers: Registers) -> Exit<'_> {
        self.last = LastExit::Fault(location, registers);
        Exit::Fault(Fault { kind, location })
    }
}
