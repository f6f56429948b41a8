//! Which actions on a container are under way, and which are to be done again after them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lacre_types::{Action, Violation, ViolationKind};

/// The actions that are under way. A violation that asks for one of them has it done once more
/// afterwards, and does not queue: so a flood costs two of a kind at a time, and none that asks
/// after an action has begun is answered by what was done before it asked.
#[derive(Debug, Default)]
pub(super) struct Acting(Mutex<BTreeMap<Action, Option<Cause>>>);

/// Why something is done.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    /// The violation's kind; `None`: the policy server ordered it.
    pub(super) kind: Option<ViolationKind>,
    pub(super) says: String,
}

impl Cause {
    pub(super) fn of(violation: &Violation) -> Self {
        let says = format!("{} {}", violation.kind, violation.measurement.shown_path());
        Self { kind: Some(violation.kind), says }
    }

    /// Of two that wait for the same action, the one after which more is done where it can't be.
    fn and(self, before: Option<Self>) -> Self {
        match (before, self.kind) {
            (Some(before), Some(ViolationKind::LogTampered)) => before,
            _ => self,
        }
    }
}

impl Acting {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Action, Option<Cause>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_under_way(&self, action: Action, cause: &Cause) -> bool {
        match self.lock().entry(action) {
            Entry::Vacant(free) => {
                free.insert(None);
                false
            }
            Entry::Occupied(mut under_way) => {
                let before = under_way.get_mut().take();
                under_way.insert(Some(cause.clone().and(before)));
                true
            }
        }
    }

    /// It is done; the cause of the next one, if somebody asked.
    pub(super) fn again(&self, action: Action) -> Option<Cause> {
        let mut all = self.lock();
        let cause = all.get_mut(&action)?.take();
        if cause.is_none() {
            all.remove(&action);
        }
        cause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever waits has more done where the action fails than for logs that were altered.
    #[test]
    fn of_those_who_wait_for_an_action_the_strictest_decides_what_follows_it() {
        let of = |kind| Cause { kind, says: String::new() };
        let altered = of(Some(ViolationKind::LogTampered));
        for other in [of(Some(ViolationKind::EntryNotFound)), of(None)] {
            for waiting in [[&altered, &other], [&other, &altered]] {
                let acting = Acting::default();
                assert!(!acting.is_under_way(Action::Pause, &altered));
                assert!(waiting.iter().all(|cause| acting.is_under_way(Action::Pause, cause)));
                let next = acting.again(Action::Pause).map(|cause| cause.kind);
                assert_eq!(next, Some(other.kind));
                assert!(acting.again(Action::Pause).is_none());
            }
        }
    }
}
