//! The end of a container before what is made for it is there.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use lacre_baseline::Progress;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Calls off what is made for one container, once it has ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallOff(Arc<State>);

#[derive(Debug, Default)]
struct State {
    ended: AtomicBool,
    kept: AtomicBool,
    /// Readable once it has ended.
    init: OnceLock<OwnedFd>,
}

impl CallOff {
    /// The container has ended, or is to end: nobody wants it any more.
    pub(crate) fn call(&self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }

    /// The container runs without it: its first process's end is its own.
    pub(super) fn follow(&self, init: OwnedFd) {
        let _ = self.0.init.set(init);
    }

    fn has_ended(&self) -> bool {
        let State { ended, init, .. } = &*self.0;
        let gone = |init: &OwnedFd| {
            poll(&mut [PollFd::new(init, PollFlags::IN)], Some(&Timespec::default())) == Ok(1)
        };
        ended.load(Ordering::Relaxed) || init.get().is_some_and(gone)
    }

    /// It is made all the same: the container did not start for want of it, and whoever creates
    /// another finds it then.
    pub(super) fn keep(&self) {
        self.0.kept.store(true, Ordering::Relaxed);
    }
}

impl Progress for CallOff {
    fn is_unwanted(&self) -> bool {
        !self.0.kept.load(Ordering::Relaxed) && self.has_ended()
    }
}
