//! Panics: the message and the place go to standard error, as with std, and the run ends with status 101.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use flatland_contract::status;

use crate::{diagnostics, process};

/// Standard error without a buffer: if a message's own formatting panics, its beginning has been sent.
struct Unbuffered;

impl Write for Unbuffered {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        diagnostics::write(text.as_bytes());
        Ok(())
    }
}

#[panic_handler]
fn on_panic(panic: &PanicInfo) -> ! {
    static PANICKING: AtomicBool = AtomicBool::new(false);
    if PANICKING.swap(true, Ordering::Relaxed) {
        // Formatting the message panicked, and would again.
        diagnostics::write(b"\npanicked while saying why it panicked\n");
    } else {
        // Ignore an error of the message's own formatting: it must not cause a second panic.
        let _ = writeln!(Unbuffered, "guest {panic}");
    }
    process::exit(status::PANIC.into())
}
