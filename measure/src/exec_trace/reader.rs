//! The thread that reads what the programs tell of one container.

use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use lacre_types::Source;
use libbpf_rs::{MapHandle, RingBufferBuilder};
use rustix::event::{PollFd, PollFlags};

use super::container::{self, Slot};
use super::watch::Watch;
use crate::Loss;

/// How often the counters are read where no event wakes the reader: long enough to cost
/// nothing, and a loss is told within it.
const COUNTERS_EVERY: Duration = Duration::from_secs(5);

/// Where it reads.
pub(super) struct Feed {
    ring: MapHandle,
    slots: MapHandle,
    slot: u64,
}

impl Feed {
    pub(super) fn of(slot: &Slot) -> io::Result<Self> {
        let ring = MapHandle::try_from(&slot.ring).map_err(io::Error::other)?;
        let slots = MapHandle::try_from(&slot.programs.slots).map_err(io::Error::other)?;
        Ok(Self { ring, slots, slot: slot.number })
    }
}

pub(super) fn read(mut watch: Watch, feed: &Feed, stopped: &PipeReader) {
    let judge = Arc::clone(&watch.judge);
    if let Err(why) = follow(&mut watch, feed, stopped) {
        judge.lost(Source::ExecTrace, Loss::Ended(why.to_string()));
    }
}

/// Reads until told to stop; what was told before is read to the end.
fn follow(watch: &mut Watch, feed: &Feed, stopped: &PipeReader) -> io::Result<()> {
    let judge = Arc::clone(&watch.judge);
    let mut builder = RingBufferBuilder::new();
    builder
        .add(&feed.ring, |raw| {
            watch.event(raw);
            0
        })
        .map_err(io::Error::other)?;
    let events = builder.build().map_err(io::Error::other)?;
    let mut told_lost = 0;
    let every =
        rustix::time::Timespec { tv_sec: COUNTERS_EVERY.as_secs().cast_signed(), tv_nsec: 0 };
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(feed.ring.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::empty()),
        ];
        match rustix::event::poll(&mut fds, Some(&every)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        let ending = !fds[1].revents().is_empty();
        events.consume().map_err(io::Error::other)?;
        if let Some(counters) = container::counters(&feed.slots, feed.slot)
            && counters.lost > told_lost
        {
            let lost = counters.lost - told_lost;
            told_lost = counters.lost;
            judge.lost(Source::ExecTrace, Loss::Overflow(Some(lost)));
        }
        if ending {
            return Ok(());
        }
    }
}
