//! The kernel's answer, and what follows it.

use std::time::SystemTime;

use lacre_sys::fanotify::{Mask, Permission};
use lacre_types::{Content, Event, Measurement, Mode, Source};

use super::code;
use super::event_file::{Facts, State, Subject};
use super::failure::{Failure, Ruling};
use super::responder::Responder;
use super::seat::raw;
use crate::{Answer, Judge, Outcome};

impl Responder {
    /// Answers for a failure, as its table says.
    pub(super) fn refuse(&self, ask: &Permission, subject: Subject, failure: Failure) {
        if subject.held {
            self.allow(ask);
            return;
        }
        let measurement = measurement(&subject, Content::Unread(failure.reason().to_owned()));
        let ruling = Ruling::of_failure(self.shared.seat.mode(), failure);
        let outcome = self.answer(ask, ruling, &measurement);
        self.shared.seat.note(failure);
        self.shared.seat.judge.seen(measurement, outcome);
    }

    pub(super) fn allow(&self, ask: &Permission) {
        self.respond(ask, Ruling { mode: self.shared.seat.mode(), answer: Answer::Allow });
    }

    /// What the judge says. The mode is read first: where it comes to be enforce in between,
    /// the answer is an audit's.
    pub(super) fn rule(&self, measurement: &Measurement) -> Ruling {
        self.rule_by(|judge| judge.judge(measurement))
    }

    pub(super) fn rule_by(&self, judge: impl FnOnce(&dyn Judge) -> Answer) -> Ruling {
        let mode = self.shared.seat.mode();
        let asked = judge(&*self.shared.seat.judge);
        Ruling { mode, answer: if mode == Mode::Audit { Answer::Allow } else { asked } }
    }

    /// Who is refused may be gone as soon as he has the answer, and another source look for what
    /// he ran.
    pub(super) fn answer(
        &self,
        ask: &Permission,
        ruling: Ruling,
        measurement: &Measurement,
    ) -> Outcome {
        if ruling.answer == Answer::Deny {
            self.shared.seat.judge.refuses(measurement);
        }
        self.respond(ask, ruling)
    }

    fn respond(&self, ask: &Permission, ruling: Ruling) -> Outcome {
        if ask.answer(raw(ruling.answer)).is_err() {
            self.shared.seat.note(Failure::Response);
        }
        ruling.outcome()
    }

    /// Expects what follows an exec that was allowed.
    pub(super) fn ran_now(
        &mut self,
        ask: &Permission,
        outcome: Outcome,
        state: State,
        event: Event,
    ) {
        if !outcome.ran() || !matches!(event, Event::Exec | Event::Interpreter) {
            return;
        }
        if self.mask.has(Mask::OPEN) {
            self.ran.note(ask.pid(), state);
        }
        if Facts::of(ask.file()).is_ok_and(|facts| self.root.is_local(&facts))
            && let Ok(head) = code::head(ask.file())
        {
            self.interpreters.announce(ask.pid(), &head);
        }
    }
}

pub(super) fn measurement(subject: &Subject, content: Content) -> Measurement {
    Measurement {
        source: Source::Fanotify,
        event: subject.event,
        path: subject.path.clone(),
        content,
        process: subject.process,
        time: SystemTime::now(),
    }
}
