//! From a question of the kernel's to its answer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime};

use lacre_sys::fanotify::{Mask, Permission};
use lacre_types::{CanonicalPath, Content, Digest, Event, Measurement, Mode, Process, Source};

use super::failure::Failure;
use super::read::{Done, Found, Job, Purpose};
use super::responder::{Responder, Waiting};
use super::subject::{Facts, State, Subject, names};
use super::{code, opener, raw, read, root};
use crate::{Answer, Block, KnownFile, Listing, Outcome};

/// What to do with an open that no baseline lists.
enum Quick {
    Data,
    Code(Event),
    /// Only what may wait tells.
    Look,
}

impl Responder {
    pub(super) fn asked(&mut self, ask: Permission) {
        let pid = ask.pid();
        if pid == self.own || self.home.has(pid) {
            self.allow(&ask);
            return;
        }
        let exec = ask.mask().has(Mask::EXEC);
        let process = Process { pid, uid: None };
        let Ok(facts) = Facts::of(ask.file()) else {
            let state = State { dev: 0, ino: 0, size: 0, ctime: (0, 0) };
            let event = if exec { Event::Exec } else { Event::Open };
            let subject = Subject { event, path: None, state, process };
            self.refuse(&ask, subject, Failure::NoFacts);
            return;
        };
        if !facts.regular || (!exec && self.ran.take(pid, &facts.state)) {
            self.allow(&ask);
            return;
        }
        let (path, known) = self.name(&ask, &facts);
        let event = if exec { self.exec_event(pid, path.as_ref()) } else { Event::Open };
        let subject = Subject { event, path, state: facts.state, process };
        if let Some(known) = known {
            self.known(ask, subject, &known);
            return;
        }
        let listed = subject.path.as_ref().map_or(Listing::No, |path| self.known.listed(path));
        match listed {
            Listing::No if exec => self.unlisted(ask, subject),
            Listing::No => self.opened(ask, subject),
            Listing::Yes(Some(size)) if size != facts.state.size => self.unlisted(ask, subject),
            Listing::Yes(_) => self.submit(ask, subject, Purpose::Verdict),
        }
    }

    /// Its name in the container, and the file of the image that it still is.
    fn name(&self, ask: &Permission, facts: &Facts) -> (Option<CanonicalPath>, Option<KnownFile>) {
        let names = names(ask.file(), facts, Some(&self.rootfs));
        for name in &names {
            let known = self.known.by_path(name);
            if let Some(known) = known.filter(|known| self.root.is_same(known, &facts.state)) {
                return (Some(name.clone()), Some(known));
            }
        }
        (names.into_iter().next(), None)
    }

    fn exec_event(&mut self, pid: u32, path: Option<&CanonicalPath>) -> Event {
        let path = path.map_or(&[][..], CanonicalPath::as_bytes);
        if self.interpreters.is_one(pid, path) { Event::Interpreter } else { Event::Exec }
    }

    /// A file of the image, as it was hashed: nothing to read.
    fn known(&mut self, ask: Permission, subject: Subject, known: &KnownFile) {
        let state = subject.state;
        let measurement = measurement(subject, Content::Digest(known.digest));
        let answer = self.shared.judge.judge(&measurement);
        self.finish(ask, measurement, answer, state);
    }

    /// Whatever it holds is a violation: it is read only for the report, afterwards.
    fn unlisted(&mut self, ask: Permission, mut subject: Subject) {
        subject.process = opener::process(ask.pid());
        let state = subject.state;
        let path = subject.path.clone();
        let measurement = measurement(subject, Content::Size(state.size));
        let answer = self.shared.judge.judge(&measurement);
        let outcome = self.answer(&ask, answer, &measurement);
        self.ran_now(&ask, outcome, state, measurement.event);
        let id = self.id();
        let job = (state.size <= self.limits.report_bytes)
            .then(|| ask.into_file().ok())
            .flatten()
            .map(|file| Job {
                id,
                file,
                path,
                state,
                origin: None,
                pid: measurement.process.pid,
                purpose: Purpose::Report,
                dropped: Arc::default(),
            });
        if job.is_some_and(|job| self.readers.submit(job).is_ok()) {
            self.reports.insert(id, (measurement, outcome));
        } else {
            self.shared.judge.seen(measurement, outcome);
        }
    }

    /// A file that no baseline lists is opened: code is a violation, data is not.
    fn opened(&mut self, ask: Permission, mut subject: Subject) {
        match self.quick(&ask, &subject) {
            Quick::Data => self.data(ask, &subject),
            Quick::Look => self.submit(ask, subject, Purpose::Look),
            Quick::Code(event) => {
                subject.event = event;
                self.unlisted(ask, subject);
            }
        }
    }

    fn quick(&self, ask: &Permission, subject: &Subject) -> Quick {
        if subject.state.size == 0 {
            return Quick::Data;
        }
        if !root::is_local(ask.file()) {
            return Quick::Look;
        }
        let path = subject.path.as_ref().map_or(&[][..], CanonicalPath::as_bytes);
        match read::head(ask.file()).map(|head| code::by_content(&head, path)) {
            Ok(Some(event)) => Quick::Code(event),
            Ok(None) if !opener::may_interpret(ask.pid()) => Quick::Data,
            Ok(None) | Err(_) => Quick::Look,
        }
    }

    fn data(&mut self, ask: Permission, subject: &Subject) {
        self.allow(&ask);
        self.settle(ask, subject.path.as_ref(), &subject.state, Mask::OPEN);
    }

