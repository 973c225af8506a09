//! What keeps the transfers of a run, or answers them, between the machine and its bus.

use flatland_contract::Port;

use crate::bus::Bus;
use crate::recording::{Answer, Place, Playback};
use crate::{Diverged, FileError, Host, Recorder, Unfinished};

/// Who is told of each transfer. At first nobody.
#[derive(Debug, Default)]
pub struct Log {
    pub recorder: Option<Box<Recorder>>,
    pub playback: Option<Box<Playback>>,
}

/// Why a transfer was not made, or cannot be logged.
#[derive(Debug)]
pub enum NotMade {
    /// The device says why.
    Device(Unfinished),
    /// The recording that is replayed ends here.
    EndOfRecording,
    /// The replay leaves its recording.
    Diverged(Diverged),
    /// The recording cannot be written.
    Recording(FileError),
}

impl From<Unfinished> for NotMade {
    fn from(unfinished: Unfinished) -> Self {
        Self::Device(unfinished)
    }
}

impl Log {
    /// The guest reads all of `data` at a port, in transfers of `width` bytes. Inlined, as what follows: where nobody is
    /// told it costs a comparison, and where a recorder is, no call for a byte.
    #[inline(always)]
    pub fn read(
        &mut self,
        bus: &mut Bus,
        port: u16,
        width: u8,
        data: &mut [u8],
        host: &mut Host,
    ) -> Result<(), NotMade> {
        match (&mut self.recorder, &self.playback) {
            (None, None) => Ok(bus.read(port, width, data, host)?),
            (Some(recorder), None) => read_recorded(recorder, bus, Place { port, width }, data, host),
            _ => self.read_played(bus, Place { port, width }, data, host),
        }
    }

    /// The guest writes `data` to a port, in transfers of `width` bytes.
    #[inline(always)]
    pub fn write(
        &mut self,
        bus: &mut Bus,
        port: u16,
        width: u8,
        data: &[u8],
        host: &mut Host,
    ) -> Result<(), NotMade> {
        match (&mut self.recorder, &self.playback) {
            (None, None) => Ok(bus.write(port, width, data, host)?),
            (Some(recorder), None) => write_recorded(recorder, bus, Place { port, width }, data, host),
            _ => self.write_played(bus, Place { port, width }, data, host),
        }
    }

    /// Where there is a playback.
    fn read_played(
        &mut self,
        bus: &mut Bus,
        place: Place,
        data: &mut [u8],
        host: &mut Host,
    ) -> Result<(), NotMade> {
        let Place { port, width } = place;
        let from_tape = match &mut self.playback {
            None => 0,
            Some(_) if host.announces_input && waits(port) => return Err(Unfinished::InputWanted.into()),
            Some(playback) => match playback.read(place, data).map_err(NotMade::Diverged)? {
                Answer::Tape => return Ok(()),
                Answer::Devices(filled) => filled,
                Answer::End(_) if !bus.takes(port, width) => return Err(Unfinished::Unsupported.into()),
                Answer::End(filled) => {
                    host.part = filled;
                    return Err(NotMade::EndOfRecording);
                }
            },
        };
        let rest = &mut data[from_tape..];
        let result = bus.read(port, width, rest, host);
        let made = made(&result, rest, host);
        if let Some(playback) = &mut self.playback {
            match &result {
                Ok(()) | Err(Unfinished::EndOfInput) => playback.took(place, &rest[..made]),
                Err(_) => playback.put_back(from_tape),
            }
            host.part += from_tape;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.took(place, &rest[..made]).map_err(NotMade::Recording)?;
        }
        Ok(result?)
    }

    /// Where there is a playback.
    fn write_played(
        &mut self,
        bus: &mut Bus,
        place: Place,
        data: &[u8],
        host: &mut Host,
    ) -> Result<(), NotMade> {
        let before = self.playback.as_ref().map_or(0, |playback| playback.sent_before(data.len()));
        // The timer has a state of the run's, and sends nothing.
        let before_here = if place.port == Port::Timer.number() { 0 } else { before };
        if before_here < data.len() {
            bus.write(place.port, place.width, &data[before_here..], host)?;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.sent(place, &data[before..]);
        }
        match &mut self.playback {
            Some(playback) => playback.wrote(place, data).map_err(NotMade::Diverged),
            None => Ok(()),
        }
    }

    /// Whether a recorder has something that it has not written.
    pub fn is_due(&self) -> bool {
        self.recorder.as_ref().is_some_and(|recorder| recorder.is_due())
    }

    /// Writes what a recorder has not written yet.
    pub fn flush(&mut self) -> Result<(), FileError> {
        match &mut self.recorder {
            Some(recorder) => recorder.flush(),
            None => Ok(()),
        }
    }
}

#[inline(always)]
fn read_recorded(
    recorder: &mut Recorder,
    bus: &mut Bus,
    place: Place,
    data: &mut [u8],
    host: &mut Host,
) -> Result<(), NotMade> {
    let result = bus.read(place.port, place.width, data, host);
    recorder.took(place, &data[..made(&result, data, host)]).map_err(NotMade::Recording)?;
    Ok(result?)
}

#[inline(always)]
fn write_recorded(
    recorder: &mut Recorder,
    bus: &mut Bus,
    place: Place,
    data: &[u8],
    host: &mut Host,
) -> Result<(), NotMade> {
    bus.write(place.port, place.width, data, host)?;
    recorder.sent(place, data);
    Ok(())
}

/// How many bytes of a read are made.
#[inline]
fn made(result: &Result<(), Unfinished>, data: &[u8], host: &Host) -> usize {
    match result {
        Ok(()) => data.len(),
        Err(Unfinished::EndOfInput) => host.part,
        Err(_) => 0,
    }
}

/// Whether a read at this port may wait for input.
fn waits(port: u16) -> bool {
    matches!(Port::from_number(port), Some(Port::Console | Port::InputReady))
}
