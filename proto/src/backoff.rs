//! Waits between tries that spread a fleet out.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How long to wait before the next try: twice as long each time, and a random part of
/// that, so that a thousand nodes do not come back in the same instant.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits of about `first` at the beginning, and never more than `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next wait: between a half and the whole of the present step.
    pub fn wait(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.longest);
        let random = RandomState::new().hash_one(0_u8) % 1024;
        let half = step / 2;
        half + half.mul_f64(random as f64 / 1024.0)
    }

    /// Something worked: begin anew.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_longest_and_begins_anew() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(10));
        let mut backoff = Backoff::new(first, longest);
        let mut step = first;
        for _ in 0..20 {
            let wait = backoff.wait();
            assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
            step = (step * 2).min(longest);
        }
        assert_eq!(step, longest);
        backoff.reset();
        assert!(backoff.wait() <= first);
    }
}
