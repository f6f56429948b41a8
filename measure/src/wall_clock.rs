//! Whether the node's clock has been set.
//!
//! What is dated earlier is earlier only as long as nobody has set the clock by which files are
//! dated. Who has the right to may set it, and set it back again: the kernel tells of each time
//! (timerfd_create(2), `TFD_TIMER_CANCEL_ON_SET`), a moment after it. In that moment the distance
//! tells that there is between it and the clock that nobody can set.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Far enough that it never comes.
const NEVER: i64 = 1 << 40;

/// Both clocks are read to the nanosecond, and rounded to it.
const ROUNDED: i128 = 100;

/// How often the clocks are read where who reads them was interrupted.
const READS: usize = 4;

/// The clock, from when this was made.
#[derive(Debug)]
pub(crate) struct WallClock {
    source: Box<dyn Source>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    distance: (i128, i128),
    was_set: bool,
}

/// Where the time comes from.
pub(crate) trait Source: std::fmt::Debug + Send + Sync {
    /// By how many nanoseconds the clock is ahead of the one that nobody can set: at least, and at
    /// most.
    fn distance(&self) -> (i128, i128);

    /// Whether the clock was set since the last call.
    fn was_set(&self) -> bool;

    /// Readable when it was, if that is told.
    fn told(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl WallClock {
    /// The node's.
    ///
    /// # Errors
    /// When the kernel gives no timer.
    pub(crate) fn of_node() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let never = Itimerspec { it_interval: none, it_value: Timespec { tv_sec: NEVER, ..none } };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&timer, flags, &never)?;
        Ok(Self::new(Box::new(Node(timer))))
    }

    pub(crate) fn new(source: Box<dyn Source>) -> Self {
        let state = State { distance: source.distance(), was_set: false };
        Self { source, state: Mutex::new(state) }
    }

    /// Readable when it was set, until [`Self::was_set`] is asked.
    pub(crate) fn told(&self) -> Option<BorrowedFd<'_>> {
        self.source.told()
    }

    /// Whether it was set since this was made: some 200 ns.
    pub(crate) fn was_set(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.was_set {
            let (least, most) = self.source.distance();
            state.was_set = self.source.was_set()
                || most + ROUNDED < state.distance.0
                || least - ROUNDED > state.distance.1;
        }
        state.was_set
    }
}

#[derive(Debug)]
struct Node(OwnedFd);

impl Source for Node {
    fn distance(&self) -> (i128, i128) {
        let read = |clock| {
            let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
            i128::from(tv_sec) * 1_000_000_000 + i128::from(tv_nsec)
        };
        let between = |_| {
            let before = read(ClockId::Boottime);
            let now = read(ClockId::Realtime);
            (now - read(ClockId::Boottime), now - before)
        };
        let all = (0..READS).map(between);
        all.min_by_key(|(least, most)| most - least).unwrap_or((i128::MIN, i128::MAX))
    }

    fn was_set(&self) -> bool {
        let read = rustix::io::read(&self.0, &mut [0_u8; 8]);
        !matches!(read, Err(rustix::io::Errno::AGAIN))
    }

    fn told(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

    /// A clock that a test sets.
    #[derive(Debug, Default, Clone)]
    pub(crate) struct Settable(Arc<(AtomicI64, AtomicBool)>);

    impl Settable {
        pub(crate) fn clock(&self) -> WallClock {
            WallClock::new(Box::new(self.clone()))
        }

        /// As the kernel does it: it tells a moment later.
        pub(crate) fn set(&self, by: i64, told: bool) {
            self.0.0.fetch_add(by, Ordering::Relaxed);
            self.0.1.fetch_or(told, Ordering::Relaxed);
        }
    }

    impl Source for Settable {
        fn distance(&self) -> (i128, i128) {
            let at = i128::from(self.0.0.load(Ordering::Relaxed));
            (at - 50, at + 50)
        }

        fn was_set(&self) -> bool {
            self.0.1.swap(false, Ordering::Relaxed)
        }
    }

    #[test]
    fn a_clock_that_was_set_is_so_for_good() {
        for (by, told) in [(-1_000_000, false), (1_000_000, false), (0, true), (-5, true)] {
            let settable = Settable::default();
            let clock = settable.clock();
            assert!(!clock.was_set() && !clock.was_set());
            settable.set(by, told);
            assert!(clock.was_set(), "{by} {told}");
            settable.set(-by, false);
            assert!(clock.was_set(), "{by} {told}: set back");
            assert!(!settable.clock().was_set(), "who comes later");
        }
    }

    /// There and back while nobody looked.
    #[test]
    fn a_clock_that_was_set_twice_is_told() {
        let settable = Settable::default();
        let clock = settable.clock();
        settable.set(-3_600_000_000_000, true);
        settable.set(3_600_000_000_000, true);
        assert!(clock.was_set());
    }

    /// Its rate may change, and who reads it may be interrupted.
    #[test]
    fn the_nodes_clock_goes_on_by_itself() {
        let clock = WallClock::of_node().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(300);
        while std::time::Instant::now() < until {
            assert!(!clock.was_set());
        }
        let (least, most) = clock.source.distance();
        assert!(least <= most && most - least < 1_000_000, "{least}..{most}");
    }
}
