//! [`Port::Timer`](flatland_contract::Port::Timer).

use crate::interrupt::reason;
use crate::{Device, Host, Unfinished};

/// Holds the period that the guest has set. The machine counts, because it knows how far the engine is: see
/// [`timer`](flatland_contract::timer).
#[derive(Clone, Debug, Default)]
pub struct Timer {
    /// The bytes of a period that has not arrived completely.
    written: Vec<u8>,
    /// In ticks; 0 if it is stopped.
    period: u32,
    /// Ticks to the next interrupt, when the timer was set, or saved.
    left: u64,
    /// The machine has not seen this setting.
    is_new: bool,
}

impl Timer {
    /// The period in ticks; 0 if it is stopped.
    pub fn period(&self) -> u32 {
        self.period
    }

    /// How many ticks are left, if it has been set since the last call.
    pub(crate) fn take_new(&mut self) -> Option<u64> {
        std::mem::take(&mut self.is_new).then_some(self.left)
    }

    /// Keeps how many ticks are left, for whoever saves the state.
    pub(crate) fn set_left(&mut self, left: u64) {
        self.left = left;
    }

    /// Goes on from another one's state.
    pub(crate) fn go_on_from(&mut self, other: &Self) {
        *self = Self { is_new: true, ..other.clone() };
    }
}

impl Device for Timer {
    fn write(&mut self, _: u16, byte: u8, host: &mut Host) -> Result<(), Unfinished> {
        self.written.push(byte);
        if let Some(period) = self.written.first_chunk() {
            self.period = u32::from_le_bytes(*period);
            self.left = self.period.into();
            self.is_new = true;
            self.written.clear();
            host.shared.note(reason::TIMER);
        }
        Ok(())
    }

    fn reset(&mut self) {
        *self = Self { is_new: true, ..Self::default() };
    }

    /// The period, the ticks that are left, and the bytes of the next period.
    fn save(&self) -> Vec<u8> {
        [&self.period.to_le_bytes()[..], &self.left.to_le_bytes(), &self.written].concat()
    }

    fn restore(&mut self, state: &[u8]) {
        let Some((period, rest)) = state.split_first_chunk() else { return };
        let Some((left, written)) = rest.split_first_chunk() else { return };
        if written.len() < size_of::<u32>() {
            let period = u32::from_le_bytes(*period);
            let left = u64::from_le_bytes(*left).min(period.into());
            *self = Self { written: written.to_vec(), period, left, is_new: true };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_survive_and_those_that_make_no_sense_are_ignored() {
        let timer = Timer { written: vec![1, 2, 3], period: 9, left: 5, is_new: true };
        let mut other = Timer::default();
        other.restore(&timer.save());
        assert_eq!(format!("{other:?}"), format!("{timer:?}"));
        for state in [&[][..], &[1; 4], &[1; 11], &[1; 16]] {
            other.restore(state);
            assert_eq!(format!("{other:?}"), format!("{timer:?}"), "{state:?}");
        }
        other.restore(&[[2, 0, 0, 0].as_slice(), &[0xff; 8]].concat());
        assert_eq!((other.period, other.left), (2, 2));
    }
}
