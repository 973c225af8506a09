//! Profiles of small programs whose counts are known, and of random ones: they add up to the instructions of the run.

#[path = "common/random.rs"]
mod random;
#[path = "common/random_program.rs"]
mod random_program;
#[path = "common/random_run.rs"]
mod random_run;

use flatland::profile::{CallPaths, Format, Profile};
use flatland::{EngineChoice, Machine, MemorySize, Outcome, Program};
use random::{Random, seeds};
use random_program::{random_input, random_program};
use random_run::{run_and_go_back, run_with_random_stops};

fn machine(code: &[u8], input: &[u8]) -> Machine {
    let program = Program::from_bytes(code.to_vec()).unwrap();
    let builder = Machine::builder().engine(EngineChoice::Soft).memory(MemorySize::mib(1));
    let mut machine = builder.input(input.to_vec()).instruction_limit(3_000_000).build(&program).unwrap();
    machine.watch_blocks(CallPaths::default()).unwrap();
    machine
}

fn profile(machine: &mut Machine) -> Profile {
    let paths: CallPaths = machine.unwatch_blocks().unwrap();
    let profile = Profile::of_paths(&paths, None);
    assert_eq!(Some(profile.total()), machine.instructions());
    let folded = profile.folded();
    let counts = folded.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    assert_eq!(Some(counts.sum()), machine.instructions());
    profile
}

/// The profile of a program that runs to its `hlt`.
#[track_caller]
fn halted(code: &[u8]) -> Profile {
    let mut machine = machine(code, b"");
    assert_eq!(machine.run().unwrap(), Outcome::Halted);
    profile(&mut machine)
}

/// The folded stacks of a program that runs to its `hlt`. Functions are addresses of their first instructions.
#[track_caller]
fn check(code: &[u8], expected: &str) {
    assert_eq!(halted(code).folded().replace("0x000000", ""), expected);
}

#[test]
fn a_loop_of_a_known_count() {
    // 0: mov ecx, 1000; 5: dec ecx; 6: jnz 5; 8: hlt
    check(&[0xb9, 0xe8, 3, 0, 0, 0x49, 0x75, 0xfd, 0xf4], "00 2002\n");
}

#[test]
fn a_function_called_from_two_places() {
    let code = [
        0xe8, 0x0b, 0, 0, 0, // 00: call 10
        0xe8, 0x09, 0, 0, 0, // 05: call 13
        0xe8, 0x01, 0, 0, 0,    // 0a: call 10
        0xf4, // 0f: hlt
        0x40, 0x40, 0xc3, // 10: inc eax; inc eax; ret
        0xe8, 0xf8, 0xff, 0xff, 0xff, // 13: call 10
        0xc3, // 18: ret
    ];
    check(&code, "00 4\n00;10 6\n00;13 2\n00;13;10 3\n");
}

#[test]
fn recursion_to_a_depth() {
    let code = [
        0xb9, 3, 0, 0, 0, // 00: mov ecx, 3
        0xe8, 1, 0, 0, 0,    // 05: call 0b
        0xf4, // 0a: hlt
        0x49, // 0b: dec ecx
        0x74, 0x0a, // 0c: jz 18
        0xe8, 0xf8, 0xff, 0xff, 0xff, // 0e: call 0b
        0xe8, 1, 0, 0, 0,    // 13: call 19
        0xc3, // 18: ret
        0x40, 0xc3, // 19: inc eax; ret
    ];
    check(&code, "00 3\n00;0b 5\n00;0b;0b 5\n00;0b;0b;0b 3\n00;0b;0b;19 2\n00;0b;19 2\n");
}

#[test]
fn recursion_at_two_places_has_a_path_for_each_depth() {
    let code = [
        0xb9, 18, 0, 0, 0, // 00: mov ecx, 18
        0xe8, 1, 0, 0, 0,    // 05: call 0b
        0xf4, // 0a: hlt
        0x49, // 0b: dec ecx
        0x74, 0x0a, // 0c: jz 18
        0xe8, 0xf8, 0xff, 0xff, 0xff, // 0e: call 0b
        0xe8, 0xf3, 0xff, 0xff, 0xff, // 13: call 0b
        0x41, // 18: inc ecx
        0xc3, // 19: ret
    ];
    let profile = halted(&code);
    assert_eq!(profile.folded().lines().count(), 19);
    // 2^18 - 1 calls: in each the first two instructions and the last two, and two calls in all but the deepest.
    assert_eq!(profile.total(), 3 + ((1 << 18) - 1) * 4 + ((1 << 17) - 1) * 2);
    assert_eq!(profile.notes(), [""; 0]);
}

#[test]
fn deep_recursion_is_counted_at_the_deepest_and_said() {
    let code = [
        0xb9, 0xe8, 3, 0, 0, // 00: mov ecx, 1000
        0xe8, 1, 0, 0, 0,    // 05: call 0b
        0xf4, // 0a: hlt
        0x49, // 0b: dec ecx
        0x74, 5, // 0c: jz 13
        0xe8, 0xf8, 0xff, 0xff, 0xff, // 0e: call 0b
        0xc3, // 13: ret
    ];
    let profile = halted(&code);
    let folded = profile.folded();
    let deepest = folded.lines().last().unwrap();
    // 255 calls are at depths of their own, each with 4 instructions; the last call has 3.
    assert_eq!(deepest.matches(';').count(), 255);
    assert!(deepest.ends_with(" 2983"), "{deepest}");
    assert_eq!(profile.notes(), ["recursion deeper than 256 calls is counted at that depth"]);
}

