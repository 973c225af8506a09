//! Known differences: other subjects are wrong, or the manual leaves the result open. Each has its reason.
//!
//! This list is consulted only after a difference, so a listed instruction is still compared. It is consulted for one
//! instruction alone: see `verdict`.

use flatland::x86::{Access, FaultKind};
use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::processor::{Processor, ProcessorAtLevel3};
use super::subject::{After, Bus, End, RAM};
use super::trace::{ALL_STATUS, decode};
use super::unicorn::UnicornSubject;
use super::verdict::{Difference, outside_ram};

const PF: u32 = 1 << 2;
const ZF: u32 = 1 << 6;
const SF: u32 = 1 << 7;
/// The accessed bit in a descriptor's access byte.
const ACCESSED: u8 = 1;

/// A difference that is known.
struct Known {
    /// The subject that differs.
    of: Of,
    /// Whether a difference is this one.
    is_this: fn(&Instruction, &Difference) -> bool,
    /// Why the soft engine is not wrong.
    reason: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// Any subject: the manual leaves the result open.
    Any,
    /// Any KVM.
    Kvm,
    /// KVM's own instruction emulator, where the processor has neither VMX nor SVM.
    KvmEmulator,
    /// QEMU's translator: in Unicorn, and under a KVM whose processor QEMU emulates.
    Qemu,
    /// Unicorn 2.0.1.
    Unicorn,
    /// The processor that runs the test.
    Processor,
    /// The same, where the soft engine is at level 0.
    ProcessorAtAnyLevel,
}

const PART_DONE: &str =
    "KVM has done part of an instruction, or all, when it tells of the access outside RAM";

