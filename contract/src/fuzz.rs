//! Fuzz targets: programs that take all of their input at once.

/// The longest input of a fuzz target in bytes: 64 KiB.
pub const MAX_INPUT: usize = 64 << 10;
