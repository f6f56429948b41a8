//! From a question of the kernel's to its answer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use lacre_sys::fanotify::{Mask, Permission};
use lacre_types::{CanonicalPath, Content, Event, Measurement, Mode, Process};

use super::answer::measurement;
use super::code::{self, First, Opened, Told};
use super::event_file::{Facts, State, Subject, names};
use super::failure::{Failure, Ruling};
use super::ignore_marks::{Of, ignore_data};
use super::requester;
use super::responder::{Report, Responder, Waiting};
use super::verification::{Done, Found, Job, Purpose, Refusal};
use crate::{Answer, Block, KnownFile, Listing, Outcome, Verified};

impl Responder {
    pub(super) fn asked(&mut self, ask: Permission) {
        let pid = ask.pid();
        let exec = ask.mask().has(Mask::EXEC);
        let process = Process { pid, uid: None };
        let Ok(facts) = Facts::of(ask.file()) else {
            let state = State { dev: 0, ino: 0, size: 0, ctime: (0, 0) };
            let event = if exec { Event::Exec } else { Event::Open };
            let held = self.block == Block::Exec && !exec && !self.root.declared.any();
            let subject = Subject { event, path: None, state, process, digest: None, held };
            self.refuse(&ask, subject, Failure::NoFacts);
            return;
        };
        if !facts.regular || (!exec && self.ran.take(pid, &facts.state)) {
            self.allow(&ask);
            return;
        }
        let (path, known) = self.name(&ask, &facts);
        let event = if exec { self.exec_event(pid, path.as_ref()) } else { Event::Open };
        let digest = known.as_ref().map(|known| known.digest);
        let declared = !exec && self.root.is_declared(path.as_ref(), &facts, pid);
        let held = self.block == Block::Exec && !exec && !declared;
        let subject = Subject { event, path, state: facts.state, process, digest, held };
        if held {
            self.held(ask, subject, known.is_some(), &facts);
        } else if let Some(known) = known {
            self.known(ask, subject, (&known, declared), &facts);
        } else if exec {
            self.decide_run(ask, subject);
        } else {
            self.opened(ask, subject, declared, &facts);
        }
    }

    /// Who asks runs the file: what it holds decides.
    fn decide_run(&mut self, ask: Permission, subject: Subject) {
        let state = subject.state;
        if let Some(digest) = subject.digest {
            self.judged(ask, measurement(&subject, Content::Digest(digest)), state);
            return;
        }
        match self.listing(&subject) {
            Listing::Yes(size) if size.is_none_or(|size| size == state.size) => {
                self.submit(ask, subject, Purpose::Verdict);
            }
            Listing::Yes(_) | Listing::No => self.unlisted(ask, subject),
        }
    }

    fn listing(&self, subject: &Subject) -> Listing {
        subject.path.as_ref().map_or(Listing::No, |path| self.known.listed(path))
    }

    /// Its name in the container, and the file of the image that it still is.
    fn name(&self, ask: &Permission, facts: &Facts) -> (Option<CanonicalPath>, Option<KnownFile>) {
        if let Some((path, known)) = self.root.of_image(&*self.known, facts) {
            return (Some(path), Some(known));
        }
        let names = names(ask.file(), facts, Some(&self.rootfs));
        for name in &names {
            let known = self.known.by_path(name);
            if let Some(known) = known.filter(|known| self.root.is_same(known, facts)) {
                return (Some(name.clone()), Some(known));
            }
        }
        (names.into_iter().next(), None)
    }

    fn exec_event(&mut self, pid: u32, path: Option<&CanonicalPath>) -> Event {
        let path = path.map_or(&[][..], CanonicalPath::as_bytes);
        if self.interpreters.is_one(pid, path) { Event::Interpreter } else { Event::Exec }
    }

    /// A file of the image, as it was hashed: nothing to read, and whoever knows files by
    /// their identity has it already. It is kept still before the kernel has its answer.
    fn known(
        &mut self,
        ask: Permission,
        subject: Subject,
        (known, declared): (&KnownFile, bool),
        facts: &Facts,
    ) {
        let state = subject.state;
        let measurement = measurement(&subject, Content::Digest(known.digest));
        let allowed = self.shared.seat.judge.settled(&measurement);
        let mut same = true;
        // A settled file holds on to its mount: a volume must stay free to be unmounted.
        if allowed
            && self.root.has(facts)
            && let Ok(file) = ask.file().try_clone_to_owned()
        {
            let of = Of { state: &state, digest: &known.digest, path: subject.path.as_ref() };
            match self.settled.add_known(file, of, (self.mask, self.root.owns_image())) {
                Ok(is) => same = is,
                Err(failure) => self.shared.seat.note(failure),
            }
        }
        if !allowed || !same {
            // The image is not what its baseline says, or the file has just been changed, and
            // what it holds is to be read.
            let digest = subject.digest.filter(|_| same);
            match ask.mask().has(Mask::EXEC) {
                true => self.decide_run(ask, Subject { digest, ..subject }),
                false => {
                    let listing = Listing::Yes(Some(known.size));
                    self.submit(ask, subject, Purpose::Look(Told { listing, declared }));
                }
            }
            return;
        }
        let outcome = self.answer(&ask, self.rule(&measurement), &measurement);
        self.ran_now(&ask, outcome, state, measurement.event);
        self.shared.seat.judge.seen(measurement, outcome);
    }

