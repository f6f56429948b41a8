//! What may be done about a violation, and the modes that say whether it is.

use crate::words::words;

/// What is done about a violation. Ordered from the mildest to the worst, so that the
/// greater of two actions on one container is the one that overtakes the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Record, nothing else.
    Skip,
    /// The exec or the map fails with `EPERM`; the container goes on.
    Deny,
    /// Freeze the container.
    Pause,
    /// Cut the container's network namespace off, and leave it running.
    Isolate,
    /// `SIGTERM`, then `SIGKILL` after the grace period; the task ends, the container stays.
    Stop,
    /// `SIGKILL` to every process of the container.
    Kill,
    /// Kill, and have it come back from a clean snapshot.
    Restart,
    /// Kill, then delete task, container and snapshot.
    Delete,
}

words!(Action, "an action", {
    Skip => "SKIP", Deny => "DENY", Pause => "PAUSE", Isolate => "ISOLATE",
    Stop => "STOP", Kill => "KILL", Restart => "RESTART", Delete => "DELETE",
}, also { "REMOVE" => Delete });

impl Action {
    /// Whether the action ends the container's processes.
    #[must_use]
    pub const fn ends(self) -> bool {
        matches!(self, Self::Stop | Self::Kill | Self::Restart | Self::Delete)
    }
}

/// How far lacre goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Mode {
    /// See and report, never touch.
    #[default]
    Audit,
    /// Act, and never let the unknown pass.
    Enforce,
}

words!(Mode, "a mode", { Audit => "audit", Enforce => "enforce" });

/// What is done about memory that is made executable, as engines do that compile as they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Jit {
    /// It is no violation.
    #[default]
    Allow,
    /// It is one like a program in memory.
    Deny,
}

words!(Jit, "what JIT takes", { Allow => "allow", Deny => "deny" });

/// What is told of files that an interpreter opened, and of which nothing said that they are code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Reports {
    /// Each of them, once.
    #[default]
    Files,
    /// Nothing.
    None,
}

words!(Reports, "what Report takes", { Files => "files", None => "none" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remove_is_delete() {
        assert_eq!("REMOVE".parse(), Ok(Action::Delete));
        assert_eq!(Action::Delete.to_string(), "DELETE");
    }

    #[test]
    fn a_worse_action_is_greater() {
        assert!(Action::Delete > Action::Kill && Action::Kill > Action::Pause);
        assert!(Action::Deny > Action::Skip);
    }

    #[test]
    fn every_word_reads_back() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(*action));
        }
        assert!("delete".parse::<Action>().is_err());
    }
}
