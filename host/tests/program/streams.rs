//! Input and output: all of it, in order and in time, and the errors if that is impossible.

use super::*;

on_each_engine! {
    input_is_answered,
    output_is_there_before_the_guest_waits_for_input,
    output_is_there_while_the_guest_computes,
    output_is_there_each_time_the_guest_computes,
    output_is_there_while_the_guest_asks_for_other_things,
    the_two_output_streams_keep_their_order,
    closed_standard_input_is_the_end_of_input,
    closed_standard_output_is_an_error,
    complaints_that_nobody_reads_change_nothing,
    a_directory_is_no_input,
    standard_input_may_be_non_blocking,
    standard_output_may_be_non_blocking,
    a_full_standard_output_is_an_error,
    a_reader_that_leaves_ends_the_run_quietly,
    a_message_begins_a_line,
    megabytes_pass,
}

fn input_is_answered(engine: &str) {
    let mut child = spawn(flatland(engine).arg(image("answered", SUCCESSOR)));
    child.stdin.take().unwrap().write_all(b"HAL").unwrap();
    assert_ended(child.wait_with_output().unwrap(), 0, "IBM", "");
}

fn output_is_there_before_the_guest_waits_for_input(engine: &str) {
    let mut child = spawn(flatland(engine).arg(image("interactive", SAY_AND_ASK)));
    assert_says(&mut child, b"A");
    child.stdin.take().unwrap().write_all(b"B").unwrap();
    assert_ended(child.wait_with_output().unwrap(), 0, "B", "");
}

fn output_is_there_while_the_guest_computes(engine: &str) {
    let mut child = spawn(flatland(engine).arg(image("computing", SAY_AND_SPIN)));
    assert_says(&mut child, b"A");
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
}

/// The rounds of a loop that takes much longer than output is buffered. A timer flushes the first output, a thread
/// the later output.
fn rounds(engine: &str, for_kvm: u32) -> [u8; 4] {
    let of_soft = if cfg!(debug_assertions) { 10 } else { 100 };
    (if engine == "kvm" { for_kvm } else { of_soft * for_kvm }).to_le_bytes()
}

