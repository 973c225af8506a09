//! Instructions on the stack: the data transfers among them (SDM volume 1, section 5.1.1), `enter` and `leave`
//! (section 5.1.10).

use iced_x86::{Code, Instruction, Mnemonic};

use super::super::cpu::{Cpu, register};
use super::super::event::Step;
use super::super::flags::{RF, VM};
use super::super::int::{Int, Size, by_word_size};
use super::super::operand::{Kind, kind};
use super::super::operation::{Handler, Op, Place, Source};
use super::super::segment::number;

/// The handler of an instruction of this module. For `push` of one operand, the operand becomes the second.
pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    use Mnemonic::*;
    let size = operand_size(instruction.code())?;
    Some(match instruction.mnemonic() {
        Push if is_segment(instruction) => by_word_size!(size, T => push_segment::<T>),
        Push => {
            op.source = op.destination;
            push_of(instruction, size)
        }
        Pop if kind(instruction, 0) == Kind::Memory => by_word_size!(size, T => pop_memory::<T>),
        Pop => by_word_size!(size, T => pop_register::<T>),
        Pusha | Pushad => by_word_size!(size, T => pusha::<T>),
        Popa | Popad => by_word_size!(size, T => popa::<T>),
        Pushf | Pushfd => by_word_size!(size, T => pushf::<T>),
        Popf | Popfd => by_word_size!(size, T => popf::<T>),
        Enter => by_word_size!(size, T => enter::<T>),
        Leave => by_word_size!(size, T => leave::<T>),
        _ => return None,
    })
}

/// The operand size of an instruction on the stack; `None` for others, and for those that load a segment register.
fn operand_size(code: Code) -> Option<Size> {
    use Code::*;
    Some(match code {
        Push_r16 | Push_rm16 | Push_imm16 | Pushw_imm8 | Pop_r16 | Pop_rm16 => Size::Word,
        Pushw_ES | Pushw_CS | Pushw_SS | Pushw_DS | Pushw_FS | Pushw_GS => Size::Word,
        Pushaw | Popaw | Pushfw | Popfw | Enterw_imm16_imm8 | Leavew => Size::Word,
        Push_r32 | Push_rm32 | Pushd_imm32 | Pushd_imm8 | Pop_r32 | Pop_rm32 => Size::Doubleword,
        Pushd_ES | Pushd_CS | Pushd_SS | Pushd_DS | Pushd_FS | Pushd_GS => Size::Doubleword,
        Pushad | Popad | Pushfd | Popfd | Enterd_imm16_imm8 | Leaved => Size::Doubleword,
        _ => return None,
    })
}

fn is_segment(instruction: &Instruction) -> bool {
    use iced_x86::Register;
    (Register::ES..=Register::GS).contains(&instruction.op0_register())
}

fn push_of(instruction: &Instruction, size: Size) -> Handler {
    use super::super::operation::{Immediate, Memory, Register};
    match kind(instruction, 0) {
        Kind::Register => by_word_size!(size, T => push::<T, Register>),
        Kind::Memory => by_word_size!(size, T => push::<T, Memory>),
        Kind::Immediate => by_word_size!(size, T => push::<T, Immediate>),
    }
}

/// `push esp` pushes ESP as it was before.
fn push<T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = S::read(cpu, op)?;
    cpu.push(value)?;
    cpu.stored()
}

/// With a doubleword only the low word is stored (SDM volume 2, PUSH, "If the source operand is a segment register");
/// ESP still decreases by 4.
fn push_segment<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = cpu.segment(op.destination).selector;
    let offset = cpu.stack_pointer().wrapping_sub(T::BYTES) & cpu.stack_mask();
    cpu.store(number::SS, offset, selector)?;
    cpu.set_stack_pointer(offset);
    cpu.stored()
}

/// `pop esp` leaves ESP as popped.
fn pop_register<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let value: T = cpu.peek(0)?;
    cpu.drop_stack(T::BYTES);
    cpu.set_reg_part(op.destination, value);
    Ok(())
}

/// An address relative to ESP is computed after ESP has moved (SDM volume 2, POP).
fn pop_memory<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let value: T = cpu.peek(0)?;
    let before = cpu.reg(register::ESP);
    cpu.drop_stack(T::BYTES);
    if let Err(problem) = <super::super::operation::Memory as Place<T>>::write(cpu, op, value) {
        cpu.set_reg(register::ESP, before);
        return Err(problem);
    }
    cpu.stored()
}

/// Pushes all eight registers, with ESP as it was before, or none: the lowest address is checked first.
fn pusha<T: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    let top = cpu.stack_pointer();
    let mask = cpu.stack_mask();
    let place = |number: u8| top.wrapping_sub(T::BYTES * (u32::from(number) + 1)) & mask;
    for number in (register::EAX..=register::EDI).rev() {
        if let Err(reason) = cpu.store(number::SS, place(number), cpu.reg_part::<T>(number)) {
            // The fault that is reported is still that of the first push.
            for number in register::EAX..=register::EDI {
                cpu.place(number::SS, place(number), T::BYTES, flatland_x86::Access::Write)?;
            }
            return Err(reason);
        }
    }
    cpu.set_stack_pointer(top.wrapping_sub(T::BYTES * 8));
    cpu.stored()
}

