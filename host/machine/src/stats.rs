//! The cost of a run.

use std::fmt;
use std::time::Duration;

use flatland_contract::{Direction, Port};

use crate::{EngineKind, Why};

/// The cost of a run. Displayed as one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    transfers: [Transfers; 2 * Port::ALL.len()],
    /// How often the engine was interrupted from outside.
    pub interrupts: u64,
    /// The time from the first instruction to the last.
    pub time: Duration,
    /// The engine that the first run began on, if it is one of the two.
    pub began_on: Option<EngineKind>,
    /// The moves to another engine, in order: the first [`Self::MOST_MOVES`] of them.
    pub moves: Vec<Move>,
    /// How often a run has moved.
    pub move_count: u64,
}

/// A move of a run to another engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Move {
    /// The engine that it moved to.
    pub to: EngineKind,
    /// Why.
    pub why: Why,
    /// The address of the next instruction.
    pub address: u32,
    /// How long the run had taken.
    pub time: Duration,
}

/// The transfers at a port in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transfers {
    /// The number of exits that they caused.
    pub exits: u64,
    /// The number of transferred bytes.
    pub bytes: u64,
}

impl Stats {
    /// Counts an exit with transfers at a port of the contract.
    #[inline]
    pub(crate) fn count(&mut self, port: u16, direction: Direction, bytes: usize) {
        if let Some(transfers) = self.transfers_mut(port, direction) {
            transfers.exits += 1;
            transfers.bytes += bytes as u64;
        }
    }

    /// Counts what came later for an exit that was counted when the guest began to wait for it.
    pub(crate) fn count_late(&mut self, port: u16, direction: Direction, bytes: usize) {
        if let Some(transfers) = self.transfers_mut(port, direction) {
            transfers.bytes += bytes as u64;
        }
    }

    /// Takes back an exit without transfers, which will come again.
    pub(crate) fn take_back(&mut self, port: u16, direction: Direction) {
        if let Some(transfers) = self.transfers_mut(port, direction) {
            transfers.exits = transfers.exits.saturating_sub(1);
        }
    }

    #[inline]
    fn transfers_mut(&mut self, port: u16, direction: Direction) -> Option<&mut Transfers> {
        /// The index of each port in [`Port::ALL`], by port number.
        const INDICES: [u8; 0x100] = {
            let mut indices = [u8::MAX; 0x100];
            let mut index = 0;
            while index < Port::ALL.len() {
                indices[Port::ALL[index].number() as usize] = index as u8;
                index += 1;
            }
            indices
        };
        let index = INDICES.get(usize::from(port)).copied().unwrap_or(u8::MAX);
        self.transfers.get_mut(slot(index.into(), direction))
    }

    /// The most moves in [`Self::moves`].
    pub const MOST_MOVES: usize = 100;

    pub(crate) fn of_run_on(began_on: Option<EngineKind>) -> Self {
        Self { began_on, ..Self::default() }
    }

    pub(crate) fn add_move(&mut self, made: Move) {
        self.move_count += 1;
        if self.moves.len() < Self::MOST_MOVES {
            self.moves.push(made);
        }
    }

    /// The transfers at a port in this direction.
    pub fn transfers(&self, port: Port, direction: Direction) -> Transfers {
        self.transfers[slot(port.index(), direction)]
    }
}

/// The index of the counts: ports in the order of [`Port::ALL`], `in` before `out`.
fn slot(port: usize, direction: Direction) -> usize {
    2 * port + usize::from(direction == Direction::Out)
}

impl Stats {
    /// The engines that the runs were on, as a part of a line: where they began, and each move. `None` if the engine
    /// is the caller's own.
    pub fn engines_in_words(&self) -> Option<String> {
        const MOST: usize = 4;
        let mut words = self.began_on?.name().to_owned();
        for Move { to, why, address, time } in self.moves.iter().take(MOST) {
            let milliseconds = time.as_secs_f64() * 1e3;
            words += &format!(", to {to} at {address:#x} after {milliseconds:.3} ms because {}", why.words());
        }
        let shown = self.moves.len().min(MOST) as u64;
        if self.move_count > shown {
            words += &format!(", and {} moves more", self.move_count - shown);
        }
        Some(words)
    }

    /// The transfers in words, as a part of a line.
    pub fn transfers_in_words(&self) -> String {
        let all: u64 = self.transfers.iter().map(|transfers| transfers.exits).sum();
        let mut words = format!("{all} exits for I/O");
        for port in Port::ALL {
            for direction in Direction::ALL {
                let Transfers { exits, bytes } = self.transfers(port, direction);
                if exits > 0 {
                    words += &format!(", {} {} {exits} ({bytes} bytes)", port.name(), direction.name());
                }
            }
        }
        words
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.transfers_in_words())?;
        write!(f, ", {} interrupts, {:.3} ms", self.interrupts, self.time.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_one_line() {
        let mut stats = Stats { interrupts: 1, time: Duration::from_micros(1234), ..Stats::default() };
        stats.count(0xe9, Direction::In, 4);
        stats.count(0xe9, Direction::In, 1);
        stats.count(0xe9, Direction::Out, 3);
        stats.count(0xf4, Direction::Out, 1);
        stats.count(0x3f8, Direction::Out, 1);
        assert_eq!(
            stats.to_string(),
            "4 exits for I/O, console in 2 (5 bytes), console out 1 (3 bytes), exit out 1 (1 bytes), 1 interrupts, \
             1.234 ms"
        );
        assert_eq!(stats.transfers(Port::Console, Direction::In), Transfers { exits: 2, bytes: 5 });
    }

    #[test]
    fn each_port_and_direction_is_counted_apart() {
        let mut indices: Vec<_> = Port::ALL
            .into_iter()
            .flat_map(|port| [slot(port.index(), Direction::In), slot(port.index(), Direction::Out)])
            .collect();
        indices.sort();
        assert_eq!(indices, (0..2 * Port::ALL.len()).collect::<Vec<_>>());
    }
}