const KNOWN: &[Known] = &[
    Known {
        of: Of::KvmEmulator,
        is_this: |instruction, between| {
            matches!(instruction.mnemonic(), Mnemonic::Aam | Mnemonic::Aad)
                && between.is_none_but(|after| after.registers.eflags &= !(SF | ZF | PF))
        },
        reason: "KVM's instruction emulator sets SF, ZF and PF of aam and aad by something else than AL",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |instruction, between| {
            instruction.mnemonic() == Mnemonic::Enter
                && (instruction.code() == Code::Enterw_imm16_imm8 || outside_ram(&between.ours.end).is_some())
        },
        reason: "KVM's instruction emulator pushes 4 bytes for a 2-byte enter, and does not check the new stack",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |_, Difference { ours, theirs, .. }| {
            is_exception(ours, 6)
                && (matches!(outside_ram(&theirs.end), Some((Access::Read, _))) || is_exception(theirs, 13))
        },
        reason: "KVM's instruction emulator reads the operand of bytes that are no instruction",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |_, Difference { ours, theirs, .. }| {
            (is_exception(ours, 12) || is_exception(ours, 13))
                && matches!(outside_ram(&theirs.end), Some((Access::Read, _)))
        },
        reason: "KVM's instruction emulator reads what is to be replaced before it looks whether its segment may be written",
    },
    Known { of: Of::Kvm, is_this: |_, between| is_same_place_outside_ram(between), reason: PART_DONE },
    Known {
        of: Of::KvmEmulator,
        is_this: |instruction, between| {
            // The eight registers.
            const MOST: u32 = 8 * 4;
            let stores = [&between.ours, &between.theirs].map(|after| outside_ram(&after.end));
            matches!(instruction.mnemonic(), Mnemonic::Pusha | Mnemonic::Pushad)
                && matches!(stores, [Some((Access::Write, first)), Some((Access::Write, other))]
                    if first.wrapping_sub(other) < MOST)
        },
        reason: "KVM's instruction emulator makes all stores of pusha, and tells of the last one outside RAM",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |instruction, _| instruction.mnemonic() == Mnemonic::Int,
        reason: "KVM's instruction emulator has no int, and the KVM beneath it may take some for its own",
    },
    Known {
        of: Of::Kvm,
        is_this: |_, Difference { ours, theirs, .. }| {
            ours.end != theirs.end
                && (fault(theirs) == Some(FaultKind::TripleFault)
                    || theirs.end == End::Lost && matches!(fault(ours), Some(FaultKind::Exception { .. })))
                && !(16..=RAM).contains(&theirs.registers.esp)
        },
        reason: "an exception, or a refusal of KVM, finds no RAM for its frame: a triple fault, or KVM stays in it",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |instruction, between| {
            is_exception(&between.ours, 13)
                && matches!(instruction.mnemonic(), Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd)
        },
        reason: "KVM's instruction emulator reads the port before it looks at the segment of ins",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |instruction, between| {
            instruction.mnemonic() == Mnemonic::In
                && is_repeated(instruction)
                && between.is_none_but(|after| after.bus = Bus::default())
        },
        reason: "KVM's instruction emulator reads ahead from the port for an in with a rep prefix, which means nothing",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |instruction, _| instruction.mnemonic() == Mnemonic::Reservednop,
        reason: "KVM's instruction emulator takes the address of a hint nop for one of 32 bits",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |instruction, between| {
            is_exception(&between.ours, 1)
                && matches!(
                    instruction.mnemonic(),
                    Mnemonic::Out | Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd
                )
        },
        reason: "KVM's instruction emulator takes the trap of TF one instruction late after an out",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |instruction, Difference { ours, theirs, .. }| {
            is_exception(ours, 1) && is_exception(theirs, 1) && is_repeated(instruction)
        },
        reason: "KVM's instruction emulator takes the trap of TF after many iterations of a repeated instruction",
    },
    Known {
        // A suspended repetition is fetched again when it continues (SDM volume 2, REP), and the manual does not
        // define when it is suspended. Soft never suspends it: the next instruction sees the new bytes. KVM does when
        // it enters the guest again, QEMU when it checks for interrupts.
        of: Of::Any,
        is_this: |instruction, between| overwrites_itself(instruction, &between.ours),
        reason: "a repeated store over its own code may be fetched anew after any iteration, or when it is through",
    },
    Known {
        of: Of::Any,
        is_this: |instruction, between| {
            let pushes =
                instruction.mnemonic() == Mnemonic::Push && instruction.op0_register().is_segment_register();
            let upper_half = between.ours.registers.esp as usize + 2;
            pushes && between.is_none_but(|after| after.ram[upper_half..][..2].fill(0))
        },
        reason: "a push of a segment register may leave the upper half on the stack as it was, or clear it",
    },
    Known {
        of: Of::KvmEmulator,
        is_this: |instruction, between| {
            let is_far = matches!(
                instruction.flow_control(),
                FlowControl::UnconditionalBranch
                    | FlowControl::IndirectBranch
                    | FlowControl::Call
                    | FlowControl::IndirectCall
                    | FlowControl::Return
            );
            is_far
                && is_exception(&between.ours, 13)
                && between.is_none_but(|after| after.ram.iter_mut().for_each(|byte| *byte |= ACCESSED))
        },
        reason: "KVM's instruction emulator marks a code segment as accessed before it looks at the segment's limit",
    },
    Known {
        of: Of::Qemu,
        is_this: |instruction, between| {
            instruction.mnemonic() == Mnemonic::Int1 && !(16..=RAM).contains(&between.ours.registers.esp)
        },
        reason: "an int1 that finds no RAM for its frame is lost on QEMU's processor",
    },
    Known {
        of: Of::Qemu,
        is_this: |instruction, between| {
            let by = if instruction.op1_kind() == OpKind::Register {
                between.ours.registers.ecx
            } else {
                instruction.immediate8().into()
            };
            let turn = match instruction.code() {
                Code::Rcl_rm8_imm8 | Code::Rcl_rm8_CL | Code::Rcr_rm8_imm8 | Code::Rcr_rm8_CL => 9,
                Code::Rcl_rm16_imm8 | Code::Rcl_rm16_CL | Code::Rcr_rm16_imm8 | Code::Rcr_rm16_CL => 17,
                _ => return false,
            };
            (by & 31).is_multiple_of(turn)
        },
        reason: "QEMU changes something for a rotation through CF by whole turns: 9 bits of a byte, 17 of a word",
    },
    Known {
        of: Of::Qemu,
        is_this: |instruction, between| {
            instruction.mnemonic() == Mnemonic::Aam
                && instruction.immediate8() >= 0x80
                && between.is_none_but(|after| {
                    after.registers.eax &= !0xffff;
                    after.registers.eflags &= !ALL_STATUS;
                })
        },
        reason: "QEMU takes the divisor of aam for a signed one",
    },
    Known {
        of: Of::Qemu,
        is_this: |instruction, between| {
            instruction.memory_segment() == Register::CS
                && is_exception(&between.ours, 13)
                && !is_exception(&between.theirs, 13)
        },
        reason: "QEMU does not check what segments are for: it stores through CS",
    },
    Known {
        of: Of::Qemu,
        is_this: |instruction, between| {
            matches!(instruction.mnemonic(), Mnemonic::Ret | Mnemonic::Retf)
                && instruction.immediate16() >= 0x8000
                && between.is_none_but(|after| after.registers.esp &= 0xffff)
        },
        reason: "QEMU takes the number of bytes that ret releases for a signed one",
    },
    Known {
        of: Of::Qemu,
        is_this: |instruction, between| {
            let alias = [Code::Test_rm8_imm8_F6r1, Code::Test_rm16_imm16_F7r1, Code::Test_rm32_imm32_F7r1];
            alias.contains(&instruction.code()) && is_exception(&between.theirs, 6)
        },
        reason: "QEMU does not have F6 /1 and F7 /1, which the manual leaves out and processors take for test",
    },
    Known {
        of: Of::Qemu,
        is_this: |instruction, between| {
            instruction.mnemonic() == Mnemonic::Reservednop
                && instruction.op0_kind() == OpKind::Register
                && is_exception(&between.theirs, 6)
        },
        reason: "QEMU takes the hint nops 0F 0D, and Unicorn 0F 18, for prefetches: those have no registers",
    },
    Known {
        of: Of::Qemu,
        is_this: |instruction, between| {
            instruction.mnemonic() == Mnemonic::Enter && outside_ram(&between.ours.end).is_some()
        },
        reason: "QEMU's enter does not check the new stack",
    },
    Known {
        of: Of::Qemu,
        is_this: |instruction, Difference { ours, theirs, .. }| {
            instruction.mnemonic() == Mnemonic::Int
                && fault(ours) == fault(theirs)
                && is_exception(ours, 13)
                && theirs.registers.eip == instruction.next_ip32()
        },
        reason: "QEMU tells an int beyond the IDT at the instruction behind it",
    },
    Known {
        of: Of::Qemu,
        is_this: |instruction, between| {
            instruction.mnemonic() == Mnemonic::Cmpxchg8b && is_exception(&between.theirs, 6)
        },
        reason: "QEMU does not have cmpxchg8b with a prefix of operand size, which means nothing",
    },
    Known {
        of: Of::Unicorn,
        is_this: |instruction, between| {
            instruction.mnemonic() == Mnemonic::Neg
                && instruction.has_lock_prefix()
                && between.is_none_but(|after| after.registers.eflags &= !ALL_STATUS)
        },
        reason: "Unicorn sets the flags of a locked neg by the operand and not by the result",
    },
    Known {
        of: Of::Any,
        is_this: |instruction, between| {
            let Difference { ours, theirs, .. } = between;
            let reads = |after: &After| matches!(outside_ram(&after.end), Some((Access::Read, _)));
            matches!(instruction.mnemonic(), Mnemonic::Cmpsb | Mnemonic::Cmpsw | Mnemonic::Cmpsd)
                && reads(ours)
                && reads(theirs)
                && between.is_none_but(|after| after.end = End::Halt)
        },
        reason: "the manual does not say which operand of cmps is read first: AMD's processors and QEMU begin with EDI",
    },
    Known {
        of: Of::Qemu,
        is_this: |instruction, between| instruction.is_invalid() && is_exception(&between.ours, 6),
        reason: "QEMU runs some bytes that are no instruction: segment registers 6 and 7, 8F /1, lock with a register",
    },
    Known {
        of: Of::Unicorn,
        is_this: |_, between| {
            matches!(outside_ram(&between.ours.end), Some((Access::Write, RAM)))
                && between.is_none_but(|after| after.ram[RAM as usize - 3..].fill(0))
        },
        reason: "Unicorn stores the bytes of an operand one by one, and finds the end of RAM in the middle",
    },
    Known {
        of: Of::Processor,
        is_this: |_, between| {
            let (ours, theirs) = (outside_ram(&between.ours.end), outside_ram(&between.theirs.end));
            matches!((ours, theirs), (Some((Access::Read, read)), Some((Access::Write, written))) if read == written)
                && between.is_none_but(|after| after.end = End::Halt)
        },
        reason: "a processor tells of what is read to be written as of a store",
    },
    Known {
        of: Of::Processor,
        is_this: |instruction, _| is_repeated(instruction) && !instruction.is_string_instruction(),
        reason: "a repeat prefix before another instruction than one of strings is reserved",
    },
    Known {
        of: Of::Processor,
        is_this: |instruction, between| {
            is_repeated(instruction)
                && is_comparison(instruction)
                && is_exception(&between.theirs, 1)
                && between.is_none_but(|after| after.registers.eflags &= !ALL_STATUS)
        },
        reason: "in the middle of a repeated cmps or scas, Intel's processors push the status flags from before it",
    },
    Known {
        of: Of::Processor,
        is_this: |instruction, between| {
            instruction.mnemonic() == Mnemonic::Arpl
                && instruction.memory_segment() == Register::CS
                && is_exception(&between.ours, 13)
                && matches!(outside_ram(&between.theirs.end), Some((Access::Read, _)))
        },
        reason: "AMD's processors read the operand of arpl before they look whether its segment may be written",
    },
    Known {
        of: Of::ProcessorAtAnyLevel,
        is_this: |instruction, between| {
            // IF and IOPL.
            const PRIVILEGED: u8 = 0x32;
            let pushed = between.ours.registers.esp as usize + 1;
            matches!(instruction.mnemonic(), Mnemonic::Pushf | Mnemonic::Pushfd)
                && between.is_none_but(|after| {
                    if let Some(byte) = after.ram.get_mut(pushed) {
                        *byte &= !PRIVILEGED;
                    }
                })
        },
        reason: "privilege level 3 cannot change IF and IOPL, which pushf stores",
    },
    Known {
        of: Of::ProcessorAtAnyLevel,
        is_this: |_, between| is_exception(&between.theirs, 17),
        reason: "AC has a meaning at privilege level 3 only",
    },
    Known {
        of: Of::Processor,
        is_this: |_, between| {
            let crosses_the_end = |address: u32| address > u32::MAX - 8;
            outside_ram(&between.ours.end).is_some_and(|(_, address)| crosses_the_end(address))
                && (is_exception(&between.theirs, 12) || is_exception(&between.theirs, 13))
                || is_exception(&between.ours, 17) && is_exception(&between.theirs, 13)
        },
        reason: "an access across the end of a segment of 4 GiB may be an exception (SDM volume 3, section 6.3)",
    },
    Known {
        of: Of::Processor,
        is_this: |instruction, between| {
            // The opcodes of `les`, `lds`, `bound` and `pop` with a register operand are now prefixes of VEX, EVEX
            // and XOP.
            let code = between.ours.ram.get(instruction.ip() as usize..).unwrap_or_default();
            // Behind prefixes of segments and addresses.
            let opcode =
                code.iter().find(|byte| !matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x67));
            instruction.is_invalid() && matches!(opcode, Some(0xc4 | 0xc5 | 0x62 | 0x8f))
        },
        reason: "an instruction newer than the i686",
    },
    Known {
        of: Of::Processor,
        is_this: |instruction, between| {
            instruction.mnemonic() == Mnemonic::Reservednop
                && instruction.op0_kind() == OpKind::Register
                && is_exception(&between.theirs, 6)
        },
        reason: "processors of AMD take the hint nops 0F 0D for prefetches: those have no registers",
    },
    Known {
        of: Of::Unicorn,
        is_this: |instruction, between| {
            instruction.mnemonic() == Mnemonic::Int1 && is_exception(&between.theirs, 6)
        },
        reason: "Unicorn does not have int1",
    },
];

