//! Ending the run.

use core::arch::asm;
use core::fmt::Debug;

use flatland_contract::{Port, status};

use crate::{eprintln, port};

/// Ends the run with this status.
pub fn exit(status: u8) -> ! {
    port::write_byte(Port::Exit, status);
    // No machine comes here.
    halt()
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
pub struct ExitCode(u8);

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

impl From<ExitCode> for u8 {
    fn from(code: ExitCode) -> Self {
        code.0
    }
}

/// What `main` and tests may return.
#[diagnostic::on_unimplemented(
    message = "`main` and tests return nothing, an `ExitCode`, a `Result` or `!`, and not `{Self}`",
    label = "this returns `{Self}`",
    note = "of a `Result`, the error is shown with `Debug`, and the status is then 1",
    note = "`ExitCode` is `flatland_guest::process::ExitCode`: `ExitCode::from(7)` is status 7"
)]
pub trait Termination {
    /// The status that it means.
    fn report(self) -> ExitCode;
}

impl Termination for () {
    fn report(self) -> ExitCode {
        ExitCode::SUCCESS
    }
}

mod never {
    /// What a function returns: of one that does not return, `!`, which has no name in a stable Rust.
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
        assert_eq!(u8::from(Ok::<_, u8>(ExitCode::from(7)).report()), 7);
    }
}
