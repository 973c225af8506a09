//! `wasm`, with modules made by hand.

use super::{assert_ended, engines, guest, python};

const HEADER: &[u8] = b"\0asm\x01\0\0\0";

/// A module of these sections, each with its number (WebAssembly core specification, section 5.5).
fn module(sections: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = HEADER.to_vec();
    for (number, contents) in sections {
        bytes.extend([*number, contents.len() as u8]);
        bytes.extend(*contents);
    }
    bytes
}

const TYPE: u8 = 1;
const IMPORT: u8 = 2;
const FUNCTION: u8 = 3;
const MEMORY: u8 = 5;
const EXPORT: u8 = 7;
const CODE: u8 = 10;
const DATA: u8 = 11;

/// (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
fn add() -> Vec<u8> {
    module(&[
        (TYPE, &[1, 0x60, 2, 0x7f, 0x7f, 1, 0x7f]),
        (FUNCTION, &[1, 0]),
        (EXPORT, b"\x01\x03add\0\0"),
        (CODE, &[1, 7, 0, 0x20, 0, 0x20, 1, 0x6a, 0x0b]),
    ])
}

/// (func $fac (export "fac") (param i64) (result i64)
///   local.get 0 i64.eqz
///   if (result i64) i64.const 1
///   else local.get 0 local.get 0 i64.const 1 i64.sub call $fac i64.mul end)
fn factorial() -> Vec<u8> {
    module(&[
        (TYPE, &[1, 0x60, 1, 0x7e, 1, 0x7e]),
        (FUNCTION, &[1, 0]),
        (EXPORT, b"\x01\x03fac\0\0"),
        (
            CODE,
            &[
                1, 21, 0, 0x20, 0, 0x50, 0x04, 0x7e, 0x42, 1, 0x05, 0x20, 0, 0x20, 0, 0x42, 1, 0x7d, 0x10, 0,
                0x7e, 0x0b, 0x0b,
            ],
        ),
    ])
}

/// (func (export "hypot") (param f64 f64) (result f64)
///   local.get 0 local.get 0 f64.mul local.get 1 local.get 1 f64.mul f64.add f64.sqrt)
fn hypotenuse() -> Vec<u8> {
    module(&[
        (TYPE, &[1, 0x60, 2, 0x7c, 0x7c, 1, 0x7c]),
        (FUNCTION, &[1, 0]),
        (EXPORT, b"\x01\x05hypot\0\0"),
        (CODE, &[1, 14, 0, 0x20, 0, 0x20, 0, 0xa2, 0x20, 1, 0x20, 1, 0xa2, 0xa0, 0x9f, 0x0b]),
    ])
}

/// (import "flatland" "write" (func $write (param i32 i32)))
/// (memory (export "memory") 1)
/// (data (i32.const 8) "Hello, module\n")
/// (func (export "hello") i32.const 8 i32.const LEN call $write)
fn hello(len: u8) -> Vec<u8> {
    module(&[
        (TYPE, &[2, 0x60, 2, 0x7f, 0x7f, 0, 0x60, 0, 0]),
        (IMPORT, b"\x01\x08flatland\x05write\0\0"),
        (FUNCTION, &[1, 1]),
        (MEMORY, &[1, 0, 1]),
        (EXPORT, b"\x02\x06memory\x02\0\x05hello\0\x01"),
        (CODE, &[1, 8, 0, 0x41, 8, 0x41, len, 0x10, 0, 0x0b]),
        (DATA, b"\x01\0\x41\x08\x0b\x0eHello, module\n"),
    ])
}

/// (func (export "never") unreachable)
fn unreachable() -> Vec<u8> {
    module(&[
        (TYPE, &[1, 0x60, 0, 0]),
        (FUNCTION, &[1, 0]),
        (EXPORT, b"\x01\x05never\0\0"),
        (CODE, &[1, 3, 0, 0x00, 0x0b]),
    ])
}

#[test]
fn modules_run() {
    for on in engines() {
        let runs = |arguments: &[&str], module: &[u8], expected: &[u8]| {
            assert_ended(&guest(on, "wasm", arguments, module), 0, expected, "");
        };
        runs(&["add", "40", "2"], &add(), b"42\n");
        runs(&["add", "2147483647", "1"], &add(), b"-2147483648\n");
        runs(&["fac", "20"], &factorial(), &python("import math; print(math.factorial(20))", &[], b""));
        let sqrt = "import math, sys; x, y = map(float, sys.argv[1:]); print(math.sqrt(x * x + y * y))";
        runs(&["hypot", "0.1", "2.7"], &hypotenuse(), &python(sqrt, &["0.1", "2.7"], b""));
        runs(&["hello"], &hello(14), b"Hello, module\n");
    }
}

#[test]
fn what_is_wrong_with_a_module_is_told() {
    for on in engines() {
        let fails = |arguments: &[&str], module: &[u8], message: &str| {
            assert_ended(&guest(on, "wasm", arguments, module), 1, b"", &format!("wasm: {message}\n"));
        };
        fails(&[], &add(), "say which function to call: `cargo xtask run wasm -- FUNCTION ARGUMENTS`");
        fails(&["sub"], &add(), "the module exports no function `sub`");
        fails(&["add", "1"], &add(), "`add` takes 2 arguments, and not 1");
        fails(&["add", "1", "2.5"], &add(), "\"2.5\" is no i32");
        fails(&["never"], &unreachable(), "wasm `unreachable` instruction executed");
        fails(&["hello"], &hello(0x7f), "it writes what is not in its memory");
        fails(&["fac", "-1"], &factorial(), "call stack exhausted");
        let no_module = "the input is no module: the binary form of one begins with `\\0asm`";
        fails(&["add", "1", "2"], b"", no_module);
        fails(&["add", "1", "2"], b"no module", no_module);
        let cut_off =
            "the module is not valid: function and code section have inconsistent lengths (at offset 0x1e)";
        fails(&["add", "1", "2"], &add()[..30], cut_off);
    }
}