/// The reason for a difference of this one instruction, if it is known.
pub fn known(subject: &str, between: &Difference) -> Option<&'static str> {
    known_of(subject, between.trace.executed.first()?, between)
}

/// The reason for a difference of a whole case that none of its instructions has alone, if it is known.
pub fn known_of_all(subject: &str, between: &Difference) -> Option<&'static str> {
    // When it was compared alone, the last instruction had the segments of entry.
    let last = between.trace.executed.last().filter(|_| between.trace.has_loaded_segments);
    if let Some(reason) = last.and_then(|last| known_of(subject, last, between)) {
        return Some(reason);
    }
    let is_of_a_segment =
        matches!(fault(&between.ours), Some(FaultKind::Exception { vector: 12 | 13, error_code: Some(0) }));
    if applies(Of::Qemu, subject) && is_of_a_segment && last.is_some() {
        return Some("QEMU does not check the limits and rights of the segments that the guest has loaded");
    }
    if applies(Of::Kvm, subject) && is_same_place_outside_ram(between) {
        return Some(PART_DONE);
    }
    let is_of_flags_at_memory = || {
        outside_ram(&between.ours.end).is_some()
            && between.is_none_but(|after| after.registers.eflags &= !ALL_STATUS)
    };
    (applies(Of::Unicorn, subject) && is_of_flags_at_memory())
        .then_some("Unicorn does not restore the flags of an instruction that memory stops")
}

