//! Going back to an earlier point of a run, and executing it again from there.

use std::collections::VecDeque;

use flatland_x86::{EngineError, Position, Processor, RamCopy, Registers, Sent};

use super::{Machine, RunError};
use crate::devices::Timer;
use crate::recording::{Playback, Point};
use crate::{EngineKind, Event, MoveError, Outcome, Stats, Wants};

/// A point of a run, to go back to on the same machine. Points of one run share the memory that is the same in them.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    processor: Processor,
    position: Position,
    ram: RamCopy,
    unsent: VecDeque<Sent>,
    next: Option<Outcome>,
    point: Point,
    stats: Stats,
    timer: Option<Timer>,
}

impl Checkpoint {
    /// How many instructions had been executed since entry, if they were counted.
    pub fn instructions(&self) -> Option<u64> {
        self.processor.instructions
    }

    /// The general registers.
    pub fn registers(&self) -> Registers {
        self.processor.registers
    }

    /// How many bytes of memory it takes besides what it shares with these.
    pub fn bytes_not_in(&self, others: &[&Self]) -> usize {
        let others: Vec<_> = others.iter().map(|other| &other.ram).collect();
        self.ram.bytes_not_in(&others)
    }
}

impl Machine {
    /// The exact number of instructions executed since entry, if they are counted. See
    /// [`Engine::instructions`](flatland_x86::Engine::instructions).
    pub fn instructions(&self) -> Option<u64> {
        self.engines.current.instructions()
    }

    /// Keeps the inputs of the run from here on in memory, so that [`Self::go_back`] can come back to here. The run
    /// moves to the soft engine, which executes each part again exactly as before.
    pub fn keep_inputs(&mut self) -> Result<(), MoveError> {
        self.move_to(EngineKind::Soft)?;
        self.log.playback.get_or_insert_with(|| Box::new(Playback::live()));
        self.moving.stay(&self.engines);
        Ok(())
    }

    /// Where the run is now. [`Self::keep_inputs`] comes before; a replay needs none.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, EngineError> {
        self.settle()?;
        self.park_timer();
        let (processor, position) = self.engines.current.processor()?;
        Ok(Checkpoint {
            processor,
            position,
            ram: self.engines.current.save_ram()?,
            unsent: self.unsent.clone(),
            next: self.next.clone(),
            point: self.log.playback.as_ref().map_or_else(Point::default, |playback| playback.point()),
            stats: self.stats.clone(),
            timer: self.device::<Timer>().cloned(),
        })
    }

    /// Goes to a point of this run. From there it is executed again with the same inputs, and nothing that was sent is
    /// sent again, up to where it has been: then the devices go on. Streams, devices and limits stay as they are. The counts
    /// of [`Self::stats`] are those of then.
    pub fn go_back(&mut self, to: &Checkpoint) -> Result<(), RunError> {
        let Checkpoint { processor, position, ram, unsent, next, point, stats, timer } = to;
        self.engines.current.set_processor(processor, *position)?;
        self.engines.current.restore_ram(ram)?;
        if let Some(playback) = &mut self.log.playback {
            playback.go_to(point);
        }
        self.unsent.clone_from(unsent);
        self.next.clone_from(next);
        self.stats.clone_from(stats);
        if let (Some(device), Some(timer)) = (self.device::<Timer>(), timer) {
            device.go_on_from(timer);
        }
        self.unpark_timer();
        self.forget_exit();
        self.input_is_announced = false;
        self.has_begun = true;
        Ok(())
    }

    /// Like [`Self::resume`], for a part of the run that has been executed before: its time does not count for the limit
    /// of time. The caller ends it where the run has been, by [`Wants::instructions`].
    pub fn resume_in_the_past(&mut self, wants: &Wants) -> Result<Event, RunError> {
        let (limit, used) = (self.limits.time.take(), self.used);
        self.engines.current.pause_block_sink(true);
        let result = self.resume(wants);
        self.engines.current.pause_block_sink(false);
        (self.limits.time, self.used) = (limit, used);
        result
    }
}

#[cfg(test)]
mod tests {
    use crate::{EngineChoice, Event, Machine, Outcome, Program, Wants};

    #[test]
    fn a_part_is_executed_again_with_the_same_input_and_sends_nothing_again() {
        // 0: in al, 0xe9; 2: inc al; 4: out 0xe9, al; 6: inc ebx; 7: jmp 0
        let code = vec![0xe4, 0xe9, 0xfe, 0xc0, 0xe6, 0xe9, 0x43, 0xeb, 0xf7];
        let program = Program::from_bytes(code).unwrap();
        let mut machine =
            Machine::builder().engine(EngineChoice::Soft).input("abcdef").build(&program).unwrap();
        machine.keep_inputs().unwrap();
        let mut points = vec![machine.checkpoint().unwrap()];
        let mut states = vec![machine.registers().unwrap()];
        let until = |count: u64| Wants { instructions: Some(count), ..Wants::default() };
        for count in 1..14 {
            assert!(matches!(machine.resume(&until(count)).unwrap(), Event::Stopped(_)));
            points.push(machine.checkpoint().unwrap());
            states.push(machine.registers().unwrap());
        }
        assert_eq!(machine.streams().output.bytes(), b"bcd");
        for from in (0..14).rev() {
            machine.go_back(&points[from]).unwrap();
            assert_eq!(machine.registers().unwrap(), states[from], "{from}");
            for (count, state) in states.iter().enumerate().skip(from + 1) {
                machine.resume(&until(count as u64)).unwrap();
                assert_eq!(machine.registers().unwrap(), *state, "{count} from {from}");
            }
        }
        assert_eq!(machine.streams().output.bytes(), b"bcd");
        machine.go_back(&points[5]).unwrap();
        assert_eq!(machine.run().unwrap(), Outcome::EndOfInput);
        assert_eq!(machine.streams().output.bytes(), b"bcdefg");
        assert_eq!(machine.registers().unwrap().ebx, 6);
    }
}
