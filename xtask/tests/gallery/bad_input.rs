//! `fault`, `misuse` and `panic`: each failure has its message and its status.

use super::{On, assert_ended, engines, guest};

#[test]
fn faults_are_named() {
    const OUTSIDE: &str = "outside RAM at 0xf8000000 (RAM ends at 0x1000000), by the instruction";
    const CORRECT: &str = "correct the instruction there";
    for (way, words, advice) in [
        ("divide", "divide error (#DE)", CORRECT),
        ("ud2", "invalid opcode (#UD)", CORRECT),
        (
            "null",
            "null pointer write at 0x00000000, by the instruction",
            "look for a pointer that was never set",
        ),
        ("rodata", "write to read-only memory (.rodata) at 0x", "mend the pointer"),
        ("stack", "stack overflow", "look for a recursion without end"),
        ("read", &format!("read {OUTSIDE}"), "look for a wrong pointer"),
        ("write", &format!("write {OUTSIDE}"), "look for a wrong pointer"),
        ("jump", "execution outside RAM", "RAM ends at 0x01000000"),
        ("port", "unknown port 0x80 (out, 1 byte)", "use one of the machine's ports"),
        ("gp", "general protection (#GP, selector 0x1230)", CORRECT),
        ("triple", "triple fault", "an exception found no way to its handler"),
        // The message depends on the engine.
        ("sse", "", ""),
    ] {
        for on in engines() {
            let output = guest(on, "fault", &[way], b"");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!((output.status.code(), &output.stdout[..]), (Some(134), &b""[..]), "{way}: {stderr}");
            let (stderr, report) = stderr.split_once('\n').expect("there is a line");
            assert!(report.lines().all(|line| line.starts_with(' ')), "{way}: {report}");
            assert!(stderr.starts_with(&format!("flatland: {words}")), "{way} on {on:?}: {stderr}");
            // The place of the instruction, or of the next one if the engine does not know more.
            let place = match way {
                // EIP is at the target already.
                "jump" => " at 0xf8000000: ".into(),
                // Some processors do not keep the address.
                "triple" => " at ".into(),
                _ => format!(" in fault::{way}"),
            };
            let line = if ["jump", "triple"].contains(&way) { "" } else { " (src/bin/fault.rs:" };
            for part in [&place, line, advice] {
                assert!(stderr.contains(part), "{way} on {on:?}: {part:?} is not in {stderr}");
            }
        }
    }
}

#[test]
fn ways_to_fault_and_to_go_wrong_are_listed() {
    for (program, first, ways) in [
        ("fault", "Choose a fault, as in `cargo xtask run fault -- divide`:\n", 12),
        ("misuse", "Choose a way, as in `cargo xtask run misuse -- panic`:\n", 7),
    ] {
        for arguments in [&[][..], &["nothing"]] {
            let output = guest(On::Soft, program, arguments, b"");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]));
            assert!(stderr.starts_with(first), "{stderr}");
            assert_eq!(stderr.lines().count(), 1 + ways, "{stderr}");
        }
    }
}

/// A panic's message without its place. Here the place is in the standard library, whose source may be in any folder.
fn panic_message(stderr: &[u8]) -> String {
    let stderr = String::from_utf8_lossy(stderr);
    let (place, message) = stderr.split_once('\n').expect("the place stands in a line of its own");
    assert!(place.starts_with("guest panicked at ") && place.ends_with(':'), "{stderr}");
    let (message, calls) =
        message.split_once("flatland: the calls that led to the panic:\n").expect("they are told");
    assert!(calls.contains(" misuse::main\n"), "{stderr}");
    message.to_owned()
}

#[test]
fn what_cannot_be_allocated_is_a_panic() {
    for on in engines() {
        for (way, message) in
            [("allocate", "memory allocation of 1048576 bytes failed\n"), ("capacity", "capacity overflow\n")]
        {
            let output = guest(on, "misuse", &[way], b"");
            assert_eq!((output.status.code(), &output.stdout[..]), (Some(101), &b""[..]), "{way}");
            assert_eq!(panic_message(&output.stderr), message);
        }
    }
}

#[test]
fn a_panic_in_a_panic_is_told() {
    for on in engines() {
        let output = guest(on, "misuse", &["panic"], b"");
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(101), &b""[..]));
        assert_eq!(panic_message(&output.stderr), "it begins, \npanicked while saying why it panicked\n");
    }
}

#[test]
fn ends_of_main_and_of_output() {
    for on in engines() {
        assert_ended(&guest(on, "misuse", &["error"], b""), 1, b"", "Error: NotFortyTwo(41)\n");
        assert_ended(&guest(on, "misuse", &["middle"], b""), 0, b"in the middle of a line", "");
        assert_ended(&guest(on, "misuse", &["exit"], b""), 7, b"in the middle of a line", "");
    }
    let megabytes: String = (0..1 << 18).map(|number| format!("{number:07}\n")).collect();
    assert_ended(&guest(On::Soft, "misuse", &["megabytes"], b""), 0, megabytes.as_bytes(), "");
}
