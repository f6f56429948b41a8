//! The thread that answers.
//!
//! It owns the group's events, their answers, and the time that they take. It must not
//! open, execute or log to a marked file system, nor wait for anything but its poll:
//! what may wait (a file's content, a command line) is a reader's.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use lacre_sys::fanotify::{Event, Mask, Permission};
use lacre_sys::lease::Leases;
use lacre_types::Measurement;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::event_file::Subject;
use super::failure::Failure;
use super::groups::{Asker, Asking};
use super::ignore_marks::Settled;
use super::limits::Limits;
use super::look_ahead::LookAhead;
use super::marker::Marker;
use super::programs::Programs;
use super::readings::Readings;
use super::recent_execs::{Interpreters, Ran};
use super::root::Root;
use super::seat::{Seat, lock};
use super::verification::Readers;
use crate::unlinked::Unlinked;
use crate::{Block, Known, Outcome, Target};

/// How often the queue is read once nothing is marked any more: 1,024 questions.
const LAST_READS: usize = 16;

/// What the thread shares with who armed it.
pub(super) struct Shared {
    pub(super) asking: Arc<Asking>,
    pub(super) seat: Arc<Seat>,
    pub(super) unlinked: Arc<Unlinked>,
    pub(super) stop: AtomicBool,
    /// Who waits until opens are asked about too.
    pub(super) widening: Mutex<Vec<mpsc::SyncSender<std::io::Result<()>>>>,
}

pub(super) struct Responder {
    pub(super) shared: Arc<Shared>,
    pub(super) known: Arc<dyn Known>,
    pub(super) block: Block,
    pub(super) mask: Mask,
    pub(super) root: Arc<Root>,
    pub(super) rootfs: std::path::PathBuf,
    pub(super) limits: Limits,
    pub(super) readers: Readers,
    pub(super) programs: Arc<Programs>,
    pub(super) settled: Settled,
    /// Gone with the container's init, too.
    pub(super) ahead: Option<LookAhead>,
    pub(super) interpreters: Interpreters,
    pub(super) ran: Ran,
    pub(super) readings: Readings,
    pub(super) waiting: BTreeMap<u64, Waiting>,
    pub(super) reports: BTreeMap<u64, Report>,
    pub(super) next: u64,
    /// Gone when the container's init is: its mounts are not held on to.
    marks: Option<(Marker, OwnedFd)>,
    /// Who waits until what is opened is asked about, too.
    widening: Option<Vec<mpsc::SyncSender<std::io::Result<()>>>>,
}

/// A process whose file is being read.
pub(super) struct Waiting {
    pub(super) ask: Permission,
    pub(super) subject: Subject,
    pub(super) until: Instant,
    pub(super) dropped: Arc<AtomicBool>,
}

/// What was answered, and is told with what its file holds.
pub(super) struct Report {
    pub(super) measurement: Measurement,
    pub(super) outcome: Outcome,
    pub(super) until: Instant,
    pub(super) dropped: Arc<AtomicBool>,
}

impl Responder {
    /// On the thread that will run it: leases signal the thread that took them.
    pub(super) fn new(
        target: &Target,
        shared: &Arc<Shared>,
        (root, at): (Arc<Root>, Arc<OwnedFd>),
        (marks, init): (Marker, OwnedFd),
        (mask, limits): (Mask, Limits),
    ) -> std::io::Result<Self> {
        let programs = Arc::new(Programs::of(&target.known));
        let at = at.as_fd().try_clone_to_owned()?;
        let asking = (Arc::clone(&shared.asking), Arc::clone(&shared.seat));
        let known = Arc::clone(&target.known);
        let ahead = LookAhead::new(asking, known, (Arc::clone(&root), at), limits.idle);
        let (group, judge) = (Arc::clone(&shared.asking.group), Arc::clone(&shared.seat.judge));
        let settled = Settled::new(Leases::here()?, group, judge, &limits);
        shared.seat.asks_opens.store(mask.has(Mask::OPEN), Ordering::Release);
        Ok(Self {
            known: Arc::clone(&target.known),
            block: target.block,
            mask,
            rootfs: target.rootfs.clone(),
            readers: Readers::new(
                (
                    target.layers().with(Arc::clone(&shared.unlinked)),
                    Arc::clone(&root),
                    target.rootfs.clone(),
                ),
                Arc::clone(&programs),
                Arc::clone(&shared.seat.wake),
                limits,
            ),
            programs,
            root,
            limits,
            settled,
            ahead: Some(ahead),
            interpreters: Interpreters::default(),
            ran: Ran::default(),
            readings: Readings::default(),
            waiting: BTreeMap::new(),
            reports: BTreeMap::new(),
            next: 0,
            marks: Some((marks, init)),
            widening: None,
            shared: Arc::clone(shared),
        })
    }

