//! `planted`: the input that each bug's comment names meets the bug, and its neighbours do not.

use std::process::Command;

use super::common::{built, root, run};
use super::{assert_ended, engines, guest};

const ZEROS: &[u8] = &[0; 7];

/// Each bug: the function that has it, an input that meets it, the status, and a part of the message.
fn bugs() -> [(&'static str, Vec<u8>, i32, &'static str); 8] {
    [
        ("trusted_length", b"\x00\x00\x00\x00\x80".to_vec(), 134, "read outside RAM at 0x8000"),
        ("magic", b"\x01FLAT\x03".to_vec(), 101, "entered unreachable code: there is no version 3\n"),
        (
            "checksum",
            [b"\x02\0\x01\0\x08\xff", ZEROS].concat(),
            101,
            "range end index 255 out of range for slice of length 7\n",
        ),
        ("index", b"\x03\xa0\x01".to_vec(), 101, "index out of bounds: the len is 13 but the index is 13\n"),
        (
            "nested",
            b"\x04B\x06C\x04P\x02L\0".to_vec(),
            101,
            "index out of bounds: the len is 0 but the index is 0\n",
        ),
        ("no_progress", b"\x05\xff\0".to_vec(), 124, "limit of 1000000 instructions reached"),
        ("recursion", [&b"\x06"[..], &[b'['; 40]].concat(), 134, "stack overflow at "),
        ("overflow", b"\x07\0\x01\0\x01".to_vec(), 101, "attempt to multiply with overflow\n"),
    ]
}

/// Runs `planted` up to a number of instructions, which a loop without end reaches.
fn planted(input: &[u8]) -> (Option<i32>, String) {
    let mut command = Command::new(built("release/flatland"));
    command.args(["--engine", "soft", "--max-instructions", "1000000", "--symbols"]);
    command.arg(built("guest/planted.elf")).arg(built("guest/planted.bin"));
    let output = run(command.current_dir(root()), input);
    assert_eq!(output.stdout, b"");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn each_bug_is_met_by_its_input() {
    for (function, input, status, message) in bugs() {
        let (code, stderr) = planted(&input);
        assert_eq!(code, Some(status), "{function}: {stderr}");
        for part in [message, &format!("planted::bugs::{function}")] {
            assert!(stderr.contains(part), "{function}: {part:?} is not in {stderr}");
        }
    }
}

/// A byte less, or another format, is no bug.
#[test]
fn other_input_ends_with_0() {
    let mut inputs = vec![vec![], b"HAL*".to_vec()];
    for (_, mut input, ..) in bugs() {
        inputs.push([&[8], &input[..]].concat());
        input.pop();
        // 39 brackets are too many as well.
        inputs.extend((input[0] != 6).then_some(input));
    }
    inputs.extend(
        [&b"\x01FLAT\x02"[..], b"\x03\x81\x01", b"\x05\xff\x02\x01\0", b"\x06[a[b]c]"].map(Into::into),
    );
    for input in inputs {
        assert_eq!(planted(&input), (Some(0), String::new()), "{input:?}");
    }
}

#[test]
fn a_fuzz_target_takes_64_kib() {
    let message = "the input is longer than 65536 bytes, and a fuzz target takes no more: shorten it\n";
    for on in engines() {
        assert_ended(&guest(on, "planted", &[], &[8; 1 << 16]), 0, b"", "");
        assert_ended(&guest(on, "planted", &[], &[8; (1 << 16) + 1]), 2, b"", message);
    }
}
