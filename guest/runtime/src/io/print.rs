//! `print!`, `println!`, `eprint!`, `eprintln!` and `dbg!`.

use core::fmt::{self, Write};

use crate::{console, diagnostics};

/// Buffers the output of one macro call, to send it in few transfers.
struct Collector {
    send: fn(&[u8]),
    bytes: [u8; Self::SIZE],
    len: usize,
}

impl Collector {
    const SIZE: usize = 256;

    fn flush(&mut self) {
        (self.send)(&self.bytes[..self.len]);
        self.len = 0;
    }
}

impl Write for Collector {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.len + text.len() > Self::SIZE {
            self.flush();
        }
        if text.len() > Self::SIZE {
            (self.send)(text.as_bytes());
        } else {
            self.bytes[self.len..self.len + text.len()].copy_from_slice(text.as_bytes());
            self.len += text.len();
        }
        Ok(())
    }
}

pub(super) fn send(send: fn(&[u8]), text: fmt::Arguments) {
    if let Some(text) = text.as_str() {
        return send(text.as_bytes());
    }
    let mut collector = Collector { send, bytes: [0; Collector::SIZE], len: 0 };
    let result = collector.write_fmt(text);
    collector.flush();
    result.expect("a formatting trait implementation returned an error");
}

/// What [`print!`](crate::print) calls.
#[doc(hidden)]
pub fn print(text: fmt::Arguments) {
    send(console::write, text);
}

/// What [`eprint!`](crate::eprint) calls.
#[doc(hidden)]
pub fn eprint(text: fmt::Arguments) {
    send(diagnostics::write, text);
}

/// Prints to standard output.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => {
        $crate::io::print(::core::format_args!($($arg)*))
    };
}

/// Prints to standard output, and ends the line.
#[macro_export]
macro_rules! println {
    () => {
        $crate::print!("\n")
    };
    ($($arg:tt)*) => {
        $crate::print!("{}\n", ::core::format_args!($($arg)*))
    };
}

/// Prints to standard error.
#[macro_export]
macro_rules! eprint {
    ($($arg:tt)*) => {
        $crate::io::eprint(::core::format_args!($($arg)*))
    };
}

/// Prints to standard error, and ends the line.
#[macro_export]
macro_rules! eprintln {
    () => {
        $crate::eprint!("\n")
    };
    ($($arg:tt)*) => {
        $crate::eprint!("{}\n", ::core::format_args!($($arg)*))
    };
}

/// Prints the source line, an expression and its value to standard error, and returns the value.
#[macro_export]
macro_rules! dbg {
    () => {
        $crate::eprintln!("[{}:{}:{}]", ::core::file!(), ::core::line!(), ::core::column!())
    };
    ($value:expr $(,)?) => {
        // A `match` keeps the expression's temporaries alive until the end of the statement around it.
        match $value {
            value => {
                $crate::eprintln!(
                    "[{}:{}:{}] {} = {:#?}",
                    ::core::file!(),
                    ::core::line!(),
                    ::core::column!(),
                    ::core::stringify!($value),
                    &value
                );
                value
            }
        }
    };
    ($($value:expr),+ $(,)?) => {
        ($($crate::dbg!($value)),+,)
    };
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::test;

    static TRANSFERS: AtomicUsize = AtomicUsize::new(0);
    static BYTES: AtomicUsize = AtomicUsize::new(0);

    fn count(bytes: &[u8]) {
        TRANSFERS.fetch_add(1, Relaxed);
        BYTES.fetch_add(bytes.len(), Relaxed);
    }

    fn sent(text: fmt::Arguments) -> (usize, usize) {
        send(count, text);
        (TRANSFERS.swap(0, Relaxed), BYTES.swap(0, Relaxed))
    }

    #[test]
    fn a_line_of_many_pieces_is_one_transfer() {
        let number = core::hint::black_box(7);
        assert_eq!(sent(format_args!("{number} and {number}, {:?}\n", [number; 3])), (1, 19));
        assert_eq!(sent(format_args!("a text\n")), (1, 7));
    }

    #[test]
    fn text_that_exceeds_the_buffer_is_sent_in_order() {
        let long = str::from_utf8(&[b'x'; 300]).unwrap();
        let short = &long[..200];
        assert_eq!(sent(format_args!("{short}{short}")), (2, 400));
        assert_eq!(sent(format_args!("{short}{long}{short}")), (3, 700));
    }
}
