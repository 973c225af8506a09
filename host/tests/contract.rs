//! Tests each row of the machine's contract with an image of a few bytes. The disassembly is beside them.
//!
//! Every image runs on each engine, and they must agree. This program needs nothing but /dev/kvm, so its binary also
//! runs on another machine.

mod common;

use std::time::Duration;

use common::{ended, engines, finish, machine_on, machines, run};
use flatland::EngineChoice;
use flatland::x86::Location;
use flatland::x86::{Registers, cpuid};
use flatland::{Outcome, Stop};
use flatland_contract::memory::DEFAULT_RAM_SIZE;

// The state at entry

#[test]
fn registers_at_entry() {
    let expected = Registers { esp: DEFAULT_RAM_SIZE, eflags: 0x2, ..Registers::default() };
    for mut machine in machines(&[0xf4], b"") {
        assert_eq!(machine.engine().registers().unwrap(), expected);
    }
}

#[test]
#[rustfmt::skip]
fn protected_mode_without_paging_and_interrupts() {
    let code = [
        0x9c,                         //  0: pushf
        0x58,                         //  1: pop eax
        0xa3, 0x00, 0x10, 0x00, 0x00, //  2: mov [0x1000], eax
        0x0f, 0x20, 0xc0,             //  7: mov eax, cr0
        0xa3, 0x04, 0x10, 0x00, 0x00, //  a: mov [0x1004], eax
        0xf4,                         //  f: hlt
    ];
    for mut machine in machines(&code, b"") {
    assert_eq!(machine.run().unwrap(), Outcome::Halted);
    let mut words = [0; 8];
    assert_eq!(machine.engine().read_ram(0x1000, &mut words), 8);
    let eflags = u32::from_le_bytes(words[..4].try_into().unwrap());
    let cr0 = u32::from_le_bytes(words[4..].try_into().unwrap());
    assert_eq!(eflags & (1 << 9 | 1 << 10), 0, "IF and DF are clear in {eflags:#x}");
    assert_eq!((cr0 & 1, cr0 >> 31), (1, 0), "PE is set and PG is clear in {cr0:#x}");
    }
}

#[test]
#[rustfmt::skip]
fn segments_are_flat_and_hold_32_bit_code() {
    let code = [
        0x65, 0xc6, 0x05, 0x00, 0x00, 0xff, 0x00, b'G', //  0: mov byte gs:[0xff0000], 'G'
        0x26, 0xa0, 0x00, 0x00, 0xff, 0x00,             //  8: mov al, es:[0xff0000]
        0xe6, 0xe9,                                     //  e: out 0xe9, al
        0x06,                                           // 10: push es
        0x1f,                                           // 11: pop ds
        0xa0, 0x00, 0x00, 0xff, 0x00,                   // 12: mov al, [0xff0000]
        0xe6, 0xe9,                                     // 17: out 0xe9, al
        0xf4,                                           // 19: hlt
    ];
    assert_eq!(run(&code, b""), ended(Outcome::Halted, b"GG"));
}

#[test]
fn cpuid_answers_the_same_on_each_engine() {
    // mov eax, LEAF; mov ecx, LEAF; cpuid; mov [0x1000], eax; mov [0x1004], ebx; mov [0x1008], ecx; mov [0x100c], edx;
    // mov edx, 0xe9; mov esi, 0x1000; mov ecx, 16; rep outsb
    let ask = |leaf: u32| {
        let mut code = vec![0xb8];
        code.extend(leaf.to_le_bytes());
        code.push(0xb9);
        code.extend(leaf.to_le_bytes());
        code.extend([0x0f, 0xa2, 0xa3, 0, 0x10, 0, 0, 0x89, 0x1d, 4, 0x10, 0, 0, 0x89, 0x0d, 8, 0x10, 0, 0]);
        code.extend([
            0x89, 0x15, 12, 0x10, 0, 0, 0xba, 0xe9, 0, 0, 0, 0xbe, 0, 0x10, 0, 0, 0xb9, 16, 0, 0, 0,
        ]);
        code.extend([0xf3, 0x6e]);
        code
    };
    let leaves =
        [0, 1, 2, 7, 0xd, 0x15, 0x4000_0000, 0x4000_0001, 0x8000_0000, 0x8000_0001, 0x8000_0008, u32::MAX];
    let code = [leaves.iter().flat_map(|leaf| ask(*leaf)).collect(), vec![0xf4]].concat();
    for &engine in engines() {
        let mut machine = machine_on(engine, &code, b"");
        assert_eq!(machine.run().unwrap(), Outcome::Halted, "{engine:?}");
        let (words, _) = machine.streams().output.bytes().as_chunks();
        let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let (answers, _) = words.as_chunks();
        assert_eq!(answers.len(), leaves.len());
        for (leaf, answer) in leaves.iter().zip(answers) {
            let mut expected = cpuid::answer(*leaf);
            if engine != EngineChoice::Soft && expected == cpuid::answer(1) {
                // The emulating KVM of PVM adds features of its own to what it is told to answer.
                expected[2] |= answer[2];
                expected[3] |= answer[3];
            }
            assert_eq!(*answer, expected, "{engine:?}, leaf {leaf:#x}");
        }
    }
}