#[test]
fn a_tail_call_returns_for_both() {
    let code = [
        0xe8, 0x0b, 0, 0, 0, // 00: call 10
        0xe8, 0x08, 0, 0, 0, // 05: call 12
        0xe8, 0x01, 0, 0, 0,    // 0a: call 10
        0xf4, // 0f: hlt
        0xeb, 0, // 10: jmp 12
        0x40, 0x40, 0xc3, // 12: inc eax; inc eax; ret
    ];
    // When it jumps for the first time, nobody has called 12 yet.
    check(&code, "00 4\n00;10 5\n00;12 6\n");
}

#[test]
fn a_call_through_a_pointer() {
    let code = [
        0xb9, 10, 0, 0, 0, // 00: mov ecx, 10
        0xbb, 0x14, 0, 0, 0, // 05: mov ebx, 14
        0xff, 0xd3, // 0a: call ebx
        0x83, 0xf3, 0x02, // 0c: xor ebx, 2
        0x49, // 0f: dec ecx
        0x75, 0xf8, // 10: jnz 0a
        0xf4, 0x90, // 12: hlt
        0x40, 0xc3, // 14: inc eax; ret
        0x40, 0x40, 0xc3, // 16: inc eax; inc eax; ret
    ];
    check(&code, "00 43\n00;14 10\n00;16 15\n");
}

#[test]
fn a_return_over_several_calls_ends_all_of_them() {
    let code = [
        0xe8, 3, 0, 0, 0, // 00: call 08
        0x90, 0xf4, 0x90, // 05: nop; hlt
        0xe8, 3, 0, 0, 0, // 08: call 10
        0x90, 0xc3, 0x90, // 0d: nop; ret
        0x83, 0xc4, 4, 0xc3, // 10: add esp, 4; ret, past the caller
    ];
    check(&code, "00 3\n00;08 1\n00;08;10 2\n");
}

#[test]
fn a_call_that_asks_for_its_own_address_is_none() {
    let code = [
        0xe8, 2, 0, 0, 0, // 00: call 07
        0x90, 0xf4, // 05: nop; hlt
        0xe8, 0, 0, 0, 0, // 07: call 0c
        0x58, 0xc3, // 0c: pop eax; ret
    ];
    check(&code, "00 3\n00;07 3\n");
}

#[test]
fn the_handler_of_an_exception_is_a_call() {
    let mut code = vec![
        0x0f, 0x01, 0x1d, 0x20, 0, 0, 0, // 00: lidt [20]
        0x31, 0xc9, // 07: xor ecx, ecx
        0xf7, 0xf1, // 09: div ecx
        0x90, 0xf4, // 0b: nop; hlt
    ];
    // 10: inc ecx; iretd: it divides again, by 1.
    code.resize(0x10, 0x90);
    code.extend([0x41, 0xcf]);
    // 20: the limit and the address of the IDT. 28: a gate to 8:10.
    code.resize(0x20, 0);
    code.extend([7, 0, 0x28, 0, 0, 0, 0, 0]);
    code.extend([0x10, 0, 8, 0, 0, 0x8e, 0, 0]);
    check(&code, "00 5\n00;10 2\n");
}

#[test]
fn random_programs_add_up_however_they_are_stopped() {
    let mut sum = 0;
    for seed in seeds(150) {
        let mut random = Random::new(seed ^ 3 << 33);
        let code = random_program(&mut random);
        let input = random_input(&mut random);
        let mut machine = machine(&code, &input);
        let breakpoint = random.below(code.len() as u32);
        run_with_random_stops(&mut machine, &mut random, breakpoint);
        sum += profile(&mut machine).total();
    }
    println!("{sum} instructions");
    assert!(sum > 1000);
}

#[test]
fn random_bytes_add_up() {
    let mut sum = 0;
    for seed in seeds(400) {
        let mut random = Random::new(seed ^ 5 << 33);
        // Calls, returns, jumps and what leads to them, among others.
        let likely =
            [0xe8, 0xc3, 0xeb, 0x75, 0x58, 0x50, 0xff, 0xd0, 0xcd, 0x01, 0x00, 0xfb, 0x05, 0x40, 0xcf, 0xe2];
        let code: Vec<u8> = (0..200)
            .map(|_| match random.below(3) {
                0 => random.next() as u8,
                _ => likely[random.below(likely.len() as u32) as usize],
            })
            .collect();
        let mut machine = machine(&code, b"0123456789");
        machine.run().unwrap();
        let profile = profile(&mut machine);
        for format in [Format::Folded, Format::FlameGraph, Format::Firefox] {
            assert!(!profile.write(format, "random").is_empty() || profile.total() == 0);
        }
        sum += profile.total();
    }
    println!("{sum} instructions");
    assert!(sum > 1000);
}

#[test]
fn what_a_timeline_executes_again_counts_once() {
    let code = random_program(&mut Random::new(7));
    let mut machine = machine(&code, b"0123456789");
    run_and_go_back(&mut machine);
    profile(&mut machine);
}
