//! The thread that reads what the programs tell of one container.

use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use lacre_types::Source;
use libbpf_rs::{MapHandle, RingBufferBuilder};
use rustix::event::{PollFd, PollFlags};

use super::slot::{self, Slot};
use super::watch::Watch;
use super::watched_files::Changed;
use crate::Loss;
use crate::reader_thread::GRACE;
use crate::wall_clock::WallClock;

/// How often the counters are read where no event wakes the reader: long enough to cost
/// nothing, and a loss is told within it.
const COUNTERS_EVERY: Duration = Duration::from_secs(5);

/// The niceness of who must hear in time.
const AHEAD: i32 = -15;

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

pub(super) fn read(watch: &Arc<Watch>, feed: &Feed, woken: &PipeReader) {
    // What it hears it must act on before others, and does so in microseconds: a file whose
    // owner was changed is used a moment later. Without the right to it, it is as it was.
    let _ = rustix::process::setpriority_process(None, AHEAD);
    if let Err(why) = follow(watch, feed, woken) {
        watch.judge.lost(Source::ExecTrace, Loss::Ended(why.to_string()));
    }
    watch.verifiers.finish(GRACE);
}

/// Reads until told to stop; what was told before is read to the end.
fn follow(watch: &Arc<Watch>, feed: &Feed, woken: &PipeReader) -> io::Result<()> {
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
    let clock = WallClock::of_node()?;
    let every =
        rustix::time::Timespec { tv_sec: COUNTERS_EVERY.as_secs().cast_signed(), tv_nsec: 0 };
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(feed.ring.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN),
        ];
        let telling = watch.changed.get().map(Changed::telling);
        fds.extend(telling.map(|it| PollFd::from_borrowed_fd(it.as_fd(), PollFlags::IN)));
        fds.extend(clock.told().map(|it| PollFd::from_borrowed_fd(it, PollFlags::IN)));
        match rustix::event::poll(&mut fds, Some(&every)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        let ending = fds[1].revents().contains(PollFlags::HUP);
        // The kernel's programs go by dates, too.
        if clock.was_set() {
            slot::forget_root(&feed.slots, feed.slot)?;
        }
        // Before the kills that they may be in time for.
        if let Some(telling) = telling {
            telling.hand_out()?;
        }
        events.consume().map_err(io::Error::other)?;
        if let Some(counters) = slot::counters(&feed.slots, feed.slot)
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
