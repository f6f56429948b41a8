//! An action that somebody asked for, on its way to the actor and back.

use std::time::{Duration, Instant};

use lacre_types::Action;
use tokio::sync::oneshot;

use crate::outcome::{Became, Outcome};

/// What to do, and who waits for it.
#[derive(Debug)]
pub(crate) struct Request(pub(crate) Action, pub(crate) Waiter);

/// What the first who asked for an action gave it on its way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) cause: String,
    /// Whether the container stood still before.
    pub(crate) was_frozen: bool,
}

/// Who waits for an action.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) asked: Asked,
    pub(crate) since: Instant,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

impl Waiter {
    /// Tells what became of it. A caller that went away does not want it.
    pub(crate) fn tell(self, action: Action, became: Became) {
        let took: Duration = self.since.elapsed();
        let _ = self.reply.send(became.outcome(action, self.asked.cause, took));
    }
}