#[test]
#[rustfmt::skip]
fn ram_is_zeroed_up_to_its_end() {
    let code = [
        0xbf, 0x00, 0x10, 0x00, 0x00, //  0: mov edi, 0x1000
        0xb9, 0x00, 0xfc, 0x3f, 0x00, //  5: mov ecx, 0xfff000 / 4
        0x31, 0xc0,                   //  a: xor eax, eax
        0xf3, 0xaf,                   //  c: repe scasd
        0x0f, 0x94, 0xc0,             //  e: setz al
        0xe6, 0xe9,                   // 11: out 0xe9, al
        0xf4,                         // 13: hlt
    ];
    assert_eq!(run(&code, b""), ended(Outcome::Halted, &[1]));
}

#[test]
#[rustfmt::skip]
fn the_stack_begins_at_the_end_of_ram() {
    let code = [
        0x68, 0x78, 0x56, 0x34, 0x12, //  0: push 0x12345678
        0xa0, 0xfc, 0xff, 0xff, 0x00, //  5: mov al, [0xfffffc]
        0xe6, 0xe9,                   //  a: out 0xe9, al
        0xf4,                         //  c: hlt
    ];
    assert_eq!(run(&code, b""), ended(Outcome::Halted, &[0x78]));
}

#[test]
#[rustfmt::skip]
fn the_image_can_be_written() {
    let code = [
        0xc6, 0x05, 0x07, 0x00, 0x00, 0x00, 0xf4, // 0: mov byte [7], 0xf4 (hlt)
        0x0f, 0x0b,                               // 7: ud2
    ];
    assert_eq!(run(&code, b""), ended(Outcome::Halted, b""));
}

// The console

/// Sends back what it reads until there is no more, with `insb` and `outsb`.
#[rustfmt::skip]
const ECHO: &[u8] = &[
    0xba, 0xe9, 0x00, 0x00, 0x00, //  0: mov edx, 0xe9
    0xbf, 0x00, 0x10, 0x00, 0x00, //  5: mov edi, 0x1000
    0x6c,                         //  a: insb
    0xbe, 0x00, 0x10, 0x00, 0x00, //  b: mov esi, 0x1000
    0x6e,                         // 10: outsb
    0xeb, 0xf2,                   // 11: jmp 5
];

#[test]
fn all_256_bytes_pass_unchanged_until_the_end_of_input() {
    let input: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    assert_eq!(run(ECHO, &input), ended(Outcome::EndOfInput, &input));
}

#[test]
#[rustfmt::skip]
fn in_and_out_are_the_same_bus_cycle() {
    let code = [
        0xe4, 0xe9,                   // 0: in al, 0xe9
        0xe6, 0xe9,                   // 2: out 0xe9, al
        0xba, 0xe9, 0x00, 0x00, 0x00, // 4: mov edx, 0xe9
        0xec,                         // 9: in al, dx
        0xee,                         // a: out dx, al
        0xf4,                         // b: hlt
    ];
    assert_eq!(run(&code, b"xyz"), ended(Outcome::Halted, b"xy"));
}

/// Reads `count` bytes with `rep insb` to an address that is not page-aligned, and sends them back with `rep outsb`.
fn bulk_echo(count: u32) -> Vec<u8> {
    const BUFFER: [u8; 4] = 0x1f01_u32.to_le_bytes();
    let count = count.to_le_bytes();
    [
        &[0xba, 0xe9, 0x00, 0x00, 0x00][..], // mov edx, 0xe9
        &[0xbf],                             // mov edi, BUFFER
        &BUFFER,
        &[0xb9], // mov ecx, count
        &count,
        &[0xf3, 0x6c], // rep insb
        &[0xbe],       // mov esi, BUFFER
        &BUFFER,
        &[0xb9], // mov ecx, count
        &count,
        &[0xf3, 0x6e], // rep outsb
        &[0xf4],       // hlt
    ]
    .concat()
}

