//! The traits of the crate `embedded-io`, which many `no_std` crates read and write through.

use super::{
    BufRead, Error, ErrorKind, Read, Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock, Write,
};

impl embedded_io::Error for Error {
    fn kind(&self) -> embedded_io::ErrorKind {
        match self.kind() {
            ErrorKind::InvalidData => embedded_io::ErrorKind::InvalidData,
            ErrorKind::InvalidInput => embedded_io::ErrorKind::InvalidInput,
            ErrorKind::Interrupted => embedded_io::ErrorKind::Interrupted,
            ErrorKind::WriteZero => embedded_io::ErrorKind::WriteZero,
            _ => embedded_io::ErrorKind::Other,
        }
    }
}

macro_rules! reader {
    ($Reader:ty) => {
        impl embedded_io::ErrorType for $Reader {
            type Error = Error;
        }

        impl embedded_io::Read for $Reader {
            fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
                Read::read(self, buf)
            }
        }
    };
}

reader!(Stdin);
reader!(StdinLock<'_>);

impl embedded_io::BufRead for StdinLock<'_> {
    fn fill_buf(&mut self) -> Result<&[u8], Error> {
        BufRead::fill_buf(self)
    }

    fn consume(&mut self, amount: usize) {
        BufRead::consume(self, amount);
    }
}

macro_rules! writer {
    ($Writer:ty) => {
        impl embedded_io::ErrorType for $Writer {
            type Error = Error;
        }

        impl embedded_io::Write for $Writer {
            fn write(&mut self, buf: &[u8]) -> Result<usize, Error> {
                Write::write(self, buf)
            }

            fn flush(&mut self) -> Result<(), Error> {
                Write::flush(self)
            }
        }
    };
}

writer!(Stdout);
writer!(StdoutLock<'_>);
writer!(Stderr);
writer!(StderrLock<'_>);