/// The value for ESP is skipped.
fn popa<T: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    let mut values = [T::truncate(0); 8];
    for (index, value) in values.iter_mut().enumerate() {
        *value = cpu.peek(index as u32)?;
    }
    for (number, value) in (register::EAX..=register::EDI).rev().zip(values) {
        if number != register::ESP {
            cpu.set_reg_part(number, value);
        }
    }
    cpu.drop_stack(T::BYTES * 8);
    Ok(())
}

/// The image never has VM and RF (SDM volume 2, PUSHF).
fn pushf<T: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    let image = cpu.eflags() & !(VM | RF);
    cpu.push(T::truncate(image))?;
    cpu.stored()
}

/// VM, VIF and VIP stay as they are, and RF is cleared. Outer levels cannot change IOPL, and IF only with its permission
/// (SDM volume 2, POPF). TF may have changed, so the block ends.
fn popf<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    use super::super::flags::{IF, IOPL, VIF, VIP};
    let image: T = cpu.peek(0)?;
    cpu.drop_stack(T::BYTES);
    let mut kept = !T::MASK | VIF | VIP;
    kept |= if cpu.privilege_level() == 0 { 0 } else { IOPL };
    kept |= if cpu.has_io_privilege() { 0 } else { IF };
    cpu.set_eflags((cpu.eflags() & kept | image.zero_extend() & !kept) & !RF);
    cpu.branch_anew(op.next)
}

/// Makes the stack frame of a procedure. With a nesting level, copies the frame pointers of the enclosing procedures
/// (SDM volume 2, ENTER).
fn enter<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let (size, level) = (op.immediate, op.displacement % 32);
    let before = cpu.reg(register::ESP);
    enter_frame::<T>(cpu, size, level).inspect_err(|_| cpu.set_reg(register::ESP, before))?;
    cpu.stored()
}

fn enter_frame<T: Int>(cpu: &mut Cpu, size: u32, level: u32) -> Step {
    let mask = cpu.stack_mask();
    let frame_pointer = cpu.reg(register::EBP);
    cpu.push(T::truncate(frame_pointer))?;
    let frame = cpu.reg(register::ESP);
    for index in 1..level {
        let offset = frame_pointer.wrapping_sub(index * T::BYTES) & mask;
        let outer: T = cpu.load(number::SS, offset)?;
        cpu.push(outer)?;
    }
    if level > 0 {
        cpu.push(T::truncate(frame))?;
    }
    let stack_pointer = cpu.stack_pointer().wrapping_sub(size) & mask;
    // The processor checks that the frame can be written before it sets EBP.
    cpu.place(number::SS, stack_pointer, T::BYTES, flatland_x86::Access::Write)?;
    cpu.set_stack_pointer(stack_pointer);
    cpu.set_reg_part(register::EBP, T::truncate(frame));
    Ok(())
}

fn leave<T: Int>(cpu: &mut Cpu, _: &Op) -> Step {
    let frame = cpu.reg(register::EBP) & cpu.stack_mask();
    let value: T = cpu.load(number::SS, frame)?;
    cpu.set_stack_pointer(frame.wrapping_add(T::BYTES));
    cpu.set_reg_part(register::EBP, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::cpu::register::*;
    use super::super::table::execute;

    #[test]
    fn frames() {
        // enter 0x10, 0
        let (cpu, _) = execute(&[0xc8, 0x10, 0, 0], ([0; 4], 0));
        assert_eq!((cpu.reg(EBP), cpu.reg(ESP)), (0xffc, 0xfec));
        // enter 8, 1: the frame's own pointer is also pushed.
        let (cpu, _) = execute(&[0xc8, 8, 0, 1], ([0; 4], 0));
        assert_eq!((cpu.reg(EBP), cpu.reg(ESP)), (0xffc, 0xff0));
        assert_eq!(cpu.memory.read::<u32>(0xff8), Some(0xffc));
    }

    #[test]
    fn the_stack_pointer_itself() {
        // push esp
        let (cpu, _) = execute(&[0x54], ([0; 4], 0));
        assert_eq!(cpu.memory.read::<u32>(0xffc), Some(0x1000));
        // pusha
        let (cpu, _) = execute(&[0x60], ([1, 2, 3, 4], 0));
        let stack =
            [0xffc, 0xff8, 0xff4, 0xff0, 0xfec].map(|address| cpu.memory.read::<u32>(address).unwrap());
        assert_eq!(stack, [1, 2, 3, 4, 0x1000]);
    }
}
