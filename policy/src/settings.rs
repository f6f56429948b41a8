//! What a policy says of no kind in particular.

use std::time::Duration;

use lacre_types::{Action, Jit, Mode, Reports, ViolationKind};

/// What the file says beside its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) mode: Option<Mode>,
    pub(crate) jit: Jit,
    pub(crate) reports: Reports,
    pub(crate) grace: Duration,
    pub(crate) fallbacks: Fallbacks,
    pub(crate) restart: Backoff,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: None,
            jit: Jit::Allow,
            reports: Reports::Files,
            grace: Duration::from_secs(10), // docker stop's
            fallbacks: Fallbacks::default(),
            restart: Backoff::default(),
        }
    }
}

impl Settings {
    /// The stricter of the policy's mode and the node's.
    pub(crate) fn mode_on(&self, node: Mode) -> Mode {
        self.mode.map_or(node, |own| own.max(node))
    }
}

/// What is done where an action can't be. Following it ends, always at KILL or SKIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallbacks {
    of: [Option<Action>; Action::ALL.len()],
    /// Whether the file itself says it.
    said: [bool; Action::ALL.len()],
}

impl Default for Fallbacks {
    /// KILL, which needs nothing but a kernel.
    fn default() -> Self {
        let mut of = [Some(Action::Kill); Action::ALL.len()];
        for action in Self::LAST {
            of[*action as usize] = None;
        }
        Self { of, said: [false; Action::ALL.len()] }
    }
}

impl Fallbacks {
    /// The actions that can always be done, and have no fallback.
    pub(crate) const LAST: &'static [Action] = &[Action::Skip, Action::Kill];

    /// What is done where `action` can't be; `None` when it always can.
    #[must_use]
    pub const fn of(&self, action: Action) -> Option<Action> {
        self.of[action as usize]
    }

    /// The same for a violation of that kind. Of a node's logs nobody knows yet whether they were
    /// tampered with or are broken: what leaves the container running is followed by what ends it
    /// only where the file says so.
    #[must_use]
    pub const fn of_kind(&self, kind: ViolationKind, action: Action) -> Option<Action> {
        match kind {
            ViolationKind::LogTampered if !action.ends() && !self.said[action as usize] => None,
            _ => self.of(action),
        }
    }

    /// The actions whose fallback the file itself says.
    pub(crate) fn said(&self) -> impl Iterator<Item = Action> {
        Action::ALL.iter().copied().filter(|action| self.said[*action as usize])
    }

    /// Whether the file itself says the fallback of an action.
    pub(crate) const fn is_said(&self, action: Action) -> bool {
        self.said[action as usize]
    }

    /// All of them, the mildest action first.
    pub fn iter(&self) -> impl Iterator<Item = (Action, Action)> {
        Action::ALL.iter().filter_map(|action| Some((*action, self.of(*action)?)))
    }

    /// Sets the fallback of an action that may have one.
    pub(crate) fn set(&mut self, action: Action, fallback: Action) {
        if !Self::LAST.contains(&action) {
            self.of[action as usize] = Some(fallback);
        }
    }

    /// Sets it as the file says.
    pub(crate) fn say(&mut self, action: Action, fallback: Action) {
        self.set(action, fallback);
        self.said[action as usize] = self.of(action).is_some();
    }

    /// What is done next about a violation for which `first` was chosen, when none of `tried`
    /// could be done: along the fallbacks, each once, and KILL in the end; `None`: nothing is
    /// left, or the policy lets it run (SKIP). RESTART and DELETE begin with what KILL does, so
    /// where KILL can't be done nothing stricter can. `kind` is the violation's; `None` where
    /// the policy server ordered it.
    #[must_use]
    pub fn after(
        &self,
        kind: Option<ViolationKind>,
        first: Action,
        tried: &[Action],
    ) -> Option<Action> {
        let mut at = first;
        for _ in Action::ALL {
            if !tried.contains(&at) {
                return Some(at).filter(|action| *action != Action::Skip);
            }
            let next = kind.map_or(self.of(at), |kind| self.of_kind(kind, at));
            if next.is_none() && self.of(at).is_some() {
                return None;
            }
            let Some(next) = next else { break };
            at = next;
        }
        Some(Action::Kill).filter(|kill| !tried.contains(kill))
    }

    /// An action from which following the fallbacks does not end.
    pub(crate) fn endless(&self) -> Option<Action> {
        let ends = |action: Action| {
            let mut at = Some(action);
            for _ in 0..=Action::ALL.len() {
                let Some(action) = at else { return true };
                at = self.of(action);
            }
            false
        };
        Action::ALL.iter().copied().find(|action| !ends(*action))
    }
}