    fn submit(&mut self, ask: Permission, mut subject: Subject, purpose: Purpose) {
        let Ok(file) = ask.file().try_clone_to_owned() else {
            self.refuse(&ask, subject, Failure::QueueFull);
            return;
        };
        subject.process = opener::process(ask.pid());
        let id = self.id();
        let dropped = Arc::new(AtomicBool::new(false));
        let job = Job {
            id,
            file,
            path: subject.path.clone(),
            state: subject.state,
            origin: self.origin(subject.path.as_ref()),
            pid: ask.pid(),
            purpose,
            dropped: Arc::clone(&dropped),
        };
        if self.waiting.len() >= self.limits.waiting {
            self.refuse(&ask, subject, Failure::QueueFull);
            return;
        }
        if let Err(failure) = self.readers.submit(job) {
            self.refuse(&ask, subject, failure);
            return;
        }
        let until = Instant::now() + self.limits.deadline;
        self.waiting.insert(id, Waiting { ask, subject, until, dropped });
    }

    /// A reader is done with a file.
    pub(super) fn complete(&mut self, done: Done) {
        if let Some((mut measurement, outcome)) = self.reports.remove(&done.id) {
            if let Ok(Found::Digest { digest, .. }) = done.found {
                measurement.content = Content::Digest(digest);
            }
            self.shared.judge.seen(measurement, outcome);
            return;
        }
        let Some(Waiting { ask, mut subject, .. }) = self.waiting.remove(&done.id) else {
            return;
        };
        match done.found {
            Ok(Found::Digest { digest, alone }) => self.was_read(ask, subject, digest, alone),
            Ok(Found::Code(None)) => self.data(ask, &subject),
            Ok(Found::Code(Some(event))) => {
                subject.event = event;
                self.unlisted(ask, subject);
            }
            Err(failure) => self.refuse(&ask, subject, failure),
        }
    }

    /// A wrong digest is told as such; a right one counts only if nobody could write.
    fn was_read(&mut self, ask: Permission, subject: Subject, digest: Digest, alone: bool) {
        let (path, state) = (subject.path.clone(), subject.state);
        let measurement = measurement(subject, Content::Digest(digest));
        let answer = self.shared.judge.judge(&measurement);
        let counts = self.mode == Mode::Enforce || self.shared.judge.settled(&measurement);
        if answer == Answer::Allow && counts && !alone {
            let Measurement { event, process, .. } = measurement;
            self.refuse(&ask, Subject { event, path, state, process }, Failure::Writer);
        } else {
            self.finish(ask, measurement, answer, state);
        }
    }

    /// Answers by a digest, and asks no more about a file that the baseline allows.
    fn finish(&mut self, ask: Permission, measurement: Measurement, answer: Answer, state: State) {
        let outcome = self.answer(&ask, answer, &measurement);
        self.ran_now(&ask, outcome, state, measurement.event);
        if outcome == Outcome::Ran && self.shared.judge.settled(&measurement) {
            self.settle(ask, measurement.path.as_ref(), &state, self.mask);
        }
        self.shared.judge.seen(measurement, outcome);
    }

    /// Answers for a failure, as its table says.
    pub(super) fn refuse(&self, ask: &Permission, subject: Subject, failure: Failure) {
        let outcome = self.respond(ask, failure.answer(self.mode));
        self.shared.note(failure);
        let content = Content::Unread(failure.reason().to_owned());
        self.shared.judge.seen(measurement(subject, content), outcome);
    }

    fn allow(&self, ask: &Permission) {
        self.respond(ask, Answer::Allow);
    }

    /// Answers, and before it lets something run, says so.
    fn answer(&self, ask: &Permission, answer: Answer, measurement: &Measurement) -> Outcome {
        if answer == Answer::Allow && ask.mask().has(Mask::EXEC) {
            self.shared.judge.passes(ask.file(), measurement);
        }
        self.respond(ask, answer)
    }

    fn respond(&self, ask: &Permission, answer: Answer) -> Outcome {
        let answer = if self.mode == Mode::Audit { Answer::Allow } else { answer };
        if ask.answer(raw(answer)).is_err() {
            self.shared.note(Failure::Response);
        }
        match answer {
            Answer::Allow => Outcome::Ran,
            Answer::Deny => Outcome::Denied,
        }
    }

    /// Expects what follows an exec that was allowed.
    fn ran_now(&mut self, ask: &Permission, outcome: Outcome, state: State, event: Event) {
        if outcome != Outcome::Ran || !matches!(event, Event::Exec | Event::Interpreter) {
            return;
        }
        if self.block == Block::All {
            self.ran.note(ask.pid(), state);
        }
        if let Ok(head) = read::head(ask.file()).and_then(|head| {
            if root::is_local(ask.file()) { Ok(head) } else { Err(Failure::Unreadable) }
        }) {
            self.interpreters.announce(ask.pid(), &head);
        }
    }

    fn settle(&mut self, ask: Permission, path: Option<&CanonicalPath>, state: &State, mask: Mask) {
        // A settled file holds on to its mount: a volume must stay free to be unmounted.
        if !self.root.has(state) {
            return;
        }
        let Ok(file) = ask.into_file() else { return };
        let origin = self.origin(path);
        let alone = || self.root.still(path, state, origin).is_ok();
        if let Err(failure) = self.settled.add(file, state, (mask, self.root.owns(state)), alone) {
            self.shared.note(failure);
        }
    }

    fn origin(&self, path: Option<&CanonicalPath>) -> Option<u64> {
        path.and_then(|path| self.known.by_path(path)).map(|known| known.id.ino)
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

pub(super) fn measurement(subject: Subject, content: Content) -> Measurement {
    Measurement {
        source: Source::Fanotify,
        event: subject.event,
        path: subject.path,
        content,
        process: subject.process,
        time: SystemTime::now(),
    }
}
