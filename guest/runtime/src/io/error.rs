//! The error type of input and output.

#[cfg(feature = "alloc")]
use alloc::boxed::Box;
use core::{error, fmt, result};

/// The result of input and output.
pub type Result<T> = result::Result<T, Error>;

/// An error of input or output. Standard input, output and error never fail themselves. Errors come from text that is
/// not UTF-8, and from a program's own readers and writers.
pub struct Error(Repr);

enum Repr {
    Simple(ErrorKind),
    Message(ErrorKind, &'static str),
    #[cfg(feature = "alloc")]
    Custom(ErrorKind, Box<dyn error::Error + Send + Sync>),
}

macro_rules! kinds {
    ($($kind:ident $description:literal,)*) => {
        /// What kind of error it is: the kinds of std.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $(#[doc = $description] $kind,)*
        }

        impl ErrorKind {
            fn description(self) -> &'static str {
                match self {
                    $(Self::$kind => $description,)*
                }
            }
        }
    };
}

kinds! {
    NotFound "entity not found",
    PermissionDenied "permission denied",
    ConnectionRefused "connection refused",
    ConnectionReset "connection reset",
    HostUnreachable "host unreachable",
    NetworkUnreachable "network unreachable",
    ConnectionAborted "connection aborted",
    NotConnected "not connected",
    AddrInUse "address in use",
    AddrNotAvailable "address not available",
    NetworkDown "network down",
    BrokenPipe "broken pipe",
    AlreadyExists "entity already exists",
    WouldBlock "operation would block",
    NotADirectory "not a directory",
    IsADirectory "is a directory",
    DirectoryNotEmpty "directory not empty",
    ReadOnlyFilesystem "read-only filesystem or storage medium",
    StaleNetworkFileHandle "stale network file handle",
    InvalidInput "invalid input parameter",
    InvalidData "invalid data",
    TimedOut "timed out",
    WriteZero "write zero",
    StorageFull "no storage space",
    NotSeekable "seek on unseekable file",
    QuotaExceeded "quota exceeded",
    FileTooLarge "file too large",
    ResourceBusy "resource busy",
    ExecutableFileBusy "executable file busy",
    Deadlock "deadlock",
    CrossesDevices "cross-device link or rename",
    TooManyLinks "too many links",
    InvalidFilename "invalid filename",
    ArgumentListTooLong "argument list too long",
    Interrupted "operation interrupted",
    Unsupported "unsupported",
    UnexpectedEof "unexpected end of file",
    OutOfMemory "out of memory",
    Other "other error",
}

impl Error {
    #[cfg(feature = "alloc")]
    pub(super) const INVALID_UTF8: Self =
        Self(Repr::Message(ErrorKind::InvalidData, "stream did not contain valid UTF-8"));
    pub(super) const UNEXPECTED_EOF: Self =
        Self(Repr::Message(ErrorKind::UnexpectedEof, "failed to fill whole buffer"));
    pub(super) const WRITE_ZERO: Self =
        Self(Repr::Message(ErrorKind::WriteZero, "failed to write whole buffer"));

    /// An error of this kind with a message or another error as its cause.
    #[cfg(feature = "alloc")]
    pub fn new(kind: ErrorKind, error: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self(Repr::Custom(kind, error.into()))
    }

    /// An error of the kind [`ErrorKind::Other`].
    #[cfg(feature = "alloc")]
    pub fn other(error: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Other, error)
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self.0 {
            Repr::Simple(kind) | Repr::Message(kind, _) => kind,
            #[cfg(feature = "alloc")]
            Repr::Custom(kind, _) => kind,
        }
    }

    /// The error that was passed to [`Self::new`], if any.
    #[cfg(feature = "alloc")]
    pub fn get_ref(&self) -> Option<&(dyn error::Error + Send + Sync + 'static)> {
        match &self.0 {
            Repr::Custom(_, error) => Some(&**error),
            _ => None,
        }
    }

    /// The error that was passed to [`Self::new`], if any.
    #[cfg(feature = "alloc")]
    pub fn into_inner(self) -> Option<Box<dyn error::Error + Send + Sync>> {
        match self.0 {
            Repr::Custom(_, error) => Some(error),
            _ => None,
        }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Repr::Simple(kind))
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.description())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.0 {
            Repr::Simple(kind) => kind.fmt(f),
            Repr::Message(_, message) => f.write_str(message),
            #[cfg(feature = "alloc")]
            Repr::Custom(_, error) => error.fmt(f),
        }
    }
}

/// The format of std. The message for an error that `main` returns has it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.0 {
            Repr::Simple(kind) => f.debug_tuple("Kind").field(kind).finish(),
            Repr::Message(kind, message) => {
                f.debug_struct("Error").field("kind", kind).field("message", message).finish()
            }
            #[cfg(feature = "alloc")]
            Repr::Custom(kind, error) => {
                f.debug_struct("Custom").field("kind", kind).field("error", error).finish()
            }
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.0 {
            #[cfg(feature = "alloc")]
            Repr::Custom(_, error) => error.source(),
            _ => None,
        }
    }
}