/// How long RESTART waits, so that a container that breaks the rules at each start does
/// not spin: twice as long each time, up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Between the first restart and the second; the first does not wait.
    pub delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
    /// After so long without a restart, counting begins anew.
    pub reset_after: Duration,
    /// So many restarts, then the fallback of RESTART; `None`: no limit.
    pub attempts: Option<u32>,
}

impl Default for Backoff {
    /// The longest wait and the reset are the kubelet's.
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(300),
            reset_after: Duration::from_secs(600),
            attempts: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fallback_ends_unless_it_goes_in_a_circle() {
        let mut fallbacks = Fallbacks::default();
        assert_eq!(fallbacks.endless(), None);
        assert_eq!(fallbacks.of(Action::Deny), Some(Action::Kill));
        fallbacks.set(Action::Pause, Action::Isolate);
        assert_eq!(fallbacks.endless(), None);
        fallbacks.set(Action::Isolate, Action::Pause);
        assert!(fallbacks.endless().is_some());
    }

    #[test]
    fn what_fails_is_followed_by_its_fallback_and_in_the_end_by_kill() {
        let mut fallbacks = Fallbacks::default();
        fallbacks.set(Action::Isolate, Action::Pause);
        fallbacks.set(Action::Pause, Action::Stop);
        let mut tried = Vec::new();
        while let Some(next) = fallbacks.after(None, Action::Isolate, &tried) {
            assert!(!tried.contains(&next), "each is tried once: {tried:?}, then {next}");
            tried.push(next);
        }
        assert_eq!(tried, [Action::Isolate, Action::Pause, Action::Stop, Action::Kill]);

        fallbacks.set(Action::Pause, Action::Skip);
        assert_eq!(fallbacks.after(None, Action::Isolate, &[Action::Isolate, Action::Pause]), None);
        // An overruling server asked for what the policy does not begin with.
        assert_eq!(fallbacks.after(None, Action::Delete, &[Action::Delete]), Some(Action::Kill));
        assert_eq!(fallbacks.after(None, Action::Kill, &[Action::Kill]), None);
        // Several waited for one that failed, and it was tried for another reason.
        let both = [Action::Isolate, Action::Kill];
        assert_eq!(fallbacks.after(None, Action::Isolate, &both), Some(Action::Pause));
    }

    /// Nobody's container is ended because a node's logs are broken, unless the file says so.
    #[test]
    fn of_altered_logs_nothing_ends_a_container_unasked() {
        let kind = ViolationKind::LogTampered;
        let mut fallbacks = Fallbacks::default();
        for action in [Action::Pause, Action::Isolate] {
            assert_eq!(fallbacks.after(Some(kind), action, &[action]), None);
            let other = ViolationKind::EntryNotFound;
            assert_eq!(fallbacks.after(Some(other), action, &[action]), Some(Action::Kill));
        }
        assert_eq!(fallbacks.after(Some(kind), Action::Stop, &[Action::Stop]), Some(Action::Kill));
        fallbacks.say(Action::Isolate, Action::Pause);
        let next = fallbacks.after(Some(kind), Action::Isolate, &[Action::Isolate]);
        assert_eq!(next, Some(Action::Pause));
        let both = [Action::Isolate, Action::Pause];
        assert_eq!(fallbacks.after(Some(kind), Action::Isolate, &both), None);
        fallbacks.say(Action::Pause, Action::Kill);
        let next = fallbacks.after(Some(kind), Action::Isolate, &both);
        assert_eq!(next, Some(Action::Kill), "it was asked for");
    }

    /// Whatever the fallbacks are, also a circle that no file may have: it ends, no action
    /// comes twice, and unless the policy says SKIP, KILL is among those tried.
    #[test]
    fn trying_ends_with_kill_or_skip() {
        for first in Action::ALL {
            for (from, to) in
                Action::ALL.iter().flat_map(|a| Action::ALL.iter().map(move |b| (*a, *b)))
            {
                let mut fallbacks = Fallbacks::default();
                fallbacks.set(from, to);
                fallbacks.set(to, from);
                let mut tried = Vec::new();
                while let Some(next) = fallbacks.after(None, *first, &tried) {
                    assert!(!tried.contains(&next), "{first}: {tried:?}, then {next}");
                    tried.push(next);
                }
                let skips = *first == Action::Skip || [from, to].contains(&Action::Skip);
                assert!(skips || tried.contains(&Action::Kill), "{first}: {tried:?}");
            }
        }
    }

    #[test]
    fn a_policy_can_only_tighten_the_nodes_mode() {
        let of = |mode| Settings { mode, ..Settings::default() };
        assert_eq!(of(None).mode_on(Mode::Audit), Mode::Audit);
        assert_eq!(of(Some(Mode::Audit)).mode_on(Mode::Enforce), Mode::Enforce);
        assert_eq!(of(Some(Mode::Enforce)).mode_on(Mode::Audit), Mode::Enforce);
    }
}
