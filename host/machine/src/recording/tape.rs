//! The inputs of a run in memory.

use super::Place;

/// All bytes that a guest has read at ports, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    bytes: Vec<u8>,
    runs: Vec<Run>,
}

/// Bytes that were read one after the other at one port: the port, the width, and where on the tape the next run begins.
/// In one word, since a small file can make many: the end in the highest 46 bits, the port, and the width's logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run(u64);

impl Run {
    fn new(Place { port, width }: Place, end: usize) -> Self {
        Self((end as u64) << 18 | u64::from(port) << 2 | u64::from(width.trailing_zeros()))
    }

    fn place(self) -> Place {
        Place { port: (self.0 >> 2) as u16, width: 1 << (self.0 & 3) }
    }

    fn end(self) -> usize {
        (self.0 >> 18) as usize
    }
}

/// Makes room for more, an eighth at a time: doubling takes three times the memory for a moment.
fn reserve<T>(items: &mut Vec<T>, more: usize) {
    if items.capacity() - items.len() < more {
        items.reserve_exact(more.max(items.len() / 8).max(64));
    }
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
        reserve(&mut self.bytes, bytes.len());
        self.bytes.extend_from_slice(bytes);
        let run = Run::new(place, self.bytes.len());
        match self.runs.last_mut() {
            Some(last) if last.place() == place => *last = run,
            _ => {
                reserve(&mut self.runs, 1);
                self.runs.push(run);
            }
        }
    }

    /// The bytes from a position on, up to where the port changes, and their port. `hint` is the number of a run near
    /// the position, and becomes that of the run there.
    pub fn from(&self, at: usize, hint: &mut usize) -> Option<(Place, &[u8])> {
        let begins = |run: usize| run.checked_sub(1).map_or(0, |before| self.runs[before].end());
        let is_there = |run: usize| self.runs.get(run).is_some_and(|it| at < it.end() && begins(run) <= at);
        if !is_there(*hint) {
            *hint = match is_there(*hint + 1) {
                true => *hint + 1,
                false => self.runs.partition_point(|run| run.end() <= at),
            };
        }
        let run = self.runs.get(*hint)?;
        Some((run.place(), &self.bytes[at..run.end()]))
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

    #[test]
    fn a_run_is_a_word() {
        for (port, width, end) in [(0, 1, 0), (0xffff, 4, (1 << 46) - 1), (0xe9, 2, 5)] {
            let place = Place { port, width };
            let run = Run::new(place, end);
            assert_eq!((run.place(), run.end()), (place, end));
        }
    }
}
