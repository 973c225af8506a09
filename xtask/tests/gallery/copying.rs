//! `echo` and `cat`, and what is computed of bytes: `sha256` and `inflate`.

use super::{On, assert_ended, engines, guest, noise, other, python, text};

#[test]
fn echo_ends_each_line() {
    let lines = "import sys\nfor line in sys.stdin: print(line.removesuffix('\\n').removesuffix('\\r'))";
    for on in engines() {
        for input in ["", "\n", "one", "one\n", "one\n\ntwo\r\n three \nK\u{f6}ln"] {
            let expected = python(lines, &[], input.as_bytes());
            assert_ended(&guest(on, "echo", &[], input.as_bytes()), 0, &expected, "");
        }
    }
    // As with std, input that is not UTF-8 is an error.
    let message = "Error: Error { kind: InvalidData, message: \"stream did not contain valid UTF-8\" }\n";
    assert_ended(&guest(On::Soft, "echo", &[], b"a\nb\xff"), 1, b"a\n", message);
    let large = text(1 << 20);
    assert_ended(&guest(On::Soft, "echo", &[], &large), 0, &python(lines, &[], &large), "");
}

#[test]
fn cat_copies_exactly() {
    for on in engines() {
        for input in [b"".to_vec(), b"a".to_vec(), (0..=255).collect(), noise(70_000)] {
            assert_ended(&guest(on, "cat", &[], &input), 0, &input, "");
        }
    }
    let large = noise(1 << 20);
    assert_ended(&guest(On::Soft, "cat", &[], &large), 0, &other("cat", &[], &large), "");
}

#[test]
fn sha256_is_that_of_sha256sum() {
    let check = |on, input: &[u8]| {
        assert_ended(&guest(on, "sha256", &[], input), 0, &other("sha256sum", &[], input), "");
    };
    for on in engines() {
        // Lengths around the ends of a block of 64 bytes, and of the buffer of 4096 bytes.
        for len in [0, 1, 55, 56, 64, 65, 4097] {
            check(on, &noise(len));
        }
        check(on, b"abc");
    }
    check(On::Soft, &noise(1 << 20));
}

/// Compresses with the level that is its argument.
const COMPRESS: &str = "import sys, zlib\n\
                        data = zlib.compress(sys.stdin.buffer.read(), int(sys.argv[1]))\n\
                        sys.stdout.buffer.write(data)";

#[test]
fn inflate_gives_back_what_python_compressed() {
    for on in engines() {
        for input in [b"".to_vec(), b"Hello, Hello, Hello!".to_vec(), noise(3000), text(6000)] {
            let compressed = python(COMPRESS, &["9"], &input);
            assert_ended(&guest(on, "inflate", &[], &compressed), 0, &input, "");
        }
    }
    let large = [noise(1 << 19), text(1 << 19)].concat();
    for level in ["0", "1", "6"] {
        let compressed = python(COMPRESS, &[level], &large);
        assert_ended(&guest(On::Soft, "inflate", &[], &compressed), 0, &large, "");
    }
    // The output is larger than the machine's RAM.
    let larger = vec![b'a'; 20 << 20];
    let compressed = python(COMPRESS, &["9"], &larger);
    assert_ended(&guest(On::Soft, "inflate", &[], &compressed), 0, &larger, "");
}

#[test]
fn inflate_says_what_is_wrong_with_its_input() {
    let original = text(2000);
    let compressed = python(COMPRESS, &["9"], &original);
    let len = compressed.len();
    let failed = |input: &[u8], why: &str| {
        for on in engines() {
            let output = guest(on, "inflate", &[], input);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.starts_with(&format!("inflate: {why}, behind byte ")), "{stderr}");
            assert!(original.starts_with(&output.stdout), "what comes before is right");
        }
    };
    failed(b"", "the input ends before the compressed data does");
    failed(&compressed[..1], "the input ends before the compressed data does");
    failed(&compressed[..len / 2], "the input ends before the compressed data does");
    failed(&compressed[..len - 1], "the input ends before the compressed data does");
    failed(b"This is no zlib.", "this is no zlib, or it was damaged");
    let mut damaged = compressed.clone();
    damaged[len - 1] ^= 1; // the checksum
    failed(&damaged, "this is no zlib, or it was damaged");
}
