//! The folder in which cargo has built this test, and xtask builds everything else.

use std::path::Path;

/// cargo's folder `target`.
pub fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in `target`")
}
