//! What follows what in a container's life: events in, effects out. No I/O, no clock.
//!
//! Two promises, each a property test below: from no state, by no sequence of events, does an
//! unguarded container run in enforce mode; and from none is a running one forgotten.

use lacre_types::Mode;

/// What has come of what is done between Create and Start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prepared {
    /// The inner shim has not created it: there is no container.
    NotCreated,
    /// Its sources are armed.
    Guarded,
    /// It can't be guarded, and audit mode runs it all the same.
    Blind,
    /// It must not start.
    Refused,
}

/// What a machine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// All that comes before Start has been done, or given up.
    Prepared(Prepared),
    /// A client wants it started.
    StartAsked,
    /// The policy, from now on, is for enforce.
    Tightened,
    /// The sources can't be made to hold back.
    TightenFailed,
    /// The inner shim has ended.
    InnerGone,
    /// Delete, or `delete`: it is to end.
    EndAsked,
    /// containerd has been away, with the inner shim gone, for as long as is allowed.
    AwayTooLong,
    /// There is no process of it any more.
    ProcessesGone,
    /// It is disarmed, and all that was seen is judged and told.
    Settled,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The Start that was asked for is handed on.
    Permit,
    /// The Start that was asked for is refused.
    Refuse,
    /// Every source holds back from now on, what runs already is looked through.
    Tighten,
    /// Its processes are killed.
    Kill,
    /// [`Event::ProcessesGone`] is to be told when it is so.
    Watch,
    /// [`Event::AwayTooLong`] is to be told when it is so.
    Clock,
    /// Disarmed, accounted for; then [`Event::Settled`]. The wall comes down here alone.
    Settle,
    /// Nothing of it is kept any more; its id is long since free.
    Erase,
}

/// Where a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Between Create and what came of it.
    Creating,
    /// It may start.
    Guarded,
    /// Audit mode: it may start, and nobody sees what it runs.
    Blind,
    /// It was created, and will not start.
    Refused,
    /// Start was handed on; whether it was guarded.
    Running {
        /// Or blind.
        guarded: bool,
    },
    /// It is to end, and processes of it may be there still; whether they are guarded.
    Ending {
        /// Or blind, or never started.
        guarded: bool,
    },
    /// It is being disarmed.
    Settling,
    /// It is gone.
    Ended,
}

/// One container's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    state: State,
    mode: Mode,
    /// The inner shim is there: a Start can be handed on.
    inner: bool,
    /// Somebody asked for its end before it could come.
    to_end: bool,
    /// Somebody waits for its last process already.
    watched: bool,
}

impl Machine {
    /// A container whose Create is about to be handed on.
    pub(crate) const fn new(mode: Mode) -> Self {
        let state = State::Creating;
        Self { state, mode, inner: true, to_end: false, watched: false }
    }

    #[cfg(test)]
    const fn state(&self) -> State {
        self.state
    }

    /// One step. An event that says nothing new has no effect.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Effect> {
        use Effect::{Clock, Erase, Kill, Permit, Refuse, Settle, Tighten};
        use State::{Blind, Creating, Ended, Ending, Guarded, Refused, Running, Settling};
        match (event, self.state) {
            (Event::Prepared(prepared), Creating) => self.prepared(prepared),

            (Event::StartAsked, Guarded) if self.can_start() => {
                self.state = Running { guarded: true };
                vec![Permit]
            }
            // An exec, and a Start that failed and is tried again.
            (Event::StartAsked, Running { .. }) if self.can_start() => vec![Permit],
            (Event::StartAsked, Blind) if self.can_start() && self.mode == Mode::Audit => {
                self.state = Running { guarded: false };
                vec![Permit]
            }
            (Event::StartAsked, _) => vec![Refuse],

            (Event::Tightened, _) if self.mode == Mode::Enforce => vec![],
            (Event::Tightened, state) => {
                self.mode = Mode::Enforce;
                match state {
                    Guarded | Running { guarded: true } | Ending { guarded: true } => {
                        vec![Tighten]
                    }
                    Running { guarded: false } => self.end(&[Kill], false),
                    Blind => {
                        self.state = Refused;
                        vec![]
                    }
                    Creating | Refused | Ending { .. } | Settling | Ended => vec![],
                }
            }
            (Event::TightenFailed, Guarded) => {
                // Nothing of it has run.
                self.state = Refused;
                vec![]
            }
            (Event::TightenFailed, Running { .. }) => self.end(&[Kill], true),

            (Event::InnerGone, _) if !self.inner => vec![],
            (Event::InnerGone, state) => {
                self.inner = false;
                match state {
                    Guarded | Running { .. } => {
                        let mut effects = self.watch();
                        effects.push(Clock);
                        effects
                    }
                    // Nothing of it has run, nor will it: whoever waits to be started waits
                    // for a shim that is gone.
                    Blind | Refused => self.end(&[], false),
                    Creating | Ending { .. } | Settling | Ended => vec![],
                }
            }
            (Event::AwayTooLong, Guarded | Running { .. })
                if !self.inner && self.mode == Mode::Enforce =>
            {
                let guarded = self.state != Running { guarded: false };
                self.end(&[Kill], guarded)
            }

            (Event::EndAsked, Creating) => {
                self.to_end = true;
                vec![]
            }
            (Event::EndAsked, Guarded | Running { guarded: true }) => self.end(&[Kill], true),
            (Event::EndAsked, Blind | Refused | Running { .. }) => self.end(&[Kill], false),
            // It may have come to its end without anybody's being killed.
            (Event::EndAsked, Ending { .. }) => vec![Kill],

            (Event::ProcessesGone, Guarded | Blind | Running { .. } | Ending { .. })
                if self.watched =>
            {
                self.state = Settling;
                vec![Settle]
            }
            (Event::Settled, Settling) => {
                self.state = Ended;
                vec![Erase]
            }
            (
                Event::Prepared(_)
                | Event::TightenFailed
                | Event::AwayTooLong
                | Event::EndAsked
                | Event::ProcessesGone
                | Event::Settled,
                _,
            ) => vec![],
        }
    }

    const fn can_start(&self) -> bool {
        self.inner && !self.to_end
    }

    fn prepared(&mut self, prepared: Prepared) -> Vec<Effect> {
        let enforce = self.mode == Mode::Enforce;
        match prepared {
            Prepared::NotCreated => {
                self.state = State::Settling;
                return vec![Effect::Settle];
            }
            Prepared::Guarded => self.state = State::Guarded,
            Prepared::Blind if enforce => self.state = State::Refused,
            Prepared::Blind => self.state = State::Blind,
            Prepared::Refused => self.state = State::Refused,
        }
        let guarded = prepared == Prepared::Guarded;
        if self.to_end {
            return self.end(&[Effect::Kill], guarded);
        }
        match (self.inner, guarded) {
            // It came to be armed while its inner shim went: it may have been started by
            // nobody, yet it waits there.
            (false, true) => {
                let mut effects = self.watch();
                effects.push(Effect::Clock);
                effects
            }
            (false, false) => self.end(&[], false),
            (true, _) => vec![],
        }
    }

    /// It is to end: what comes first, then its last process is waited for.
    fn end(&mut self, first: &[Effect], guarded: bool) -> Vec<Effect> {
        self.state = State::Ending { guarded };
        let mut effects = first.to_vec();
        effects.append(&mut self.watch());
        effects
    }

    fn watch(&mut self) -> Vec<Effect> {
        if std::mem::replace(&mut self.watched, true) { vec![] } else { vec![Effect::Watch] }
    }
}

#[cfg(test)]
mod tests;
