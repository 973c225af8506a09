//! Programs at privilege level 0 with random page tables, descriptors and gates, which go to other levels and fault. Each
//! exception and interrupt is logged in RAM by a handler, which goes on with the next part of the program. So one case
//! compares some dozen faults, with their frames, error codes, CR2 and registers, and in the end all of RAM with the flags
//! of the page tables.
//!
//! It needs a KVM that runs the guest on the processor: CONTRIBUTING.md says how the test goes to one.

mod program;

use flatland::x86::{Fault, FaultKind, Registers};
use program::{CODE_END, Code, DIRECTORY, ENTRY, FIRST_PAGE, LOG, LOG_END, LOG_LIMIT, TABLE, program};

use super::random::{Random, seeds};
use super::subject::{After, End, Kvm, RAM, Soft, Subject};

#[test]
fn random_privileged_programs_against_kvm() {
    let Some(mut kvm) = Kvm::to_compare_with() else { return };
    if !has_paging(&mut kvm) {
        println!("not compared: this KVM has no paging, because it emulates the processor");
        return;
    }
    let mut count = 0;
    let (mut logged, mut breakpoints, mut endless, mut overwritten) = (0, 0, 0, 0);
    let mut failed = Vec::new();
    for seed in seeds(200) {
        let before = program(seed);
        let [soft, mut other] = [Soft.run(&before), kvm.run(&before)].map(comparable);
        explain(&before.ram, &soft, &mut other);
        explain_frames(&before.ram, &soft, &mut other);
        count += 1;
        if soft.end == End::Endless {
            // Its stack has overwritten what ends it.
            endless += 1;
            continue;
        }
        if [&soft, &other].into_iter().any(|after| has_overwritten_tables(&before.ram, &after.ram)) {
            overwritten += 1;
            continue;
        }
        let log_end = read(&soft.ram, LOG_END).clamp(LOG, LOG_LIMIT);
        logged += (log_end - LOG) / ENTRY;
        let is_of_breakpoint =
            |entry: u32| read(&soft.ram, entry + 12 * 4) == 1 && read(&soft.ram, entry + 22 * 4) & 0xf != 0;
        breakpoints +=
            (LOG..log_end).step_by(ENTRY as usize).filter(|entry| is_of_breakpoint(*entry)).count();
        if soft != other {
            println!("FLATLAND_SEED={seed}: {}", difference(&before.ram, &soft, &other));
            failed.push(seed);
        }
    }
    println!(
        "{count} privileged programs, {logged} exceptions and interrupts, {breakpoints} of them by breakpoints, \
         {endless} programs without end, {overwritten} that have overwritten page tables, {} differences",
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
}

/// The first page whose linear address and contents are random.
const RANDOM_PAGES: u32 = 0xa000;

fn has_paging(kvm: &mut Kvm) -> bool {
    let mut before = program(1);
    let mut code = Code { bytes: Vec::new() };
    // mov cr3, eax; mov cr0, eax; hlt
    code.mov(0, DIRECTORY).put(&[0x0f, 0x22, 0xd8]).mov(0, 0x8000_0011).put(&[0x0f, 0x22, 0xc0, 0xf4]);
    before.ram[..code.bytes.len()].copy_from_slice(&code.bytes);
    kvm.run(&before).end == End::Halt
}

#[test]
fn changed_privileged_programs_end_on_soft() {
    for seed in seeds(2000) {
        let mut before = program(seed);
        Random::new(!seed).overwrite(&mut before.ram, 40);
        // Not a panic, and no hang: the instructions are limited.
        Soft.run(&before);
    }
}

fn read(ram: &[u8], address: u32) -> u32 {
    u32::from_le_bytes(ram[address as usize..][..4].try_into().expect("it is in RAM"))
}

fn write(after: &mut After, address: u32, value: u32) {
    after.ram[address as usize..][..4].copy_from_slice(&value.to_le_bytes());
}

/// What can be compared: where a triple fault was is not known to each KVM, nor the registers then. QEMU's processor, below a
/// KVM that is nested in it, sets neither RF in the frame of a fault nor EXT in the error code of a second exception. Frames are
/// in the log, so the stacks are left out.
fn comparable(mut after: After) -> After {
    const RF: u8 = 1;
    const EXT: u8 = 1;
    for entry in (LOG..LOG_LIMIT - ENTRY).step_by(ENTRY as usize) {
        if matches!(read(&after.ram, entry + 12 * 4), 10..=13) {
            after.ram[entry as usize + 13 * 4] &= !EXT;
        }
    }
    for stacks in [0x5000, 0x7000] {
        after.ram[stacks..][..0x1000].fill(0);
    }
    after.ram.iter_mut().skip(2).step_by(4).for_each(|byte| *byte &= !RF);
    if let End::Fault(Fault { kind: FaultKind::TripleFault, location }) = &mut after.end {
        *location = flatland::x86::Location::Unknown;
        after.registers = Registers::default();
    }
    after
}

/// Whether a stack has grown over the directory, or over the entries that no part of a program changes. When a processor uses them
/// is open until CR3 is loaded (SDM volume 3, section 5.10.4).
fn has_overwritten_tables(before: &[u8], after: &[u8]) -> bool {
    const ACCESSED_OR_DIRTY: u32 = 0x60;
    let fixed = [DIRECTORY, DIRECTORY + 4].into_iter().chain((0..FIRST_PAGE).map(|page| TABLE + page * 4));
    fixed.into_iter().any(|entry| (read(before, entry) ^ read(after, entry)) & !ACCESSED_OR_DIRTY != 0)
}

/// Differences that are QEMU's processor's, or KVM's when a nested page fault breaks off the delivery of an exception:
///
/// - An instruction that reads an operand and replaces it faults as a store; QEMU's processor faults as at a load.
/// - An `int n` that cannot be delivered has not been executed; KVM injects one that was broken off with EIP behind it.
/// - A contributory exception in the delivery of another is a double fault; where KVM injects the first one again, QEMU's processor
///   does not remember that there was one (`old_exception` in target/i386/tcg/excp_helper.c, which `helper_vmrun` does not set).
/// - `jmp` through a call gate to code that is not present is #NP; for QEMU's processor it is #GP.
/// - `call` through a gate to conforming code keeps the level; QEMU's processor sets CS's to the descriptor's.
/// - AF is undefined behind logical instructions, and OF, SF and PF behind `bts`, too (SDM volume 2, BTS).
fn explain(code: &[u8], soft: &After, other: &mut After) {
    for entry in (LOG..LOG_LIMIT - ENTRY).step_by(ENTRY as usize) {
        let word = |ram: &[u8], index: u32| read(ram, entry + index * 4);
        let [vector, error_code, eip, flags, flags_above] =
            [12, 13, 14, 15, 16].map(|index| word(&soft.ram, index));
        let [other_vector, other_code, other_eip, other_flags, other_flags_above] =
            [12, 13, 14, 15, 16].map(|index| word(&other.ram, index));
        if vector >= 0x40 {
            // Without an error code: EIP, CS and EFLAGS.
            if eip ^ other_eip < 4 && eip & 3 != 0 {
                write(other, entry + 14 * 4, eip);
            }
            if (flags ^ other_flags) & !undefined_flags(code, error_code) == 0 {
                write(other, entry + 15 * 4, flags);
            }
        } else if (flags_above ^ other_flags_above) & !undefined_flags(code, eip) == 0 {
            write(other, entry + 16 * 4, flags_above);
        }
        if (vector, error_code) == (8, 0) && (10..14).contains(&other_vector) {
            write(other, entry + 12 * 4, vector);
            write(other, entry + 13 * 4, error_code);
            // Where its stack lies on a random page.
            in_frames(soft, other, RANDOM_PAGES, &[(vector, other_vector), (error_code, other_code)]);
        }
        if eip >= CODE_END {
            continue;
        }
        let code = &code[eip as usize..];
        if vector == 14 && error_code & (error_code ^ other_code) == 2 && replaces(code) {
            write(other, entry + 13 * 4, error_code);
            in_frames(soft, other, LOG, &[(error_code, other_code)]);
        } else if (vector, other_vector, error_code) == (11, 13, other_code) && code[0] == 0xea {
            write(other, entry + 12 * 4, vector);
        } else if matches!(vector, 8 | 10..14) && is_behind_interrupt(code, other_eip.wrapping_sub(eip)) {
            write(other, entry + 14 * 4, eip);
            in_frames(soft, other, LOG, &[(eip, other_eip)]);
        }
    }
}

/// The flags that the last instructions before an address may leave undefined.
fn undefined_flags(code: &[u8], eip: u32) -> u32 {
    const AF: u32 = 1 << 4;
    const OTHERS: u32 = 1 << 2 | 1 << 7 | 1 << 11;
    let code = &code[..eip.min(CODE_END) as usize];
    let last = &code[code.len().saturating_sub(64)..];
    let has_bts = last.windows(3).any(|opcode| opcode == [0x0f, 0xab, 0x05]);
    AF | if has_bts { OTHERS } else { 0 }
}

/// Error codes and flags, with a frame's EIP beside them on a stack on a random page, that differ as [`comparable`] and [`explain`]
/// say.
fn explain_frames(code: &[u8], soft: &After, other: &mut After) {
    const EXT: u32 = 1;
    const WRITE: u32 = 2;
    for address in (RANDOM_PAGES..RAM - 4).step_by(4) {
        let [ours, theirs] = [&soft.ram, &other.ram].map(|ram| read(ram, address));
        let eip = read(&soft.ram, address + 4);
        let is_store = || code.get(eip as usize..CODE_END as usize).is_some_and(replaces);
        if ours & !theirs == EXT || ours & !theirs == WRITE && ours < 8 && is_store() {
            let is_rest_equal = (ours ^ theirs).count_ones() == 1;
            if is_rest_equal && eip < CODE_END {
                write(other, address, ours);
            }
        }
        let frame_eip = read(&soft.ram, address - 8);
        let is_frame = frame_eip < CODE_END && read(&soft.ram, address - 4) < 0x10000;
        if is_frame && (ours ^ theirs) & !undefined_flags(code, frame_eip) == 0 {
            write(other, address, ours);
        }
    }
}

/// The same differences, of consecutive words, from an address on: on a stack that lies on a random page, and in what the log has of
/// stacks behind a frame.
fn in_frames(soft: &After, other: &mut After, start: u32, differences: &[(u32, u32)]) {
    for address in (start..RAM - 4).step_by(4) {
        let places = || (address..).step_by(4).zip(differences);
        if places().all(|(at, pair)| (read(&soft.ram, at), read(&other.ram, at)) == *pair) {
            places().for_each(|(at, (ours, _))| write(other, at, *ours));
        }
    }
}

/// Whether the first instruction is a software interrupt of this length.
fn is_behind_interrupt(code: &[u8], len: u32) -> bool {
    matches!((code[0], len), (0xcd, 2) | (0xcc | 0xce, 1))
}

/// Whether the instruction is one with memory that reads and replaces its operand.
fn replaces(code: &[u8]) -> bool {
    let code = if code[0] == 0x66 { &code[1..] } else { code };
    match code {
        [0x01 | 0x29 | 0x31 | 0x87, 0x05 | 0x0d | 0x1d, ..] | [0xff, 0x05, ..] => true,
        [0x0f, second, ..] => matches!(second, 0xb1 | 0xc1 | 0xab | 0xc7),
        _ => false,
    }
}

fn difference(code: &[u8], soft: &After, other: &After) -> String {
    let mut text = format!("{:?} {:?}\n", soft.end, other.end);
    if soft.registers != other.registers {
        text += &format!("  {:x?}\n  {:x?}\n", soft.registers, other.registers);
    }
    let differ = |address: &u32| read(&soft.ram, *address) != read(&other.ram, *address);
    for address in (0..RAM).step_by(4).filter(differ).take(12) {
        let entry =
            address.checked_sub(LOG).filter(|_| address < LOG_LIMIT).map(|at| (at / ENTRY, at % ENTRY / 4));
        text += &format!(
            "  {address:#x} {entry:?}: {:#x} {:#x}\n",
            read(&soft.ram, address),
            read(&other.ram, address)
        );
    }
    if let Some(first) = (LOG..LOG_LIMIT).step_by(4).find(differ) {
        let entry = (first - LOG) / ENTRY;
        for number in entry.saturating_sub(1)..=entry {
            for ram in [&soft.ram, &other.ram] {
                let words: Vec<_> =
                    (0..ENTRY / 4).map(|at| read(ram, LOG + number * ENTRY + at * 4)).collect();
                text += &format!("  log {number}: {words:x?}\n");
            }
            let eip = [13, 14].map(|at| read(&soft.ram, LOG + number * ENTRY + at * 4));
            let bytes = eip.map(|eip| code.get(eip as usize..eip as usize + 8).unwrap_or_default());
            text += &format!("  code {bytes:02x?}\n");
        }
    }
    text
}