#[test]
fn strings_of_any_count_pass_in_both_directions() {
    let input: Vec<u8> = (0..10_000_u32).map(|index| (index * 7 + index / 256) as u8).collect();
    for count in [0, 1, 2, 255, 256, 4096, 10_000] {
        let expected = ended(Outcome::Halted, &input[..count]);
        assert_eq!(run(&bulk_echo(count as u32), &input), expected, "{count} bytes");
    }
}

#[test]
fn a_string_that_the_input_does_not_fill_ends_the_run() {
    assert_eq!(run(&bulk_echo(10), b"nine byte"), ended(Outcome::EndOfInput, b""));
}

#[test]
#[rustfmt::skip]
fn strings_run_downwards_where_df_is_set() {
    let code = [
        0xba, 0xe9, 0x00, 0x00, 0x00, //  0: mov edx, 0xe9
        0xfd,                         //  5: std
        0xbf, 0x02, 0x10, 0x00, 0x00, //  6: mov edi, 0x1002
        0xb9, 0x03, 0x00, 0x00, 0x00, //  b: mov ecx, 3
        0xf3, 0x6c,                   // 10: rep insb
        0xfc,                         // 12: cld
        0xbe, 0x00, 0x10, 0x00, 0x00, // 13: mov esi, 0x1000
        0xb9, 0x03, 0x00, 0x00, 0x00, // 18: mov ecx, 3
        0xf3, 0x6e,                   // 1d: rep outsb
        0xf4,                         // 1f: hlt
    ];
    assert_eq!(run(&code, b"abc"), ended(Outcome::Halted, b"cba"));
}

#[test]
fn no_input_is_the_end_of_input() {
    assert_eq!(run(ECHO, b""), ended(Outcome::EndOfInput, b""));
}

// The other ports

#[test]
#[rustfmt::skip]
fn diagnostics_are_a_stream_of_their_own() {
    let code = [
        0xb0, b'o', // 0: mov al, 'o'
        0xe6, 0xe9, // 2: out 0xe9, al
        0xb0, b'd', // 4: mov al, 'd'
        0xe6, 0xea, // 6: out 0xea, al
        0xf4,       // 8: hlt
    ];
    let run = run(&code, b"");
    assert_eq!((run.outcome, &run.output[..], &run.diagnostics[..]), (Outcome::Halted, &b"o"[..], &b"d"[..]));
}

/// Asks how much input is ready, reads one byte, asks again, and so on `rounds` times; sends the answers.
#[rustfmt::skip]
fn ask_and_read(rounds: u8) -> Vec<u8> {
    vec![
        0xb3, rounds,                 //  0: mov bl, rounds
        0xba, 0xeb, 0x00, 0x00, 0x00, //  2: mov edx, 0xeb
        0xbf, 0x00, 0x10, 0x00, 0x00, //  7: mov edi, 0x1000
        0xb9, 0x04, 0x00, 0x00, 0x00, //  c: mov ecx, 4
        0xf3, 0x6c,                   // 11: rep insb
        0xb2, 0xe9,                   // 13: mov dl, 0xe9
        0xbe, 0x00, 0x10, 0x00, 0x00, // 15: mov esi, 0x1000
        0xb1, 0x04,                   // 1a: mov cl, 4
        0xf3, 0x6e,                   // 1c: rep outsb
        0xfe, 0xcb,                   // 1e: dec bl
        0x74, 0x03,                   // 20: jz 25
        0x6c,                         // 22: insb
        0xeb, 0xdd,                   // 23: jmp 2
        0xf4,                         // 25: hlt
    ]
}

#[test]
fn input_ready_counts_down_to_0_at_the_end() {
    let answers = [3_u32, 2, 1, 0].map(u32::to_le_bytes).concat();
    assert_eq!(run(&ask_and_read(4), b"abc"), ended(Outcome::Halted, &answers));
    let many = vec![b'x'; 0x1_0203];
    assert_eq!(run(&ask_and_read(1), &many), ended(Outcome::Halted, &[0x03, 0x02, 0x01, 0x00]));
}

