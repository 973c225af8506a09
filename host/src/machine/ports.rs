//! What each port does: the table of the contract, decided over plain data.

use std::time::{Duration, Instant};

use flatland_contract::{Direction, Port};

use super::Limits;
use crate::fault::FaultKind;
use crate::outcome::Stop;
use crate::streams::{Flush, Refill};
use crate::{StreamError, Streams};

/// The ports and what is behind them.
#[derive(Debug)]
pub(crate) struct Ports {
    streams: Streams,
    /// The bytes of an answer at [`Port::InputReady`] that the guest has not read yet, the next one last.
    ready_answer: Vec<u8>,
}

/// A transfer that ends the run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The console was read past the end of input.
    OfInput,
    /// The guest sent its status.
    Exited(u8),
    /// While the machine waited, the run was stopped from outside.
    Stopped(Stop),
    /// The contract has no such transfer.
    Fault(FaultKind),
}

impl Ports {
    pub fn new(streams: Streams) -> Self {
        Self { streams, ready_answer: Vec::with_capacity(size_of::<u32>()) }
    }

    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The guest sent `data` in transfers of `width` bytes.
    pub fn output(
        &mut self,
        port: u16,
        width: u8,
        data: &[u8],
        limits: &Limits,
    ) -> Result<Option<End>, StreamError> {
        let known = match known_port(port, width, Direction::Out) {
            Ok(known) => known,
            Err(kind) => return Ok(Some(End::Fault(kind))),
        };
        let Streams { output, diagnostics, .. } = &mut self.streams;
        // The order between the two streams is kept: what waits in the one goes out before the other gets more.
        let (stream, other) = match known {
            Port::Console => (output, diagnostics),
            Port::Diagnostics => (diagnostics, output),
            Port::Exit => return Ok(data.first().copied().map(End::Exited)),
            Port::InputReady => unreachable!("it allows no output"),
        };
        if other.is_waiting()
            && let Flush::Stopped(stop) = other.flush(limits)?
        {
            return Ok(Some(End::Stopped(stop)));
        }
        match stream.send(data, limits)? {
            Flush::Done => Ok(None),
            Flush::Stopped(stop) => Ok(Some(End::Stopped(stop))),
        }
    }

    /// The guest waits for `data` in transfers of `width` bytes.
    pub fn input(
        &mut self,
        port: u16,
        width: u8,
        data: &mut [u8],
        limits: &Limits,
    ) -> Result<Option<End>, StreamError> {
        match known_port(port, width, Direction::In) {
            Ok(Port::Console) => self.read_console(data, limits),
            Ok(Port::InputReady) => self.read_input_ready(data, limits),
            Ok(Port::Diagnostics | Port::Exit) => unreachable!("they allow no input"),
            Err(kind) => Ok(Some(End::Fault(kind))),
        }
    }

    fn read_console(&mut self, data: &mut [u8], limits: &Limits) -> Result<Option<End>, StreamError> {
        let mut filled = 0;
        loop {
            filled += self.streams.input.take(&mut data[filled..]);
            if filled == data.len() {
                return Ok(None);
            }
            match self.refill(limits)? {
                Refill::Ready => {}
                Refill::End => return Ok(Some(End::OfInput)),
                Refill::Stopped(stop) => return Ok(Some(End::Stopped(stop))),
            }
        }
    }

    fn read_input_ready(&mut self, data: &mut [u8], limits: &Limits) -> Result<Option<End>, StreamError> {
        for byte in data {
            if self.ready_answer.is_empty() {
                if let Refill::Stopped(stop) = self.refill(limits)? {
                    return Ok(Some(End::Stopped(stop)));
                }
                let ready = u32::try_from(self.streams.input.ready().len()).unwrap_or(u32::MAX);
                self.ready_answer.extend(ready.to_le_bytes().into_iter().rev());
            }
            *byte = self.ready_answer.pop().expect("an answer has four bytes");
        }
        Ok(None)
    }

    /// Waits for input, after everything the guest sent is out: a person sees the question first.
    fn refill(&mut self, limits: &Limits) -> Result<Refill, StreamError> {
        if self.streams.input.ready().is_empty()
            && let Some(stop) = self.flush(limits)?
        {
            return Ok(Refill::Stopped(stop));
        }
        self.streams.input.refill(limits)
    }

    /// When what waits to be written should be, at the latest.
    pub fn due(&self) -> Option<Instant> {
        [self.streams.output.due(), self.streams.diagnostics.due()].into_iter().flatten().min()
    }

    /// Writes everything the guest sent, unless the run must stop first.
    pub fn flush(&mut self, limits: &Limits) -> Result<Option<Stop>, StreamError> {
        for stream in [&mut self.streams.output, &mut self.streams.diagnostics] {
            if let Flush::Stopped(stop) = stream.flush(limits)? {
                return Ok(Some(stop));
            }
        }
        Ok(None)
    }

    /// Writes what can be written in this time.
    pub fn flush_within(&mut self, time: Duration) -> Result<(), StreamError> {
        self.streams.output.flush_within(time)?;
        self.streams.diagnostics.flush_within(time)
    }
}

/// The port of this number, if it takes transfers of this width in this direction.
fn known_port(port: u16, width: u8, direction: Direction) -> Result<Port, FaultKind> {
    match Port::from_number(port) {
        Some(known) if width == 1 && known.allows(direction) => Ok(known),
        _ => Err(FaultKind::Port { port, width, direction }),
    }
}
