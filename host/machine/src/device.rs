//! Devices, which a guest accesses through ports.

use std::any::Any;

use crate::interrupt::{InterruptLine, Shared, reason};
use crate::streams::{Flush, Refill};
use crate::{StreamError, Streams};
use flatland_x86::Vector;

/// A device at one port, or at several consecutive ones.
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
/// One instruction of the guest may make many transfers. If one of them returns [`Unfinished::Interrupted`] or
/// [`Unfinished::InputWanted`], as the methods of [`Host`] may, all transfers are made again later, starting with the
/// first. So return these errors, by `?`, before you change the device's state. Input that was taken is put back before. Output
/// stays sent, so send to one of the two streams only, or to the second one last.
pub trait Device: Any + Send {
    /// The number of the device's ports. They are consecutive.
    fn ports(&self) -> u16 {
        1
    }

    /// Whether a transfer at this port may have `width` bytes: 1, 2 or 4. Wide transfers arrive as bytes in little-endian order.
    fn takes_width(&self, _offset: u16, width: u8) -> bool {
        width == 1
    }

    /// The guest reads a byte. `offset` counts from the device's first port.
    fn read(&mut self, _offset: u16, _host: &mut Host) -> Result<u8, Unfinished> {
        Err(Unfinished::Unsupported)
    }

    /// The guest writes a byte.
    fn write(&mut self, _offset: u16, _byte: u8, _host: &mut Host) -> Result<(), Unfinished> {
        Err(Unfinished::Unsupported)
    }

    /// The guest reads all of these bytes with one instruction.
    fn read_bytes(&mut self, offset: u16, bytes: &mut [u8], host: &mut Host) -> Result<(), Unfinished> {
        for byte in bytes {
            *byte = self.read(offset, host)?;
        }
        Ok(())
    }

    /// The guest writes all of these bytes with one instruction.
    fn write_bytes(&mut self, offset: u16, bytes: &[u8], host: &mut Host) -> Result<(), Unfinished> {
        for byte in bytes {
            self.write(offset, *byte, host)?;
        }
        Ok(())
    }

    /// The device is part of a machine now: called once. A device that raises interrupts also outside of transfers keeps the
    /// line.
    fn connect(&mut self, _line: InterruptLine) {}

    /// Whether the device may raise an interrupt without being asked. As long as one may, a guest that halts with interrupts
    /// enabled waits; otherwise its run ends there.
    fn may_raise(&self) -> bool {
        false
    }

    /// A run begins. Called at the start, and at each restore before [`Self::restore`].
    fn reset(&mut self) {}

    /// The state for a snapshot.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Restores a state that [`Self::save`] of a device of the same type returned. A state that comes from a file may be
    /// any bytes: ignore what makes no sense, and do not panic.
    fn restore(&mut self, _state: &[u8]) {}
}

/// Why a transfer was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unfinished {
    /// The device does not support this direction or width. The run ends with a fault.
    Unsupported,
    /// The transfer ends the run with this status.
    Exit(u8),
    /// The guest read past the end of input, which ends the run with status 0.
    EndOfInput,
    /// The transfer needs input, and [`Wants::input`](crate::Wants::input) is set. It is made later.
    InputWanted,
    /// The run was interrupted. The transfer is made later.
    Interrupted,
    /// A stream failed.
    Stream(StreamError),
}

impl From<StreamError> for Unfinished {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

/// The host's streams, lent to a device for one transfer.
#[derive(Debug)]
pub struct Host<'a> {
    pub(crate) streams: &'a mut Streams,
    pub(crate) shared: &'a Shared,
    /// Whether to return [`Unfinished::InputWanted`] before taking input.
    pub(crate) announces_input: bool,
    /// How many bytes of the transfer the console has filled before the end of input.
    pub(crate) part: usize,
}

impl Host<'_> {
    /// Raises an interrupt. It is delivered after the instruction that makes this transfer, or when the guest enables
    /// interrupts.
    pub fn raise(&mut self, vector: Vector) {
        self.shared.add_raised(vector);
        self.shared.note(reason::RAISED);
    }

    /// Sends bytes to the run's output, in order with everything sent before.
    pub fn output(&mut self, bytes: &[u8]) -> Result<(), Unfinished> {
        self.streams.send_output(bytes, self.shared)
    }

    /// Sends bytes to the run's diagnostics, in order with everything sent before.
    pub fn diagnostics(&mut self, bytes: &[u8]) -> Result<(), Unfinished> {
        self.streams.send_diagnostics(bytes, self.shared)
    }

    /// Fills `bytes` with the run's input, and waits for it. Writes all output before a wait, so that a prompt is
    /// visible.
    pub fn input(&mut self, bytes: &mut [u8]) -> Result<(), Unfinished> {
        let mut filled = 0;
        self.fill(bytes, &mut filled)
    }

    /// The same for a transfer whose bytes are the input: what comes before its end is not lost.
    pub(crate) fn transfer_input(&mut self, bytes: &mut [u8]) -> Result<(), Unfinished> {
        let mut filled = 0;
        let result = self.fill(bytes, &mut filled);
        self.part = filled;
        result
    }

    fn fill(&mut self, bytes: &mut [u8], filled: &mut usize) -> Result<(), Unfinished> {
        self.announce()?;
        loop {
            *filled += self.streams.input.take(&mut bytes[*filled..]);
            if *filled == bytes.len() {
                return Ok(());
            }
            match self.refill()? {
                Refill::Ready => {}
                Refill::End => return Err(Unfinished::EndOfInput),
                // The bus puts back what was taken.
                Refill::Interrupted => return Err(Unfinished::Interrupted),
            }
        }
    }

    /// How many bytes of the run's input can be read without waiting. Waits for the first byte. 0 at the end of
    /// input.
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

/// An answer of several bytes, which a guest may read in pieces. After its last byte the next answer starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    /// How many bytes of it the guest has read.
    read: usize,
}

impl Answer {
    /// Fills `bytes` with the rest of this answer and as many new answers as needed.
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
                    // The whole transfer is made again, so the filled bytes become unread again.
                    (self.bytes, self.read) = (bytes[..filled].into(), 0);
                    return Err(unfinished);
                }
            }
        }
    }

    /// The state for [`Device::save`].
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// Sets the state for [`Device::restore`].
    pub fn set_unread(&mut self, unread: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(unread);
        self.read = 0;
    }
}
