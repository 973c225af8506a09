//! Much output, which KVM collects without an exit for each byte: none of it is lost, late or out of order, however
//! the run ends.

use super::*;

on_each_engine! {
    both_streams_keep_their_order_to_any_end,
    a_person_sees_all_of_it_while_the_guest_computes,
    it_is_there_before_the_guest_waits_for_input,
    ctrl_c_loses_nothing,
    the_time_limit_loses_nothing,
}

const BYTES: usize = 3000;

/// Sends a byte that counts down to each stream in turn, 3000 times, and then runs `end`.
///
/// 0: mov ecx, 3000; 5: mov al, cl; 7: out 0xe9, al; 9: not al; b: out 0xea, al; d: loop 5
fn to_both(end: &[u8]) -> Vec<u8> {
    [&[0xb9, 0xb8, 0x0b, 0, 0, 0x88, 0xc8, 0xe6, 0xe9, 0xf6, 0xd0, 0xe6, 0xea, 0xe2, 0xf6], end].concat()
}

/// 0: mov ecx, 3000; 5: mov al, cl; 7: out 0xe9, al; 9: loop 5
fn to_one(end: &[u8]) -> Vec<u8> {
    [&[0xb9, 0xb8, 0x0b, 0, 0, 0x88, 0xc8, 0xe6, 0xe9, 0xe2, 0xfa], end].concat()
}

fn counting_down() -> impl Iterator<Item = u8> + Clone {
    (1..=BYTES).rev().map(|count| count as u8)
}

const SPIN: &[u8] = &[0xeb, 0xfe];

fn both_streams_keep_their_order_to_any_end(engine: &str) {
    let expected: Vec<u8> = counting_down().flat_map(|byte| [byte, !byte]).collect();
    for (name, end, status) in [
        ("hlt", &[0xf4][..], 0),
        ("exit", &[0xb0, 7, 0xe6, 0xf4], 7),
        ("fault", &[0x0f, 0x0b], 134),
        ("port", &[0xe6, 0x80], 134),
        ("end-of-input", &[0xe4, 0xe9, 0xeb, 0xfc], 0),
        ("time-limit", SPIN, 124),
    ] {
        let script = "exec $flatland --timeout 3 $image 2>&1";
        let output = shell(engine, script, &image(&format!("much-{name}"), &to_both(end))).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{name}");
        assert_eq!(output.stdout[..2 * BYTES], expected, "{name}");
        // The message about the end follows all of it, on a line of its own.
        let rest = String::from_utf8_lossy(&output.stdout[2 * BYTES..]);
        assert!(rest.is_empty() || rest.starts_with("\nflatland: "), "{name}: {rest}");
    }
}

fn a_person_sees_all_of_it_while_the_guest_computes(engine: &str) {
    let mut child = spawn(flatland(engine).arg(image("much-computing", &to_one(SPIN))));
    assert_says(&mut child, &counting_down().collect::<Vec<_>>());
    child.kill().unwrap();
    child.wait().unwrap();
}

fn it_is_there_before_the_guest_waits_for_input(engine: &str) {
    // in al, 0xe9; out 0xe9, al; hlt
    let mut child =
        spawn(flatland(engine).arg(image("much-asking", &to_one(&[0xe4, 0xe9, 0xe6, 0xe9, 0xf4]))));
    assert_says(&mut child, &counting_down().collect::<Vec<_>>());
    child.stdin.take().unwrap().write_all(b"x").unwrap();
    assert_ended(child.wait_with_output().unwrap(), 0, "x", "");
}

fn ctrl_c_loses_nothing(engine: &str) {
    // It sends all of it again and again.
    let code = to_one(&[0xeb, 0xf3]);
    let mut child = spawn(flatland(engine).arg(image("much-interrupted", &code)));
    assert_says(&mut child, &counting_down().collect::<Vec<_>>());
    signal(&child, Signal::SIGINT);
    let mut rest = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let expected = counting_down().cycle().take(rest.len());
    assert!(rest.iter().copied().eq(expected), "{} bytes", rest.len());
}

fn the_time_limit_loses_nothing(engine: &str) {
    let output = flatland(engine)
        .args(["--timeout", "0.3"])
        .arg(image("much-limited", &to_one(&[0xeb, 0xf3])))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(124));
    assert!(output.stdout.len() > BYTES);
    let expected = counting_down().cycle().take(output.stdout.len());
    assert!(output.stdout.iter().copied().eq(expected), "{} bytes", output.stdout.len());
}