fn output_is_there_each_time_the_guest_computes(engine: &str) {
    let rounds = rounds(engine, 200_000);
    // No other byte follows the last one.
    for end in b'B'..=b'E' {
        // 0: mov al, 'A'; 2: out 0xe9, al; 4: mov ecx, ROUNDS; 9: loop 9; b: inc al; d: cmp al, END; f: jbe 2; 11: jmp 11
        let code = [
            &[0xb0, b'A', 0xe6, 0xe9, 0xb9][..],
            &rounds,
            &[0xe2, 0xfe, 0xfe, 0xc0, 0x3c, end, 0x76, 0xf1, 0xeb, 0xfe],
        ];
        let mut child = spawn(flatland(engine).arg(image("computing-again", &code.concat())));
        assert_says(&mut child, &(b'A'..=end).collect::<Vec<u8>>());
        signal(&child, Signal::SIGINT);
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
}

fn output_is_there_while_the_guest_asks_for_other_things(engine: &str) {
    // 0: mov bl, 'A'; 2: mov al, bl; 4: out 0xe9, al; 6: mov ecx, ROUNDS; b: in al, 0xee; d: loop b
    // f: inc bl; 11: cmp bl, 'F'; 14: jb 2; 16: in al, 0xee; 18: jmp 16
    let rounds = rounds(engine, 5000);
    let code = [
        &[0xb3, b'A', 0x88, 0xd8, 0xe6, 0xe9, 0xb9][..],
        &rounds,
        &[0xe4, 0xee, 0xe2, 0xfc, 0xfe, 0xc3, 0x80, 0xfb, b'F', 0x72, 0xec, 0xe4, 0xee, 0xeb, 0xfc],
    ];
    let mut child = spawn(flatland(engine).arg(image("asking", &code.concat())));
    assert_says(&mut child, b"ABCDE");
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn the_two_output_streams_keep_their_order(engine: &str) {
    // 0: mov al, 'a'; out 0xe9; out 0xea; mov al, 'b'; out 0xea; out 0xe9; hlt
    let code = [0xb0, b'a', 0xe6, 0xe9, 0xe6, 0xea, 0xb0, b'b', 0xe6, 0xea, 0xe6, 0xe9, 0xf4];
    let output = shell(engine, "exec $flatland $image 2>&1", &image("order", &code)).output().unwrap();
    assert_ended(output, 0, "aabb", "");
}

fn closed_standard_input_is_the_end_of_input(engine: &str) {
    let output = shell(engine, "exec $flatland $image <&-", &image("closed", SUCCESSOR)).output().unwrap();
    assert_ended(output, 0, "", "");
}

fn closed_standard_output_is_an_error(engine: &str) {
    let output =
        shell(engine, "exec $flatland $image >&-", &image("closed-output", SAY_AND_ASK)).output().unwrap();
    let message =
        "flatland: standard output is closed: redirect it to a file, or to /dev/null for no output\n";
    assert_ended(output, 125, "", message);
}

fn complaints_that_nobody_reads_change_nothing(engine: &str) {
    // mov al, 'd'; out 0xea, al; mov al, 7; out 0xf4, al
    let image = image("stderr", &[0xb0, b'd', 0xe6, 0xea, 0xb0, 7, 0xe6, 0xf4]);
    for script in ["exec $flatland $image 2> /dev/full", "exec $flatland $image 2>&-"] {
        assert_ended(shell(engine, script, &image).output().unwrap(), 7, "", "");
    }
}

fn a_directory_is_no_input(engine: &str) {
    let mut command = shell(engine, "exec $flatland $image < /", &image("input-directory", SAY_AND_ASK));
    let message = "flatland: standard input is a directory: redirect it from a file, or from /dev/null for no \
                   input\n";
    assert_ended(command.output().unwrap(), 125, "A", message);
}

fn standard_input_may_be_non_blocking(engine: &str) {
    // Python makes the pipe non-blocking for the programs at both ends, and the input comes late.
    let script = "(sleep 0.2; printf HAL) | python3 -c 'import os, sys; os.set_blocking(0, False); \
                  os.execv(sys.argv[1], sys.argv[1:])' $flatland $image";
    let output = shell(engine, script, &image("non-blocking", SUCCESSOR)).output().unwrap();
    assert_ended(output, 0, "IBM", "");
}

fn standard_output_may_be_non_blocking(engine: &str) {
    // More than a pipe holds, and nobody reads it at first.
    let script = "yes | head -c 3000000 | python3 -c 'import os, sys; os.set_blocking(1, False); \
                  os.execv(sys.argv[1], sys.argv[1:])' $flatland $image | (sleep 0.2; cat)";
    let output = shell(engine, script, &image("non-blocking-output", &copying(3_000_000))).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.stdout == b"y\n".repeat(1_500_000), "{} bytes came", output.stdout.len());
}

fn a_full_standard_output_is_an_error(engine: &str) {
    let mut command = shell(engine, "exec $flatland $image > /dev/full", &image("full", SAY_AND_FAULT));
    let message = "flatland: standard output is full (No space left on device (os error 28)): make room, or \
                   send it elsewhere; 1 bytes of output are lost\n";
    assert_ended(command.output().unwrap(), 125, "", message);
}

fn a_reader_that_leaves_ends_the_run_quietly(engine: &str) {
    let script = "$flatland $image | head -c1; echo ${PIPESTATUS[0]}";
    let output = shell(engine, script, &image("reader-leaves", SAY_FOR_EVER)).output().unwrap();
    assert_ended(output, 0, "y141\n", "");
}

fn a_message_begins_a_line(engine: &str) {
    assert_run(
        engine,
        "mid-line",
        LOG_AND_FAULT,
        &[],
        134,
        "",
        &format!("A\nflatland: invalid opcode (#UD) at 0x00000004: {EXCEPTION}\n"),
    );
}

/// Reads so many bytes, and then sends them.
fn copying(count: u32) -> Vec<u8> {
    // 0: mov edx, 0xe9; 5: mov edi, 0x1000; a: mov ecx, COUNT; f: rep insb
    // 11: mov esi, 0x1000; 16: mov ecx, COUNT; 1b: rep outsb; 1d: hlt
    let count = count.to_le_bytes();
    [
        &[0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x10, 0, 0, 0xb9][..],
        &count,
        &[0xf3, 0x6c, 0xbe, 0, 0x10, 0, 0, 0xb9],
        &count,
        &[0xf3, 0x6e, 0xf4],
    ]
    .concat()
}

fn megabytes_pass(engine: &str) {
    let input: Vec<u8> = (0..3_000_000_u32).map(|index| (index ^ index >> 8 ^ index >> 16) as u8).collect();
    let mut child = spawn(flatland(engine).arg(image("megabytes", &copying(input.len() as u32))));
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn({
        let input = input.clone();
        move || stdin.write_all(&input)
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == input, "the bytes are the same");
}