    /// Answers until it is told to stop.
    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            let Ok(ready) = self.wait() else { break };
            self.shared.seat.turn_begins();
            // Writers first: they wait for nothing but us.
            if ready.writers {
                let let_in = self.settled.let_writers_in();
                self.note(let_in);
            }
            if ready.woken {
                let _ = rustix::io::read(&*self.shared.seat.wake, &mut [0_u8; 8]);
                self.widen();
                for ask in self.shared.seat.questions() {
                    self.asked(ask);
                }
                for done in self.readers.done() {
                    self.complete(done);
                }
            }
            if ready.events {
                self.take_events();
            }
            self.expire();
            let swept = self.settled.sweep();
            self.note(swept);
            if ready.mounts {
                self.mark();
            }
            self.marked();
            if ready.init_gone {
                self.marks = None;
                self.widened(Ok(()));
                self.ahead = None;
                self.settled.end();
            }
            self.shared.seat.turn_ends();
        }
        self.end();
    }

    pub(super) fn note(&self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.shared.seat.note(failure);
        }
    }

    fn wait(&self) -> rustix::io::Result<Ready> {
        let deadline = self.waiting.first_key_value().map(|(_, waiting)| waiting.until);
        let report = self.reports.first_key_value().map(|(_, report)| report.until);
        let marks = self.marks.as_ref().and_then(|(marks, _)| marks.deadline());
        let sweep = self.settled.next_sweep();
        let until = deadline.into_iter().chain(report).chain(sweep).chain(marks).min();
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            // Rounded up, so that a deadline has passed when poll returns.
            let left = left + Duration::from_millis(1);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let writers = self.settled.writers();
        let mut fds = vec![
            PollFd::new(&*self.shared.asking.group, PollFlags::IN),
            PollFd::new(&*self.shared.seat.wake, PollFlags::IN),
            PollFd::from_borrowed_fd(writers, PollFlags::IN),
        ];
        if let Some((marks, init)) = &self.marks {
            fds.push(PollFd::from_borrowed_fd(marks.table(), PollFlags::PRI));
            fds.push(PollFd::from_borrowed_fd(init.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let is = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        // The table polls as readable at all times; PRI and ERR say that it changed.
        let changed = |at: usize| {
            fds.get(at).is_some_and(|fd| fd.revents().intersects(PollFlags::PRI | PollFlags::ERR))
        };
        Ok(Ready {
            events: is(0),
            woken: is(1),
            writers: is(2),
            mounts: changed(3),
            init_gone: is(4),
        })
    }

    fn take_events(&mut self) {
        let unless_told = super::seat::raw(Failure::Unreadable.answer(self.shared.seat.mode()));
        let mut events = Vec::new();
        let read = self.shared.asking.group.read(unless_told, &mut events);
        // Others' first: what is ours may take a moment.
        let mut own = Vec::new();
        for event in events {
            match event {
                Event::Asked(ask) => {
                    if let Asker::Own(ask) = self.shared.asking.hand(&self.shared.seat, ask) {
                        own.push(ask);
                    }
                }
                Event::Unopened { mask, pid } => self.shared.asking.unopened(mask, pid),
                Event::Overflow => self.shared.asking.note(Failure::Overflow),
            }
        }
        own.into_iter().for_each(|ask| self.asked(ask));
        if read.is_err() && !self.shared.stop.load(Ordering::Acquire) {
            self.shared.asking.note(Failure::Unopened);
        }
    }

    /// Answers those whose time is over, and tells what was answered without its digest.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.waiting.first_entry().filter(|first| first.get().until <= now)
        {
            let waiting = first.remove();
            waiting.dropped.store(true, Ordering::Relaxed);
            self.refuse(&waiting.ask, waiting.subject, Failure::Deadline);
        }
        while let Some(first) = self.reports.first_entry().filter(|first| first.get().until <= now)
        {
            let Report { measurement, outcome, dropped, .. } = first.remove();
            dropped.store(true, Ordering::Relaxed);
            self.shared.seat.judge.seen(measurement, outcome);
        }
    }

    /// Asks about opens too, for those who wait for that: the policy has come to declare code
    /// directories, and what was data may come to lie in one. It stays so: who asks no more about
    /// what is opened can't tell what was.
    fn widen(&mut self) {
        let waiting = std::mem::take(&mut *lock(&self.shared.widening));
        if !waiting.is_empty() {
            self.shared.asking.forget_inodes();
        }
        let for_another = self.shared.seat.to_widen.swap(false, Ordering::AcqRel);
        if !waiting.is_empty() || for_another {
            let begun = self.widening.is_some();
            self.widening.get_or_insert_default().extend(waiting);
            match self.marks.as_ref().filter(|_| !self.mask.has(Mask::OPEN)) {
                Some((marks, _)) if !begun => {
                    marks.widen(Mask::OPEN);
                    marks.begin();
                }
                Some(_) => {}
                None => self.widened(Ok(())),
            }
        }
        let forgotten = self.shared.asking.forget_if_due();
        self.note(forgotten);
    }

    fn widened(&mut self, outcome: std::io::Result<()>) {
        let Some(waiting) = self.widening.take() else { return };
        if outcome.is_ok() {
            self.mask = self.mask.and(Mask::OPEN);
            self.shared.seat.asks_opens.store(true, Ordering::Release);
        }
        for waits in waiting {
            let told = outcome.as_ref().map_or_else(
                |error| Err(std::io::Error::new(error.kind(), error.to_string())),
                |()| Ok(()),
            );
            // Who does not wait any more has called it a failure.
            let _ = waits.try_send(told);
        }
        let forgotten = self.shared.asking.forget_if_due();
        self.note(forgotten);
    }

    fn mark(&mut self) {
        let Some((marks, _)) = &self.marks else { return };
        marks.begin();
        self.root.refresh();
        // A bind mount gives a file another name.
        let reset = self.settled.reset();
        self.note(reset);
    }

    /// Hears from who marks.
    fn marked(&mut self) {
        let Some(outcome) = self.marks.as_ref().and_then(|(marks, _)| marks.outcome()) else {
            return;
        };
        if outcome.is_err() {
            self.shared.seat.note(Failure::Unmarked);
        }
        self.widened(outcome);
    }

    /// Who waits is refused as for any other reason, and nobody is asked for any more: what
    /// the kernel still has when its last container leaves the group would run.
    fn end(mut self) {
        self.ahead = None;
        self.settled.end();
        if let Some((marks, _)) = &self.marks {
            marks.remove();
        }
        for _ in 0..LAST_READS {
            self.take_events();
        }
        for ask in self.shared.seat.questions() {
            self.asked(ask);
        }
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            waiting.dropped.store(true, Ordering::Relaxed);
            self.refuse(&waiting.ask, waiting.subject, Failure::Disarmed);
        }
        for (_, Report { measurement, outcome, dropped, .. }) in std::mem::take(&mut self.reports) {
            dropped.store(true, Ordering::Relaxed);
            self.shared.seat.judge.seen(measurement, outcome);
        }
        self.shared.asking.leave(&self.shared.seat);
    }
}

struct Ready {
    events: bool,
    woken: bool,
    writers: bool,
    mounts: bool,
    init_gone: bool,
}
