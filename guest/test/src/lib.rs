//! The names of libtest that rustc's `--test` refers to, without an implementation.
//!
//! rustc's `--test` adds a main function to a crate that passes its tests to the crate `test`. That is libtest, which
//! needs std. On the bare machine this main function is compiled, with this crate, and never called: the host finds
//! the tests in the ELF file (`flatland_contract::test`), and the program's entry runs one of them. If a test has the
//! built-in `#[test]` instead of the runtime's, compiling [`StaticTestName`] fails with a message.

#![no_std]
#![allow(missing_docs, reason = "the names are libtest's")]
#![allow(non_snake_case, reason = "the names are libtest's")]

pub struct TestDescAndFn {
    pub desc: TestDesc,
    pub testfn: TestFn,
}

pub struct TestDesc {
    pub name: TestName,
    pub ignore: bool,
    pub ignore_message: Option<&'static str>,
    pub source_file: &'static str,
    pub start_line: usize,
    pub start_col: usize,
    pub end_line: usize,
    pub end_col: usize,
    pub should_panic: ShouldPanic,
    pub compile_fail: bool,
    pub no_run: bool,
    pub test_type: TestType,
}

pub struct TestName;

pub const fn StaticTestName(_: &'static str) -> TestName {
    panic!(
        "this is the `#[test]` of std, which a bare machine does not have: add `use flatland_guest::test;`"
    )
}

pub enum ShouldPanic {
    No,
    Yes,
    YesWithMessage(&'static str),
}

pub enum TestType {
    UnitTest,
    IntegrationTest,
    Unknown,
}

pub struct TestFn;

pub const fn StaticTestFn<F: Copy>(_: F) -> TestFn {
    TestFn
}

pub fn assert_test_result<T>(_: T) -> Result<(), &'static str> {
    Ok(())
}

pub fn test_main_static(_: &[&TestDescAndFn]) {}

// From Rust 1.101 on, the main function calls one of these.

pub struct ExitCode;

pub fn test_main_env_args(_: &[&TestDescAndFn]) -> ExitCode {
    ExitCode
}

pub fn test_main_env_args_abort(_: &[&TestDescAndFn]) -> ExitCode {
    ExitCode
}
