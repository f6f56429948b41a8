//! What a policy chose for a violation, and what can be done of it in that mode, by that source.

use std::fmt;
use std::time::Duration;

use lacre_types::{Action, CanonicalPath, Jit, Mode, ViolationKind};
use serde::Serialize;

use crate::{Fallbacks, Rule};

/// What the policy chose. What is done is [`resolve`]'s to say: the mode and the source in
/// use have a part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// For what.
    pub kind: ViolationKind,
    /// The action that was chosen.
    pub action: Action,
    /// The rule that chose it.
    pub rule: Rule,
    /// What is done instead where the action can't be; `None` for SKIP and KILL, and where
    /// nothing is.
    pub fallback: Option<Action>,
    /// Whether the policy's file itself says that.
    pub is_fallback_said: bool,
    /// How long STOP waits between `SIGTERM` and `SIGKILL`.
    pub grace: Duration,
}

impl Decision {
    /// What is done where it can't be denied. No fallback for DENY cannot be, and were it so,
    /// the unknown must not run on; a container whose node's logs were altered is no unknown.
    #[must_use]
    pub fn undeniable(&self) -> Action {
        self.fallback.unwrap_or(match self.kind {
            ViolationKind::LogTampered => Action::Pause,
            _ => Action::Kill,
        })
    }
}

/// An action to be done, and why that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// What to do.
    pub action: Action,
    /// Why.
    pub because: Because,
}

/// Why an action is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// The policy's rule says so.
    Rule,
    /// The rule says DENY, and there is nothing that could be denied, or nobody who could.
    CannotDeny,
    /// The mode is `audit`, where nothing is touched; in `enforce` this would be done.
    Audit {
        /// What `enforce` would do.
        would: Action,
    },
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule => f.write_str("the policy's rule"),
            Self::CannotDeny => f.write_str("the fallback, since it could not be denied"),
            Self::Audit { would } => write!(f, "audit mode; enforce would {would}"),
        }
    }
}

impl Serialize for Because {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Whether code is in hand that could be refused. A source that was lost and a log that
/// was edited are learnt of afterwards.
#[must_use]
pub const fn deniable(kind: ViolationKind) -> bool {
    !matches!(kind, ViolationKind::SourceLost | ViolationKind::LogTampered)
}

/// What is to be done about a decision: in audit, nothing but to record; DENY only where
/// the source that saw it can deny, else its fallback.
#[must_use]
pub fn resolve(decision: &Decision, can_deny: bool, mode: Mode) -> Resolved {
    let denies = can_deny && deniable(decision.kind);
    let enforced = if decision.action == Action::Deny && !denies {
        Resolved { action: decision.undeniable(), because: Because::CannotDeny }
    } else {
        Resolved { action: decision.action, because: Because::Rule }
    };
    match mode {
        Mode::Enforce => enforced,
        Mode::Audit => {
            Resolved { action: Action::Skip, because: Because::Audit { would: enforced.action } }
        }
    }
}

/// What is decided for one kind and one container; the path alone is still open.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) action: Action,
    pub(crate) rule: Rule,
    pub(crate) paths: Option<std::sync::Arc<crate::patterns::Patterns<Leaf>>>,
    /// Where the rule says it; of FILELESS alone.
    pub(crate) jit: Option<Jit>,
}

/// What a path's rule decides.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) action: Action,
    pub(crate) rule: Rule,
}

impl Outcome {
    /// Of a node's logs nobody knows yet whether they were tampered with or are broken, and the
    /// container is not what did it: what can be undone is the most that is done unasked.
    pub(crate) const fn built_in(kind: ViolationKind) -> Self {
        let action = match kind {
            ViolationKind::LogTampered => Action::Pause,
            // No violation.
            ViolationKind::Report => Action::Skip,
            _ => Action::Deny,
        };
        Self { action, rule: Rule::built_in(kind), paths: None, jit: None }
    }

    pub(crate) fn decide(
        &self,
        path: Option<&CanonicalPath>,
        fallbacks: &Fallbacks,
        grace: Duration,
    ) -> Decision {
        let leaf = self.paths.as_ref().zip(path).and_then(|(paths, path)| paths.get(path.as_ref()));
        let (action, rule) = match leaf {
            Some(leaf) => (leaf.action, &leaf.rule),
            None => (self.action, &self.rule),
        };
        Decision {
            kind: rule.kind,
            action,
            rule: rule.clone(),
            fallback: fallbacks.of_kind(rule.kind, action),
            is_fallback_said: fallbacks.is_said(action),
            grace,
        }
    }
}
