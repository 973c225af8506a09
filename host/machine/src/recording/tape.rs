//! The inputs of a run in memory.

use super::Place;

/// All bytes that a guest has read at ports, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    bytes: Vec<u8>,
    runs: Vec<Run>,
}

/// Bytes that were read one after the other at one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    place: Place,
    /// Where on the tape the next run begins.
    end: usize,
}

impl Tape {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds bytes to the end.
    pub fn push(&mut self, place: Place, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len();
        match self.runs.last_mut() {
            Some(run) if run.place == place => run.end = end,
            _ => self.runs.push(Run { place, end }),
        }
    }

    /// The bytes from a position on, up to where the port changes, and their port. `hint` is the number of a run near
    /// the position, and becomes that of the run there.
    pub fn from(&self, at: usize, hint: &mut usize) -> Option<(Place, &[u8])> {
        let begins = |run: usize| run.checked_sub(1).map_or(0, |before| self.runs[before].end);
        let is_there = |run: usize| self.runs.get(run).is_some_and(|it| at < it.end && begins(run) <= at);
        if !is_there(*hint) {
            *hint = match is_there(*hint + 1) {
                true => *hint + 1,
                false => self.runs.partition_point(|run| run.end <= at),
            };
        }
        let run = self.runs.get(*hint)?;
        Some((run.place, &self.bytes[at..run.end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_position_has_its_port() {
        let at = |port| Place { port, width: 1 };
        let mut tape = Tape::default();
        assert_eq!(tape.from(0, &mut 0), None);
        for (port, bytes) in [(1, &b"ab"[..]), (1, b"c"), (2, b""), (2, b"d"), (1, b"ef")] {
            tape.push(at(port), bytes);
        }
        assert_eq!(tape.len(), 6);
        let expected = [(1, &b"abc"[..]), (1, b"bc"), (1, b"c"), (2, b"d"), (1, b"ef"), (1, b"f")];
        for hint in 0..4 {
            for (position, (port, bytes)) in expected.iter().enumerate() {
                let mut hint = hint;
                assert_eq!(tape.from(position, &mut hint), Some((at(*port), *bytes)), "{position}");
                assert_eq!(hint, [0, 0, 0, 1, 2, 2][position]);
            }
            assert_eq!(tape.from(6, &mut hint.clone()), None);
        }
        tape.push(at(1), b"g");
        assert_eq!(tape.from(6, &mut 3), Some((at(1), &b"g"[..])));
    }
}