/// The reason for a difference of a whole case, if this subject does with each of its instructions alone what soft does
/// with them alone and together.
pub fn known_of_together(subject: &str) -> Option<&'static str> {
    // QEMU translates several instructions together, and keeps flags as the operands that they come of. It is wrong about
    // CF of a shift in a rotation behind it, and about the flags of neg behind a setno.
    (subject == "kvm" && is_qemu()).then_some(
        "QEMU does something else with instructions that it translates together than with each alone",
    )
}

fn known_of(subject: &str, instruction: &Instruction, between: &Difference) -> Option<&'static str> {
    KNOWN
        .iter()
        .find(|known| applies(known.of, subject) && (known.is_this)(instruction, between))
        .map(|known| known.reason)
}

fn is_same_place_outside_ram(between: &Difference) -> bool {
    let ours = outside_ram(&between.ours.end);
    ours.is_some() && ours == outside_ram(&between.theirs.end)
}

fn applies(of: Of, subject: &str) -> bool {
    match of {
        Of::Any => true,
        Of::Kvm => subject == "kvm",
        Of::KvmEmulator => subject == "kvm" && kvm_emulates(),
        Of::Qemu => subject == UnicornSubject::NAME || subject == "kvm" && is_qemu(),
        Of::Unicorn => subject == UnicornSubject::NAME,
        Of::Processor => matches!(subject, Processor::NAME | ProcessorAtLevel3::NAME),
        Of::ProcessorAtAnyLevel => subject == Processor::NAME,
    }
}

