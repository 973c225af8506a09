//! What stands behind a port.

use std::any::Any;

use crate::interrupt::Shared;
use crate::streams::{Flush, Refill};
use crate::{Output, StreamError, Streams};

/// What stands behind one port, or behind several in a row.
///
/// A device that reads or writes single bytes needs one method:
///
/// ```
/// use flatland_machine::{Device, Host, Unfinished};
///
/// /// Counts how often it is asked.
/// #[derive(Default)]
/// struct Counter(u8);
///
/// impl Device for Counter {
///     fn read(&mut self, _offset: u16, _host: &mut Host) -> Result<u8, Unfinished> {
///         self.0 += 1;
///         Ok(self.0)
///     }
/// }
/// ```
///
/// A guest's instruction may make many transfers. Where one of them returns [`Unfinished::Interrupted`] or
/// [`Unfinished::InputWanted`] (a [`Host`]'s methods do), all of them are tried again later, from the first on: pass
/// these on with `?` before anything has changed.
pub trait Device: Any + Send {
    /// How many ports it takes, from the one that it is put at.
    fn ports(&self) -> u16 {
        1
    }

    /// Whether it takes transfers of so many bytes at this port: 1, 2 or 4. Wider ones come as bytes in little-endian
    /// order.
    fn takes_width(&self, _offset: u16, width: u8) -> bool {
        width == 1
    }

    /// The guest reads a byte. `offset` is the port's, from the device's first one.
    fn read(&mut self, _offset: u16, _host: &mut Host) -> Result<u8, Unfinished> {
        Err(Unfinished::Unsupported)
    }

    /// The guest writes a byte.
    fn write(&mut self, _offset: u16, _byte: u8, _host: &mut Host) -> Result<(), Unfinished> {
        Err(Unfinished::Unsupported)
    }

    /// The guest reads all of these bytes by one instruction.
    fn read_bytes(&mut self, offset: u16, bytes: &mut [u8], host: &mut Host) -> Result<(), Unfinished> {
        for byte in bytes {
            *byte = self.read(offset, host)?;
        }
        Ok(())
    }

    /// The guest writes all of these bytes by one instruction.
    fn write_bytes(&mut self, offset: u16, bytes: &[u8], host: &mut Host) -> Result<(), Unfinished> {
        for byte in bytes {
            self.write(offset, *byte, host)?;
        }
        Ok(())
    }

    /// A run begins: at the start, and after each restore, before [`Self::restore`].
    fn reset(&mut self) {}

    /// The state that a snapshot is to keep.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Puts back what [`Self::save`] has returned, of a device of the same type.
    fn restore(&mut self, _state: &[u8]) {}
}

/// Why a transfer was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unfinished {
    /// There is no such transfer: in this direction, or of this width. The run ends with a fault.
    Unsupported,
    /// It ends the run with this status.
    Exit(u8),
    /// It asks for input past its end, which ends the run with status 0.
    EndOfInput,
    /// It asks for input, and somebody wants to know that before it is made.
    InputWanted,
    /// The run is to come back. It is made later.
    Interrupted,
    /// A stream does not work.
    Stream(StreamError),
}

impl From<StreamError> for Unfinished {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

/// What a device can do on the host, for as long as one transfer takes.
#[derive(Debug)]
pub struct Host<'a> {
    pub(crate) streams: &'a mut Streams,
    pub(crate) shared: &'a Shared,
    /// Whether somebody wants to know that input is asked for.
    pub(crate) announces_input: bool,
}

impl Host<'_> {
    /// Sends bytes to the run's output, in order with everything sent before.
    pub fn output(&mut self, bytes: &[u8]) -> Result<(), Unfinished> {
        let Streams { output, diagnostics, .. } = &mut *self.streams;
        send(output, diagnostics, bytes, self.shared)
    }

    /// Sends bytes to the run's diagnostics, in order with everything sent before.
    pub fn diagnostics(&mut self, bytes: &[u8]) -> Result<(), Unfinished> {
        let Streams { output, diagnostics, .. } = &mut *self.streams;
        send(diagnostics, output, bytes, self.shared)
    }

    /// Fills `bytes` with the run's input, and waits for it. What was sent before is written first: a person sees the
    /// question before the answer is waited for.
    pub fn input(&mut self, bytes: &mut [u8]) -> Result<(), Unfinished> {
        self.announce()?;
        let mut filled = 0;
        loop {
            filled += self.streams.input.take(&mut bytes[filled..]);
            if filled == bytes.len() {
                return Ok(());
            }
            match self.refill()? {
                Refill::Ready => {}
                Refill::End => return Err(Unfinished::EndOfInput),
                Refill::Interrupted => {
                    self.streams.input.put_back(&bytes[..filled]);
                    return Err(Unfinished::Interrupted);
                }
            }
        }
    }

    /// How many bytes of the run's input can be had without waiting. Waits until it is one, or returns 0 at the end.
    pub fn input_ready(&mut self) -> Result<usize, Unfinished> {
        self.announce()?;
        match self.refill()? {
            Refill::Ready | Refill::End => Ok(self.streams.input.ready().len()),
            Refill::Interrupted => Err(Unfinished::Interrupted),
        }
    }

    fn announce(&self) -> Result<(), Unfinished> {
        if self.announces_input { Err(Unfinished::InputWanted) } else { Ok(()) }
    }

    fn refill(&mut self) -> Result<Refill, StreamError> {
        let Streams { input, .. } = &mut *self.streams;
        if input.ready().is_empty() && self.streams.flush(self.shared)? == Flush::Interrupted {
            return Ok(Refill::Interrupted);
        }
        self.streams.input.refill(self.shared)
    }
}

/// Sends bytes to one output. What waits in the other one goes out before, so that their order is kept.
fn send(to: &mut Output, other: &mut Output, bytes: &[u8], shared: &Shared) -> Result<(), Unfinished> {
    if other.is_waiting() && other.flush(shared)? == Flush::Interrupted {
        return Err(Unfinished::Interrupted);
    }
    Ok(to.send(bytes, shared)?)
}

/// An answer of some bytes, which a guest may read in pieces. Behind its end the next one begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    /// How many of them the guest has had.
    read: usize,
}

impl Answer {
    /// Fills `bytes` with what is left of this answer and as many new ones as it takes.
    pub fn read(
        &mut self,
        bytes: &mut [u8],
        mut next: impl FnMut() -> Result<Vec<u8>, Unfinished>,
    ) -> Result<(), Unfinished> {
        let mut filled = 0;
        loop {
            let unread = &self.bytes[self.read..];
            let len = unread.len().min(bytes.len() - filled);
            bytes[filled..filled + len].copy_from_slice(&unread[..len]);
            filled += len;
            self.read += len;
            if filled == bytes.len() {
                return Ok(());
            }
            match next() {
                Ok(answer) => (self.bytes, self.read) = (answer, 0),
                Err(unfinished) => {
                    // All of it is tried again: what was read is the rest of the last answer, or all of several.
                    (self.bytes, self.read) = (bytes[..filled].into(), 0);
                    return Err(unfinished);
                }
            }
        }
    }

    /// For [`Device::save`].
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// For [`Device::restore`].
    pub fn set_unread(&mut self, unread: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(unread);
        self.read = 0;
    }
}