    /// An open of a file of the image that changed, where opens are not blocked: it goes on
    /// whatever the file is, once whoever stands behind this source knows it.
    fn held(&mut self, ask: Permission, subject: Subject, known: bool, facts: &Facts) {
        match self.listing(&subject) {
            Listing::Yes(size) if !known && size.is_none_or(|size| size == subject.state.size) => {
                self.submit(ask, subject, Purpose::Verdict);
            }
            // It may be called otherwise by now than it was when it was asked for.
            _ if !known
                && self.root.declared.any()
                && !self.root.came_with_image(facts)
                && requester::may_interpret(ask.pid(), &self.programs) =>
            {
                let told = Told { listing: Listing::No, declared: false };
                self.submit(ask, Subject { held: false, ..subject }, Purpose::Place(told));
            }
            _ => {
                // What is foreign is code to whom it is so by its place later.
                if !self.mask.has(Mask::OPEN) || known || self.root.came_with_image(facts) {
                    self.ask_no_more(&ask, &subject.state);
                }
                self.allow(&ask);
            }
        }
    }

    /// Whatever it holds is a violation: it is read only for the report, afterwards. Where it
    /// may run all the same it is read first, since whoever stands behind this source must
    /// know it in time.
    fn unlisted(&mut self, ask: Permission, subject: Subject) {
        let state = subject.state;
        let content = Content::Size(state.size);
        self.judged(ask, measurement(&subject, content), state);
    }

    fn judged(&mut self, ask: Permission, mut measurement: Measurement, state: State) {
        measurement.process = requester::process(ask.pid());
        let path = measurement.path.clone();
        let ruling = self.rule(&measurement);
        if ruling == (Ruling { mode: Mode::Enforce, answer: Answer::Allow }) {
            let Measurement { event, process, .. } = measurement;
            let subject = Subject { event, path, state, process, digest: None, held: false };
            self.submit(ask, subject, Purpose::Verdict);
            return;
        }
        let outcome = self.answer(&ask, ruling, &measurement);
        self.ran_now(&ask, outcome, state, measurement.event);
        // What is told waits for the digest, and no longer than this, whatever the file becomes.
        let (id, dropped) = (self.id(), Arc::<AtomicBool>::default());
        let until = Instant::now() + self.limits.report_within;
        let job = (state.size <= self.limits.report_bytes && measurement.digest().is_none())
            .then(|| ask.into_file().ok())
            .flatten()
            .map(|file| Job {
                id,
                file,
                path,
                state,
                pid: measurement.process.pid,
                purpose: Purpose::Report,
                dropped: Arc::clone(&dropped),
            });
        if job.is_some_and(|job| self.readers.submit(job).is_ok()) {
            self.reports.insert(id, Report { measurement, outcome, until, dropped });
        } else {
            self.shared.seat.judge.seen(measurement, outcome);
        }
    }

    /// A file is opened that no baseline lists, or that is not the image's untouched one any more:
    /// to run it may be a violation, to read or write it is none.
    fn opened(&mut self, ask: Permission, subject: Subject, declared: bool, facts: &Facts) {
        let listing = self.listing(&subject);
        let told = Told { listing, declared };
        if listing != Listing::No {
            self.submit(ask, subject, Purpose::Look(told));
        } else if self.root.came_with_image(facts) {
            // Of what is code, a store to a shared mapping must not go unseen.
            if declared { self.allow(&ask) } else { self.data(&ask, &subject) }
        } else if !declared && self.first(&ask, &subject, facts) == First::Data {
            // Asked about again: the next to open it may run it.
            self.allow(&ask);
        } else {
            self.submit(ask, subject, Purpose::Look(told));
        }
    }

    fn first(&self, ask: &Permission, subject: &Subject, facts: &Facts) -> First {
        // First: what a server answers for is never read here.
        if !self.root.is_local(facts) {
            return First::Look;
        }
        let path = subject.path.as_ref().map_or(&[][..], CanonicalPath::as_bytes);
        let may_interpret = || requester::may_interpret(ask.pid(), &self.programs);
        code::head(ask.file()).map_or(First::Look, |head| code::first(&head, path, may_interpret))
    }