#[test]
#[rustfmt::skip]
fn an_answer_of_input_ready_is_read_in_four_reads_whatever_comes_between() {
    let code = [
        0xe4, 0xeb, // 0: in al, 0xeb
        0xe6, 0xe9, // 2: out 0xe9, al
        0xe4, 0xe9, // 4: in al, 0xe9
        0xe4, 0xeb, // 6: in al, 0xeb
        0xe4, 0xeb, // 8: in al, 0xeb
        0xe4, 0xeb, // a: in al, 0xeb
        0xe6, 0xe9, // c: out 0xe9, al
        0xe4, 0xeb, // e: in al, 0xeb
        0xe6, 0xe9, // 10: out 0xe9, al
        0xf4,       // 12: hlt
    ];
    // 0x102 bytes: 02, then 01 00 00 in spite of the byte read; then the next answer, 0x101, begins.
    assert_eq!(run(&code, &[0; 0x102]), ended(Outcome::Halted, &[0x02, 0x00, 0x01]));
}

#[test]
fn the_exit_port_ends_the_run_with_its_byte() {
    for status in [0, 1, 42, 101, 134, 255] {
        #[rustfmt::skip]
        let code = [
            0xb0, b'.',  // 0: mov al, '.'
            0xe6, 0xe9,  // 2: out 0xe9, al
            0xb0, status, // 4: mov al, status
            0xe6, 0xf4,  // 6: out 0xf4, al
            0x0f, 0x0b,  // 8: ud2
        ];
        assert_eq!(run(&code, b""), ended(Outcome::Exited(status), b"."));
    }
}

#[test]
#[rustfmt::skip]
fn a_string_to_the_exit_port_ends_the_run_with_its_first_byte() {
    let code = [
        0xba, 0xf4, 0x00, 0x00, 0x00, // 0: mov edx, 0xf4
        0xbe, 0x14, 0x00, 0x00, 0x00, // 5: mov esi, 0x14
        0xb9, 0x03, 0x00, 0x00, 0x00, // a: mov ecx, 3
        0xf3, 0x6e,                   // f: rep outsb
        0x0f, 0x0b, 0x90,             // 11: ud2; nop
        7, 8, 9,                      // 14: bytes
    ];
    assert_eq!(run(&code, b""), ended(Outcome::Exited(7), b""));
}

// Limits

#[test]
fn instructions_are_counted_exactly_or_not_at_all() {
    // 0: mov ecx, 5; 5: loop 5; 7: jmp 7
    let code = [0xb9, 5, 0, 0, 0, 0xe2, 0xfe, 0xeb, 0xfe];
    let mut machine = machine_on(EngineChoice::Soft, &code, b"");
    machine.set_instruction_limit(4).unwrap();
    assert_eq!(machine.run().unwrap(), Outcome::Stopped(Stop::InstructionLimit(4), Location::At(5)));
    assert_eq!(machine.engine().registers().unwrap().ecx, 2);
    assert_eq!(machine.engine().instructions(), Some(4));
    for engine in engines().iter().filter(|engine| **engine == EngineChoice::Kvm) {
        let refused = machine_on(*engine, &code, b"").set_instruction_limit(4).unwrap_err();
        assert!(refused.to_string().starts_with("KVM cannot "), "{refused}");
    }
}

#[test]
fn a_guest_that_never_stops_is_stopped() {
    let limit = Duration::from_millis(50);
    // 0: jmp 0
    for mut machine in machines(&[0xeb, 0xfe], b"") {
        machine.set_time_limit(limit);
        assert_eq!(finish(machine), ended(Outcome::Stopped(Stop::TimeLimit(limit), Location::At(0)), b""));
    }
}

#[test]
fn a_guest_that_stops_in_time_is_not() {
    for mut machine in machines(ECHO, b"in time") {
        machine.set_time_limit(Duration::from_secs(3600));
        assert_eq!(finish(machine), ended(Outcome::EndOfInput, b"in time"));
    }
}

#[test]
fn machines_on_several_threads_do_not_stop_each_other() {
    for engine in engines() {
        let spin = std::thread::spawn(|| {
            let mut machine = machine_on(*engine, &[0xeb, 0xfe], b"");
            machine.set_time_limit(Duration::from_millis(100));
            finish(machine).outcome.status()
        });
        let input = vec![b'x'; 20_000];
        let run = finish(machine_on(*engine, ECHO, &input));
        assert_eq!(run, ended(Outcome::EndOfInput, &input));
        assert_eq!(spin.join().unwrap(), 124);
    }
}
