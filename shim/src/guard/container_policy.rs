//! The policy and the mode that hold for one container, as they change while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use lacre_measure::{Outcome, Spared};
use lacre_policy::{Decision, Effective};
use lacre_types::{Action, Content, Jit, Mode, Reports, Violation, ViolationKind};
use tokio::sync::watch;

/// The policy as it is now, and how far it goes: both change while the container runs, the
/// policy to anything, the mode only from audit to enforce.
pub(crate) struct Rules {
    policy: Mutex<Arc<Effective>>,
    /// What the node and the container itself ask for, whatever a policy says.
    floor: Mode,
    mode: watch::Sender<Mode>,
    /// How many policies have held, one after the other, with a baseline or without.
    changes: watch::Sender<u64>,
}

impl Rules {
    pub(crate) fn new(policy: Arc<Effective>, floor: Mode) -> Self {
        let mode = watch::Sender::new(policy.mode_on(floor));
        Self { policy: Mutex::new(policy), floor, mode, changes: watch::Sender::new(0) }
    }

    /// The stricter of node and policy, of all policies that have held.
    pub(crate) fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// The mode that a use is answered under: where its source was there to see alone, audit,
    /// though the mode may have tightened before that is told. Nobody is made to answer now for
    /// what was let pass then; what still runs of it the sweep finds.
    pub(super) fn mode_of(&self, outcome: Outcome) -> Mode {
        match outcome {
            Outcome::Watched => Mode::Audit,
            Outcome::Ran | Outcome::Denied | Outcome::Killed | Outcome::Ended => self.mode(),
        }
    }

    /// Tells when the mode has changed.
    pub(crate) fn modes(&self) -> watch::Receiver<Mode> {
        self.mode.subscribe()
    }

    /// The policy that holds.
    pub(crate) fn policy(&self) -> Arc<Effective> {
        Arc::clone(&self.policy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From the next verdict on, this one holds.
    pub(super) fn set_policy(&self, policy: Arc<Effective>) {
        let mode = policy.mode_on(self.floor);
        let changes = {
            let mut held = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
            let old = std::mem::replace(&mut *held, Arc::clone(&policy));
            old != policy
        };
        self.mode.send_if_modified(|held| {
            let tighter = mode > *held;
            *held = mode.max(*held);
            tighter
        });
        if changes {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// The image's baseline has come: other rules hold for its container than without one, and
    /// who follows changes is told.
    pub(super) fn image_came(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Whether memory that is made executable is no violation.
    pub(super) fn jit(&self) -> Jit {
        self.policy().jit()
    }

    /// Whether what was read is told: whatever a rule says of it is, since what is refused and
    /// what is done must be on record.
    pub(super) fn tells(&self, report: &Violation) -> bool {
        self.policy().reports() == Reports::Files || self.decide(report).action != Action::Skip
    }

    /// What code without a file may run.
    pub(super) fn spared(&self) -> Spared {
        let policy = self.policy();
        let programs = policy.decide(ViolationKind::Fileless, None).action == Action::Skip;
        Spared { memory: programs || policy.jit() == Jit::Allow, programs }
    }

    /// Tells when another policy holds, or the same with a baseline, by their number.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What is done where none of `tried` could be.
    pub(super) fn instead(
        &self,
        kind: Option<ViolationKind>,
        first: Action,
        tried: &[Action],
    ) -> Option<Action> {
        self.policy().fallbacks().after(kind, first, tried)
    }

    /// What has no file has no path that a rule could match: of memory it is its program's.
    pub(super) fn decide(&self, violation: &Violation) -> Decision {
        let measurement = &violation.measurement;
        let is_memory = matches!(measurement.content, Content::Memory(_));
        let path = measurement.path.as_ref().filter(|_| !is_memory);
        self.policy().decide(violation.kind, path)
    }
}
