//! Exit statuses of the host program. A guest may choose any status by the exit port; these have a fixed meaning.

/// The guest executed `hlt`, or read the console past the end of input.
pub const SUCCESS: u8 = 0;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The guest panicked: its runtime sends this status to the exit port.
pub const PANIC: u8 = 101;
/// Less of the program was executed than was asked for.
pub const COVERAGE: u8 = 123;
/// The run reached its time limit, or another limit that was set for it.
pub const TIME_LIMIT: u8 = 124;
/// The host failed: there is no usable engine, no such image, or standard output cannot be written.
pub const HOST: u8 = 125;
/// The guest faulted: the processor could not continue.
pub const FAULT: u8 = 134;
/// Added to the number of the signal that ended the run, as shells do.
pub const SIGNAL: u8 = 128;
/// The reader of standard output closed it: SIGPIPE (13).
pub const OUTPUT_CLOSED: u8 = SIGNAL + 13;
/// The debugger ended the run: SIGKILL (9).
pub const KILLED: u8 = SIGNAL + 9;
/// Ctrl-C: SIGINT (2).
pub const INTERRUPTED: u8 = SIGNAL + 2;
