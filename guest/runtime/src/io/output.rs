//! Standard output and standard error. Both send at once, so no output is lost however the run ends.

use core::fmt;
use core::marker::PhantomData;

use super::{Result, Write, print};
use crate::{console, diagnostics};

macro_rules! output {
    ($name:literal, $Stream:ident, $Lock:ident, $stream:ident, $send:path) => {
        #[doc = concat!("Standard ", $name, ".")]
        #[derive(Debug)]
        pub struct $Stream(());

        #[doc = concat!("Standard ", $name, ", locked. There is nobody to lock it against.")]
        #[derive(Debug)]
        pub struct $Lock<'a>(PhantomData<&'a ()>);

        #[doc = concat!("Standard ", $name, ".")]
        pub fn $stream() -> $Stream {
            $Stream(())
        }

        impl $Stream {
            /// The same stream.
            pub fn lock(&self) -> $Lock<'static> {
                $Lock(PhantomData)
            }
        }

        output!($send, $Stream);
        output!($send, &$Stream);
        output!($send, $Lock<'_>);
    };
    ($send:path, $Stream:ty) => {
        impl Write for $Stream {
            fn write(&mut self, buf: &[u8]) -> Result<usize> {
                $send(buf);
                Ok(buf.len())
            }

            fn flush(&mut self) -> Result<()> {
                Ok(())
            }

            fn write_fmt(&mut self, args: fmt::Arguments) -> Result<()> {
                print::send($send, args);
                Ok(())
            }
        }
    };
}

output!("output", Stdout, StdoutLock, stdout, console::write);
output!("error", Stderr, StderrLock, stderr, diagnostics::write);
