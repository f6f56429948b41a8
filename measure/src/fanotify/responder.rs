//! The thread that answers.
//!
//! It owns the group's events, their answers, and the time that they take. It must not
//! open, execute or log to a marked file system, nor wait for anything but its poll:
//! what may wait (a file's content, a command line) is a reader's.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lacre_sys::fanotify::{Event, Group, Mask, Permission};
use lacre_sys::lease::Leases;
use lacre_types::{Measurement, Mode, Source};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::failure::{Counters, Failure, Follows};
use super::limits::Limits;
use super::marks::Marks;
use super::opener::Home;
use super::read::Readers;
use super::recent::{Interpreters, Ran};
use super::root::Root;
use super::settled::Settled;
use super::subject::Subject;
use crate::{Block, Judge, Known, Loss, Outcome, Target};

/// What the thread shares with who armed it.
pub(super) struct Shared {
    pub(super) group: Arc<Group>,
    pub(super) wake: Arc<OwnedFd>,
    pub(super) stop: AtomicBool,
    pub(super) counters: Counters,
    pub(super) judge: Arc<dyn Judge>,
}

impl Shared {
    /// Counts it, and reports it where nobody can be refused any more.
    pub(super) fn note(&self, failure: Failure) {
        self.counters.count(failure);
        if failure.follows() == Follows::Lost {
            let loss = match failure {
                Failure::Overflow => Loss::Overflow(None),
                Failure::Unopened => Loss::Overflow(Some(1)),
                other => Loss::Ended(other.reason().to_owned()),
            };
            self.judge.lost(Source::Fanotify, loss);
        }
    }
}

pub(super) struct Responder {
    pub(super) shared: Arc<Shared>,
    pub(super) known: Arc<dyn Known>,
    pub(super) mode: Mode,
    pub(super) block: Block,
    pub(super) mask: Mask,
    pub(super) own: u32,
    pub(super) home: Home,
    pub(super) root: Arc<Root>,
    pub(super) rootfs: std::path::PathBuf,
    pub(super) limits: Limits,
    pub(super) readers: Readers,
    pub(super) settled: Settled,
    pub(super) interpreters: Interpreters,
    pub(super) ran: Ran,
    pub(super) waiting: BTreeMap<u64, Waiting>,
    pub(super) reports: BTreeMap<u64, (Measurement, Outcome)>,
    pub(super) next: u64,
    /// Gone when the container's init is: its mounts are not held on to.
    marks: Option<(Marks, OwnedFd)>,
}

/// A process whose file is being read.
pub(super) struct Waiting {
    pub(super) ask: Permission,
    pub(super) subject: Subject,
    pub(super) until: Instant,
    pub(super) dropped: Arc<AtomicBool>,
}

impl Responder {
    /// On the thread that will run it: leases signal the thread that took them.
    pub(super) fn new(
        target: &Target,
        shared: &Arc<Shared>,
        (root, home): (Root, Home),
        (marks, init): (Marks, OwnedFd),
        (mask, limits): (Mask, Limits),
    ) -> std::io::Result<Self> {
        let root = Arc::new(root);
        let settled = Settled::new(Leases::here()?, Arc::clone(&shared.group), &limits);
        Ok(Self {
            known: Arc::clone(&target.known),
            mode: target.mode,
            block: target.block,
            mask,
            own: std::process::id(),
            home,
            rootfs: target.rootfs.clone(),
            readers: Readers::new(Arc::clone(&root), Arc::clone(&shared.wake), limits),
            root,
            limits,
            settled,
            interpreters: Interpreters::default(),
            ran: Ran::default(),
            waiting: BTreeMap::new(),
            reports: BTreeMap::new(),
            next: 0,
            marks: Some((marks, init)),
            shared: Arc::clone(shared),
        })
    }

    /// Answers until it is told to stop.
    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            let Ok(ready) = self.wait() else { break };
            // Writers first: they wait for nothing but us.
            if ready.writers {
                let let_in = self.settled.let_writers_in();
                self.note(let_in);
            }
            if ready.woken {
                let _ = rustix::io::read(&*self.shared.wake, &mut [0_u8; 8]);
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
            if ready.init_gone {
                self.marks = None;
                self.settled.end();
            }
        }
        self.end();
    }

    fn note(&self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.shared.note(failure);
        }
    }

    fn wait(&self) -> rustix::io::Result<Ready> {
        let deadline = self.waiting.first_key_value().map(|(_, waiting)| waiting.until);
        let until = deadline.into_iter().chain(self.settled.next_sweep()).min();
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
            PollFd::new(&*self.shared.group, PollFlags::IN),
            PollFd::new(&*self.shared.wake, PollFlags::IN),
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
        let unless_told = super::raw(Failure::Unreadable.answer(self.mode));
        let mut events = Vec::new();
        let read = self.shared.group.read(unless_told, &mut events);
        for event in events {
            match event {
                Event::Asked(ask) => self.asked(ask),
                Event::Overflow => self.shared.note(Failure::Overflow),
            }
        }
        if read.is_err() && !self.shared.stop.load(Ordering::Acquire) {
            self.shared.note(Failure::Unopened);
        }
    }

    /// Answers those whose time is over.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.waiting.first_entry().filter(|first| first.get().until <= now)
        {
            let waiting = first.remove();
            waiting.dropped.store(true, Ordering::Relaxed);
            self.refuse(&waiting.ask, waiting.subject, Failure::Deadline);
        }
    }

    fn mark(&mut self) {
        let Some((marks, _)) = &mut self.marks else { return };
        if marks.apply(&self.shared.group, true).is_err() {
            self.shared.note(Failure::Unmarked);
        }
        // A bind mount gives a file another name.
        let reset = self.settled.reset();
        self.note(reset);
    }

    /// After the group has closed: nobody waits any more, and all of them ran.
    fn end(mut self) {
        let _ = self.shared.group.close();
        self.settled.end();
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            let reason = "the source was disarmed".to_owned();
            let content = lacre_types::Content::Unread(reason);
            self.shared
                .judge
                .seen(super::decide::measurement(waiting.subject, content), Outcome::Ran);
        }
        for (_, (measurement, outcome)) in std::mem::take(&mut self.reports) {
            self.shared.judge.seen(measurement, outcome);
        }
    }
}

struct Ready {
    events: bool,
    woken: bool,
    writers: bool,
    mounts: bool,
    init_gone: bool,
}
