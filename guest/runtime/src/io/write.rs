//! The trait `Write`.

#[cfg(feature = "alloc")]
use alloc::{boxed::Box, vec::Vec};
use core::fmt;
use core::mem;

use super::{Error, ErrorKind, Result};

/// A destination for bytes.
pub trait Write {
    /// Writes some of the bytes, and returns how many.
    fn write(&mut self, buf: &[u8]) -> Result<usize>;

    /// Sends what is still in a buffer.
    fn flush(&mut self) -> Result<()>;

    /// Writes all of the bytes.
    ///
    /// # Errors
    ///
    /// Of the kind `WriteZero` if the writer takes no more.
    fn write_all(&mut self, mut buf: &[u8]) -> Result<()> {
        while !buf.is_empty() {
            match self.write(buf) {
                Ok(0) => return Err(Error::WRITE_ZERO),
                Ok(len) => buf = &buf[len..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What `write!` and `writeln!` call.
    ///
    /// # Panics
    ///
    /// If a value cannot be formatted, as with std.
    fn write_fmt(&mut self, args: fmt::Arguments) -> Result<()> {
        let mut adapter = Adapter { writer: self, result: Ok(()) };
        match fmt::write(&mut adapter, args) {
            Ok(()) => Ok(()),
            Err(fmt::Error) => {
                adapter.result?;
                panic!(
                    "a formatting trait implementation returned an error when the underlying stream did not"
                )
            }
        }
    }

    /// Borrows the writer, so that it can be used after an adapter that takes it.
    fn by_ref(&mut self) -> &mut Self
    where
        Self: Sized,
    {
        self
    }
}

/// Keeps the error, because [`fmt::Error`] cannot carry it.
struct Adapter<'a, W: ?Sized> {
    writer: &'a mut W,
    result: Result<()>,
}

impl<W: Write + ?Sized> fmt::Write for Adapter<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.result = self.writer.write_all(text.as_bytes());
        if self.result.is_err() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Overwrites the beginning of the slice, which becomes the rest.
impl Write for &mut [u8] {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        let len = self.len().min(buf.len());
        let (written, rest) = mem::take(self).split_at_mut(len);
        written.copy_from_slice(&buf[..len]);
        *self = rest;
        Ok(len)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Appends to the vector.
#[cfg(feature = "alloc")]
impl Write for Vec<u8> {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        self.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

macro_rules! forward {
    ($(#[$attribute:meta])* $Writer:ident in $Pointer:ty) => {
        $(#[$attribute])*
        impl<$Writer: Write + ?Sized> Write for $Pointer {
            fn write(&mut self, buf: &[u8]) -> Result<usize> {
                (**self).write(buf)
            }

            fn flush(&mut self) -> Result<()> {
                (**self).flush()
            }

            fn write_fmt(&mut self, args: fmt::Arguments) -> Result<()> {
                (**self).write_fmt(args)
            }
        }
    };
}

forward!(W in &mut W);
forward!(
    #[cfg(feature = "alloc")]
    W in Box<W>
);
