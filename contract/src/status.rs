//! Exit statuses of a run, as the host program hands them to its caller. A guest that ends by `hlt` or by
//! the exit port chooses its own; these are the ones with a meaning of their own.

/// `hlt`, or the console read past the end of input.
pub const SUCCESS: u8 = 0;
/// The command line makes no sense.
pub const USAGE: u8 = 2;
/// The guest panicked. Its runtime sends this status; the host adds nothing.
pub const PANIC: u8 = 101;
/// The time limit passed, or another limit that was set for the run.
pub const TIME_LIMIT: u8 = 124;
/// The host could not do its work: no usable engine, no such image, standard output full or failing.
pub const HOST: u8 = 125;
/// A fault: the processor could not go on.
pub const FAULT: u8 = 134;
/// Added to the number of the signal that ended the run: 130 after Ctrl-C (SIGINT, 2), 141 when the
/// reader of standard output has gone away (SIGPIPE, 13).
pub const SIGNAL: u8 = 128;
/// The reader of standard output has gone away.
pub const OUTPUT_CLOSED: u8 = SIGNAL + 13;
/// The debugger has ended the run, as SIGKILL would (9).
pub const KILLED: u8 = SIGNAL + 9;
/// Ctrl-C.
pub const INTERRUPTED: u8 = SIGNAL + 2;