    /// The image's own, whoever opens it; asked about again once it was written to. Nothing is
    /// held for it: no lease, for which a writer with `O_NONBLOCK` would fail, and no descriptor.
    fn data(&mut self, ask: &Permission, subject: &Subject) {
        // Before the answer, after which it is somebody's.
        self.ask_no_more(ask, &subject.state);
        self.allow(ask);
        if let (Some(path), Some(ahead)) = (&subject.path, &mut self.ahead) {
            ahead.asked(path);
        }
    }

    /// Of data, until it is written to. Where directories are declared, its mark could outlive what
    /// it is: a store to a shared mapping takes none away, nor does a rename to such a place.
    fn ask_no_more(&self, ask: &Permission, state: &State) {
        if !self.root.declared.any() {
            self.note(ignore_data(&self.shared.asking.group, ask.file(), state));
        }
    }

    fn submit(&mut self, ask: Permission, mut subject: Subject, purpose: Purpose) {
        let Ok(file) = ask.file().try_clone_to_owned() else {
            self.refuse(&ask, subject, Failure::QueueFull);
            return;
        };
        subject.process = requester::process(ask.pid());
        let id = self.id();
        let dropped = Arc::new(AtomicBool::new(false));
        let job = Job {
            id,
            file,
            path: subject.path.clone(),
            state: subject.state,
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
        if let Some(Report { mut measurement, outcome, .. }) = self.reports.remove(&done.id) {
            if let Ok(Found::Digest(digest)) = done.found {
                measurement.content = Content::Digest(digest);
            }
            self.shared.seat.judge.seen(measurement, outcome);
            return;
        }
        let Some(Waiting { ask, mut subject, .. }) = self.waiting.remove(&done.id) else {
            return;
        };
        match done.found {
            Ok(Found::Verified(file)) => self.verified(ask, subject, file),
            Ok(Found::Opened(Opened::Data)) => self.allow(&ask),
            Ok(Found::Opened(Opened::Untold)) => self.read(&ask, &subject),
            Ok(Found::Opened(Opened::Run(event))) => {
                subject.event = event;
                self.decide_run(ask, subject);
            }
            // A report is nobody's who waits.
            Ok(Found::Digest(_)) => self.refuse(&ask, subject, Failure::Unreadable),
            Err(refusal) => self.unverified(&ask, subject, refusal),
        }
    }

    /// An interpreter opens a file that nothing tells to be code: told once, unless the policy has
    /// it refused.
    fn read(&mut self, ask: &Permission, subject: &Subject) {
        let measurement = measurement(subject, Content::Size(subject.state.size));
        let ruling = self.rule_by(|judge| judge.judge_reading(&measurement));
        let outcome = self.answer(ask, ruling, &measurement);
        if outcome == Outcome::Denied || self.readings.is_first(&subject.state) {
            self.shared.seat.judge.read(measurement, outcome);
        }
    }

    /// Answers while the file is kept still, and asks no more about it where the baseline
    /// allows it: its lease then lives on.
    fn verified(&mut self, ask: Permission, subject: Subject, file: Verified) {
        let (state, held) = (subject.state, subject.held);
        let digest = *file.digest();
        let measurement = measurement(&subject, Content::Digest(digest));
        let mut ruling = self.rule(&measurement);
        if ruling.answer == Answer::Allow {
            self.shared.seat.judge.passes(&file, &measurement);
        }
        if held {
            ruling.answer = Answer::Allow;
        }
        // Before the answer: its attributes may change once more until it runs.
        if ruling.answer == Answer::Allow
            && self.shared.seat.judge.settled(&measurement)
            && Facts::of(ask.file()).is_ok_and(|facts| self.root.has(&facts))
        {
            let of = Of { state: &state, digest: &digest, path: measurement.path.as_ref() };
            let added = self.settled.add(file, of, (self.mask.and(ask.mask()), true));
            self.note(added);
        }
        let outcome = self.answer(&ask, ruling, &measurement);
        self.ran_now(&ask, outcome, state, measurement.event);
        if !held {
            self.shared.seat.judge.seen(measurement, outcome);
        }
    }

    /// A wrong digest is told as such; a right one counts only if nobody could write.
    fn unverified(&mut self, ask: &Permission, subject: Subject, refusal: Refusal) {
        if subject.held {
            self.allow(ask);
            return;
        }
        let Refusal { failure, glimpse } = refusal;
        let state = subject.state;
        let content = match (glimpse, failure) {
            (Some(digest), _) => Content::Digest(digest),
            (None, Failure::TooLarge) => Content::Size(state.size),
            (None, _) => return self.refuse(ask, subject, failure),
        };
        let measurement = measurement(&subject, content);
        if self.shared.seat.judge.settled(&measurement) {
            return self.refuse(ask, subject, failure);
        }
        let outcome = self.answer(ask, self.rule(&measurement), &measurement);
        self.ran_now(ask, outcome, state, measurement.event);
        self.shared.seat.note(failure);
        self.shared.seat.judge.seen(measurement, outcome);
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
