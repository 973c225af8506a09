//! Spans: parts of a run that have a name, for its traces. A guest tells of them at [`Port::Span`](crate::Port::Span).
//!
//! It asks once whether anybody listens, and sends nothing if nobody does. The bytes of a name, which are not zero, and
//! then [`END`] begin a span inside the one that is open. [`END`] without a name ends the innermost one.

/// The byte that ends a name, or else a span.
pub const END: u8 = 0;

/// The most bytes of a name. The host cuts what is longer.
pub const LONGEST_NAME: usize = 64;
