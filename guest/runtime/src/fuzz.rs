//! Fuzz targets: programs that do one thing with all of their input.

use core::cell::UnsafeCell;

use flatland_contract::{fuzz::MAX_INPUT, status};

use crate::{console, diagnostics, process};

/// The input. A short one dirties a single page, so a snapshot is put back with little to copy.
#[repr(align(4096))]
struct Buffer(UnsafeCell<[u8; MAX_INPUT]>);

// SAFETY: only `input` uses it.
unsafe impl Sync for Buffer {}

static BUFFER: Buffer = Buffer(UnsafeCell::new([0; MAX_INPUT]));

/// Calls the target with all of the input, and ends the run. What the target has captured is not dropped: that would
/// take time in each run.
#[doc(hidden)]
pub fn run(mut target: impl FnMut(&[u8])) -> ! {
    target(input());
    process::halt()
}

/// Reads all of the input.
fn input() -> &'static [u8] {
    // SAFETY: `run` never returns, and `fuzz!` calls it once, so this is the only reference.
    let buffer = unsafe { &mut *BUFFER.0.get() };
    let mut len = 0;
    loop {
        let ready = console::ready();
        if ready == 0 {
            return &buffer[..len];
        }
        let Some(part) = buffer[len..].get_mut(..ready) else { too_long() };
        console::read(part);
        len += ready;
    }
}

#[cold]
fn too_long() -> ! {
    diagnostics::write(
        b"the input is longer than 65536 bytes, and a fuzz target takes no more: shorten it\n",
    );
    process::exit(status::USAGE.into())
}

/// Declares a fuzz target, once in a program and in place of [`entry!`](crate::entry): a closure or a function that
/// is called with all of the input.
///
/// ```ignore
/// #![no_std]
/// #![no_main]
/// flatland_guest::fuzz!(|data: &[u8]| {
///     if let Ok(text) = core::str::from_utf8(data) {
///         assert!(text.chars().count() <= data.len());
///     }
/// });
/// ```
///
/// A block may set something up first. It runs before any input is read, so a fuzzer, which begins each run where the
/// program asks for input, does it once:
///
/// ```ignore
/// flatland_guest::fuzz!({
///     let table = Table::new();
///     move |data: &[u8]| {
///         table.find(data);
///     }
/// });
/// ```
///
/// The run ends with status 0 when the target returns. A panic, a fault and a loop without end are what a fuzzer looks
/// for. The input has at most 65,536 bytes: a longer one ends the run with a message and status 2. `cargo xtask run
/// NAME < FILE` runs the target once.
#[macro_export]
macro_rules! fuzz {
    ($target:expr $(,)?) => {
        fn main() -> ! {
            $crate::__private::fuzz($target)
        }

        $crate::entry!(main);
    };
}
