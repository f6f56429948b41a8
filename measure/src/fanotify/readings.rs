//! Which files were told that an interpreter opened and nothing said to be code: each once, in
//! each of its states.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::event_file::State;

/// Files of one container that are remembered, some 26 bytes each: 220 KiB of a container that
/// reads so many. Of more, one at random is forgotten for each that comes: who reads a set of twice
/// as many again and again finds half of them told.
const MOST: usize = 8192;

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// By a hash that nobody outside can foresee.
    known: HashSet<u64>,
    order: Vec<u64>,
    hasher: RandomState,
    lot: usize,
}

impl Readings {
    /// Whether this file in this state comes for the first time.
    pub(super) fn is_first(&mut self, state: &State) -> bool {
        let State { dev, ino, size, ctime } = state;
        let hash = self.hasher.hash_one((dev, ino, size, ctime));
        if !self.known.insert(hash) {
            return false;
        }
        if self.order.len() < MOST {
            self.order.push(hash);
            return true;
        }
        self.lot = self.lot.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let at = (self.lot >> 8) % MOST;
        if let Some(old) = self.order.get_mut(at) {
            self.known.remove(&std::mem::replace(old, hash));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(ino: u64) -> State {
        State { dev: 1, ino, size: 7, ctime: (1, 2) }
    }

    #[test]
    fn a_file_is_first_once_in_each_of_its_states() {
        let mut readings = Readings::default();
        assert!(readings.is_first(&state(1)) && !readings.is_first(&state(1)));
        assert!(readings.is_first(&State { ctime: (1, 3), ..state(1) }));
        assert!(readings.is_first(&State { size: 8, ..state(1) }));
        assert!(readings.is_first(&State { dev: 2, ..state(1) }));
        assert!(!readings.is_first(&state(1)));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_most_of_it_stays() {
        let mut readings = Readings::default();
        let first = (0..2 * MOST as u64).filter(|ino| readings.is_first(&state(*ino))).count();
        assert_eq!((first, readings.known.len(), readings.order.len()), (2 * MOST, MOST, MOST));
        let again = (0..2 * MOST as u64).filter(|ino| readings.is_first(&state(*ino))).count();
        assert!(again < 2 * MOST, "{again}");
    }
}
