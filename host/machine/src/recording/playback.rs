//! Answers a guest's reads from a tape, and compares what it sends.

use std::fmt;
use std::sync::Arc;

use super::blocks::Mark;
use super::sum::Sum;
use super::tape::Tape;
use super::{Diverged, End, Place};

/// The inputs of a run, and how far the guest has come in them.
#[derive(Clone, Debug, Default)]
pub struct Playback {
    /// What this run has read, if it is no recorded one. Behind its end the devices answer.
    live: Tape,
    recorded: Option<Arc<Recorded>>,
    at: Point,
    /// How much has been sent. A part of a run that is executed again sends nothing again.
    sent: u64,
}

/// What a recorded run has read, with what is known of it besides.
#[derive(Debug, Default)]
pub struct Recorded {
    pub tape: Tape,
    pub marks: Vec<Mark>,
    pub end: Option<End>,
}

/// A point of a run, as far as its transfers tell.
#[derive(Clone, Default)]
pub struct Point {
    /// How many bytes of the tape the guest has read.
    read: usize,
    /// The tape's run there, or one near it.
    run: usize,
    /// The number of the next mark.
    mark: usize,
    sum: Sum,
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Point").field("read", &self.read).field("sent", &self.sum.total()).finish()
    }
}

/// Who answers a read.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The tape has filled all of it.
    Tape,
    /// The tape has filled this many bytes, and ends there. The devices have the rest.
    Devices(usize),
    /// The tape has filled this many bytes, and the recording ends there.
    End(usize),
}

impl Playback {
    /// A run that is recorded in memory, to be executed again in parts.
    pub fn live() -> Self {
        Self::default()
    }

    /// A run that was recorded.
    pub fn recorded(recorded: Arc<Recorded>) -> Self {
        Self { recorded: Some(recorded), ..Self::default() }
    }

    /// How the recorded run ended. `None` if it is not known, or if this run makes the tape.
    pub fn end(&self) -> Option<&End> {
        self.recorded.as_ref()?.end.as_ref()
    }

    pub fn is_live(&self) -> bool {
        self.recorded.is_none()
    }

    /// How far the guest has come.
    pub fn point(&self) -> Point {
        self.at.clone()
    }

    /// The guest has gone to another point.
    pub fn go_to(&mut self, point: &Point) {
        self.at = point.clone();
    }

    /// The guest reads at a port.
    pub fn read(&mut self, place: Place, data: &mut [u8]) -> Result<Answer, Diverged> {
        let mut filled = 0;
        while filled < data.len() {
            let tape = self.recorded.as_ref().map_or(&self.live, |recorded| &recorded.tape);
            let Some((recorded, bytes)) = tape.from(self.at.read, &mut self.at.run) else {
                return Ok(if self.is_live() { Answer::Devices(filled) } else { Answer::End(filled) });
            };
            if recorded != place {
                return Err(Diverged::OtherPort { recorded: recorded.into(), came: place.into() });
            }
            let len = bytes.len().min(data.len() - filled);
            data[filled..filled + len].copy_from_slice(&bytes[..len]);
            filled += len;
            self.at.read += len;
            self.check_marks()?;
        }
        Ok(Answer::Tape)
    }

    /// A device has answered a read with these bytes.
    pub fn took(&mut self, place: Place, bytes: &[u8]) {
        self.live.push(place, bytes);
        self.at.read = self.live.len();
    }

    /// This many bytes of a read were filled, and the read is made again.
    pub fn put_back(&mut self, filled: usize) {
        self.at.read -= filled;
    }

    /// How many of the bytes that the guest sends now have been sent before.
    pub fn sent_before(&self, len: usize) -> usize {
        usize::try_from(self.sent - self.at.sum.total()).map_or(len, |before| before.min(len))
    }

    /// The guest has sent these bytes. They count as sent also where they are not what was recorded.
    pub fn wrote(&mut self, place: Place, mut bytes: &[u8]) -> Result<(), Diverged> {
        let result = self.check_sent(place, &mut bytes);
        self.at.sum.add(place, bytes);
        self.sent = self.sent.max(self.at.sum.total());
        result
    }

    /// Takes the bytes up to the last mark among them, and checks what was sent up to each.
    fn check_sent(&mut self, place: Place, bytes: &mut &[u8]) -> Result<(), Diverged> {
        while let Some(mark) = self.next_mark() {
            let until_mark = mark.sent.saturating_sub(self.at.sum.total());
            if until_mark > bytes.len() as u64 {
                break;
            }
            if mark.read != self.at.read as u64 {
                // More is to be read first, and nothing sent.
                if until_mark == bytes.len() as u64 {
                    break;
                }
                return Err(self.other_output(mark));
            }
            let (before, behind) = bytes.split_at(until_mark as usize);
            self.at.sum.add(place, before);
            *bytes = behind;
            self.check(mark)?;
        }
        Ok(())
    }

    fn next_mark(&self) -> Option<Mark> {
        self.recorded.as_ref()?.marks.get(self.at.mark).copied()
    }

    /// Checks what was sent before the guest had read as much as now.
    fn check_marks(&mut self) -> Result<(), Diverged> {
        let (read, sent) = (self.at.read as u64, self.at.sum.total());
        while let Some(mark) = self.next_mark()
            && (mark.read < read || (mark.read == read && mark.sent <= sent))
        {
            if mark.sent != sent {
                return Err(self.other_output(mark));
            }
            self.check(mark)?;
        }
        Ok(())
    }

    fn check(&mut self, mark: Mark) -> Result<(), Diverged> {
        if self.at.sum.value() != mark.sum {
            return Err(self.other_output(mark));
        }
        self.at.mark += 1;
        Ok(())
    }

    fn other_output(&self, mark: Mark) -> Diverged {
        let before = self.recorded.as_ref().and_then(|it| it.marks.get(self.at.mark.checked_sub(1)?));
        Diverged::OtherOutput { after: before.map_or(0, |mark| mark.sent), until: mark.sent }
    }

    /// Compares how much was read and sent in all with what was recorded.
    pub fn check_totals(&self) -> Result<(), Diverged> {
        let Some(Mark { read, sent, .. }) = self.end().map(|end| end.mark) else { return Ok(()) };
        let (read_now, sent_now) = (self.at.read as u64, self.at.sum.total());
        if read != read_now {
            return Err(Diverged::OtherTotal { what: "read", recorded: read, came: read_now });
        }
        if sent != sent_now {
            return Err(Diverged::OtherTotal { what: "sent", recorded: sent, came: sent_now });
        }
        Ok(())
    }
}
