//! Spans: parts of a run that have a name, for its traces.

use core::sync::atomic::{AtomicU8, Ordering};

use flatland_contract::{Port, span};

use crate::port;

/// What the host has answered.
static LISTENING: AtomicU8 = AtomicU8::new(NOT_ASKED);

const NOT_ASKED: u8 = 0;
const NOBODY: u8 = 1;
const SOMEBODY: u8 = 2;

/// A part of the run that has a name, from [`span!`](crate::span!) to where this is dropped.
#[must_use = "a span ends where it is dropped: `let _span = span!(...)`, or `span!(\"name\", { ... })`"]
#[derive(Debug)]
pub struct Span(());

/// Begins a span. The name ends with a zero byte.
#[inline]
pub fn begin(name: &'static [u8]) -> Span {
    if LISTENING.load(Ordering::Relaxed) != NOBODY {
        begin_if_somebody_listens(name);
    }
    Span(())
}

#[cold]
#[inline(never)]
fn begin_if_somebody_listens(name: &[u8]) {
    if LISTENING.load(Ordering::Relaxed) == NOT_ASKED {
        let answer = if port::read_byte(Port::Span) == 0 { NOBODY } else { SOMEBODY };
        LISTENING.store(answer, Ordering::Relaxed);
        if answer == NOBODY {
            return;
        }
    }
    port::write(Port::Span, name);
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if LISTENING.load(Ordering::Relaxed) == SOMEBODY {
            port::write_byte(Port::Span, span::END);
        }
    }
}

/// The bytes of a name, with the zero byte behind it; called at compile time.
pub const fn name(text: &'static str) -> &'static [u8] {
    let bytes = text.as_bytes();
    let mut len = 0;
    while bytes[len] != span::END {
        len += 1;
    }
    assert!(
        len + 1 == bytes.len() && len > 0 && len <= span::LONGEST_NAME,
        "give a span a name of 1 to 64 bytes, none of them zero"
    );
    bytes
}

/// Begins a span: a part of the run that has a name, which `--trace spans` shows, also as a bar of a timeline.
///
/// It ends where the value is dropped, and spans that begin until then are inside of it. With a second argument the span
/// is that expression, whose value it has. Where nobody listens, a span costs a load and a branch at each end.
///
/// ```ignore
/// let _parse = span!("parse"); // to the end of the block
/// let tree = span!("parse", parse(&text)?);
/// ```
#[macro_export]
macro_rules! span {
    ($name:literal) => {{
        const NAME: &[u8] = $crate::__private::span_name(::core::concat!($name, "\0"));
        $crate::__private::begin_span(NAME)
    }};
    ($name:literal, $value:expr $(,)?) => {
        // Not `let`: rustc would ask to remove the braces of a value that is a block.
        match $crate::span!($name) {
            _span => $value,
        }
    };
}
