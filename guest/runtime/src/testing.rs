//! Tests on the bare machine: see [`test`](macro@crate::test).

use core::mem;

use flatland_contract::Port;
use flatland_contract::test::{Order, Record, Text, flag};

use crate::process::{ExitCode, Termination, exit};
use crate::{eprintln, port};

/// A test's record in the ELF file, where the host finds it.
#[repr(transparent)]
pub struct Test(Record<*const u8, fn()>);

// SAFETY: its pointers are to constant text, and nothing is written through them.
unsafe impl Sync for Test {}

/// The properties of a test, as the attribute `test` writes them.
#[expect(missing_docs, reason = "the fields of `Record`, as Rust has them")]
pub struct Description {
    pub name: &'static str,
    pub file: &'static str,
    pub line: u32,
    pub should_panic: bool,
    pub expected_panic: &'static str,
    pub ignore: bool,
    pub ignore_reason: &'static str,
    pub time_limit: u32,
    pub memory: u32,
    pub stack: u32,
}

impl Test {
    /// The time limit of a test without the attribute `timeout`, in seconds.
    pub const TIME_LIMIT: u32 = flatland_contract::test::DEFAULT_TIME_LIMIT;

    /// Makes the record; called by what the attribute [`test`](macro@crate::test) expands to.
    pub const fn new(function: fn(), description: Description) -> Self {
        let Description {
            name,
            file,
            line,
            should_panic,
            expected_panic,
            ignore,
            ignore_reason,
            time_limit,
            memory,
            stack,
        } = description;
        Self(Record {
            magic: Record::<*const u8, fn()>::MAGIC,
            function,
            name: text(name),
            file: text(file),
            line,
            flags: if should_panic { flag::SHOULD_PANIC } else { 0 } | if ignore { flag::IGNORE } else { 0 },
            ignore_reason: text(ignore_reason),
            expected_panic: text(expected_panic),
            time_limit,
            memory,
            stack,
        })
    }
}

const fn text(text: &'static str) -> Text<*const u8> {
    Text { start: text.as_ptr(), len: text.len() as u32 }
}

unsafe extern "C" {
    /// Begins a test as the program's `#[init]` says, or runs it alone (guest/runtime/flatland.ld).
    safe fn __flatland_init(test: extern "C" fn());
}

/// What `__flatland_init` is in a program without `#[init]`.
#[unsafe(no_mangle)]
extern "C" fn __flatland_without_init(test: extern "C" fn()) {
    test();
}

/// Runs a test that does not ask for the value of `#[init]`.
pub fn after_init(test: extern "C" fn()) {
    __flatland_init(test);
}

/// Ends the run if a test has returned an error.
pub fn finish(result: impl Termination) {
    match result.report() {
        ExitCode::SUCCESS => {}
        code => exit(code.0.into()),
    }
}

/// Runs the test that the host asks for, and tells the host that it has passed.
pub fn run_test() {
    let order = Order::from_bytes(port::read_array(Port::Test));
    if order.function == 0 {
        eprintln!(
            "this program was built for its tests: run them with `cargo flatland test`, or in a checkout `cargo xtask test --guest`"
        );
        exit(1);
    }
    // SAFETY: the host has the address from a `Record` of this program, whose `function` is a `fn()`.
    let test: fn() = unsafe { mem::transmute(order.function as usize) };
    test();
    port::write(Port::Test, &order.token.to_le_bytes());
    exit(0);
}

/// What `_start` calls in a program that has tests and no [`entry!`](crate::entry) (flatland.ld).
#[unsafe(no_mangle)]
extern "C" fn __flatland_test_main() {
    run_test();
}
