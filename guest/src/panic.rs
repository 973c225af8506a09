//! Panics: the message and the place to diagnostics, as std writes them, and status 101.

use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use flatland_contract::status;

use crate::{diagnostics, io, process};

#[panic_handler]
fn on_panic(panic: &PanicInfo) -> ! {
    static PANICKING: AtomicBool = AtomicBool::new(false);
    if PANICKING.swap(true, Ordering::Relaxed) {
        // The message's own formatting panicked, and would again.
        diagnostics::write(b"\npanicked while saying why it panicked\n");
    } else {
        // Neither the destination nor what is formatted here returns errors worth a second panic. Piece by piece, so
        // that what comes before a second one is seen.
        let _ = writeln!(io::stderr(), "guest {panic}");
    }
    process::exit(status::PANIC)
}
