//! Ending the run.

use core::arch::asm;
use core::fmt::Debug;

use flatland_contract::{Port, status};

use crate::{eprintln, port};

/// Ends the run. Its status is the lowest byte of the code, as on Unix.
pub fn exit(code: i32) -> ! {
    port::write_byte(Port::Exit, code as u8);
    // The machine has ended the run.
    halt()
}

/// Ends the run with status 134, which is that of an aborted program in a shell.
pub fn abort() -> ! {
    exit(status::FAULT.into())
}

/// Ends the run with status 0.
pub fn halt() -> ! {
    loop {
        // SAFETY: `hlt` touches neither memory nor registers.
        unsafe { asm!("hlt", options(nomem, nostack, preserves_flags)) };
    }
}

/// The status of a run, as `main` may return it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitCode(pub(crate) u8);

impl ExitCode {
    /// Status 0.
    pub const SUCCESS: Self = Self(status::SUCCESS);
    /// Status 1.
    pub const FAILURE: Self = Self(1);
}

impl From<u8> for ExitCode {
    fn from(status: u8) -> Self {
        Self(status)
    }
}

/// What `main` and tests may return.
#[diagnostic::on_unimplemented(
    message = "`main` and tests return nothing, an `ExitCode`, a `Result` or `!`, and not `{Self}`",
    label = "this returns `{Self}`",
    note = "if a `Result` is an error, it is shown with `Debug` and the status is 1",
    note = "`ExitCode` is `flatland_guest::process::ExitCode`: `ExitCode::from(7)` is status 7"
)]
pub trait Termination {
    /// The status of the run.
    fn report(self) -> ExitCode;
}

impl Termination for () {
    fn report(self) -> ExitCode {
        ExitCode::SUCCESS
    }
}

mod never {
    /// The type that a function returns. That of `fn() -> !` is the type `!`, which has no name in stable Rust.
    pub trait Returned {
        type Type;
    }

    impl<T> Returned for fn() -> T {
        type Type = T;
    }
}

impl Termination for <fn() -> ! as never::Returned>::Type {
    fn report(self) -> ExitCode {
        self
    }
}

impl Termination for ExitCode {
    fn report(self) -> ExitCode {
        self
    }
}

impl<T: Termination, E: Debug> Termination for Result<T, E> {
    fn report(self) -> ExitCode {
        match self {
            Ok(value) => value.report(),
            Err(error) => {
                eprintln!("Error: {error:?}");
                ExitCode::FAILURE
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn statuses_of_what_main_returns() {
        assert_eq!(().report(), ExitCode::SUCCESS);
        assert_eq!(Ok::<(), u8>(()).report(), ExitCode::SUCCESS);
        assert_eq!(Err::<(), _>("why").report(), ExitCode::FAILURE);
        assert_eq!(Ok::<_, u8>(ExitCode::from(7)).report(), ExitCode::from(7));
    }
}
