//! What sees the code that an engine executes.

use alloc::boxed::Box;
use core::any::Any;
use core::fmt;

/// A block of code: instructions of which each but the last leads to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockCode<'a> {
    /// The address of its first instruction, in the code segment.
    pub address: u32,
    /// Its bytes. They are those of the time when it was decoded.
    pub bytes: &'a [u8],
    /// How many instructions they are.
    pub instructions: u32,
}

/// Sees each block that an engine executes, in order: coverage, profiles and fuzzers are made of it. Once for each
/// block, [`Self::decoded`] gives it a number; [`Self::executed`] names it by that, so that it can be quick.
///
/// Where a block begins and ends is the engine's choice. Blocks overlap where code jumps into the middle of one, and
/// they may be cut into shorter ones at any time. Which instructions are executed, and in which order, does not depend
/// on that.
pub trait BlockSink: Any + fmt::Debug + Send {
    /// A block gets this number: the lowest one that is free.
    fn decoded(&mut self, block: u32, code: &BlockCode);

    /// The first `instructions` of a block have been executed. It was left before its end where they are fewer than it
    /// has: by an exception, or for a transfer at a port.
    fn executed(&mut self, block: u32, instructions: u32);

    /// The next block does not follow from the last one: somebody has set the registers, or gone to a snapshot.
    fn jumped(&mut self) {}

    /// No number has a meaning any more. The next block gets number 0.
    fn cleared(&mut self);
}

impl dyn BlockSink {
    /// Itself, if it is of this type.
    pub fn downcast_mut<T: BlockSink>(&mut self) -> Option<&mut T> {
        let any: &mut dyn Any = self;
        any.downcast_mut()
    }

    /// The sink itself, if it is of this type.
    pub fn downcast<T: BlockSink>(self: Box<Self>) -> Option<T> {
        let any: Box<dyn Any> = self;
        any.downcast().ok().map(|sink| *sink)
    }
}