/// Whether this is a repeated store that has overwritten itself with another instruction.
fn overwrites_itself(instruction: &Instruction, after: &After) -> bool {
    let stores = [
        [Mnemonic::Movsb, Mnemonic::Movsw, Mnemonic::Movsd],
        [Mnemonic::Stosb, Mnemonic::Stosw, Mnemonic::Stosd],
        [Mnemonic::Insb, Mnemonic::Insw, Mnemonic::Insd],
    ];
    let Some(code) = after.ram.get(instruction.ip32() as usize..) else { return false };
    is_repeated(instruction)
        && stores.as_flattened().contains(&instruction.mnemonic())
        && decode(code, instruction.ip32()) != *instruction
}

pub fn is_repeated(instruction: &Instruction) -> bool {
    instruction.has_rep_prefix() || instruction.has_repne_prefix()
}

/// Whether this is a string instruction that sets flags.
pub fn is_comparison(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(instruction.mnemonic(), M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Scasb | M::Scasw | M::Scasd)
}

/// Whether KVM emulates the processor, because the host's has neither VMX nor SVM.
fn kvm_emulates() -> bool {
    static FLAGS: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        !info.split_whitespace().any(|flag| flag == "vmx" || flag == "svm")
    });
    *FLAGS
}

/// Whether the processor that KVM runs guests on is QEMU's, by the name that QEMU gives it.
fn is_qemu() -> bool {
    static NAME: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|info| info.contains("QEMU TCG"))
    });
    *NAME
}

fn fault(after: &After) -> Option<FaultKind> {
    match after.end {
        End::Fault(fault) => Some(fault.kind),
        _ => None,
    }
}

fn is_exception(after: &After, number: u8) -> bool {
    matches!(fault(after), Some(FaultKind::Exception { vector, .. }) if vector == number)
}
