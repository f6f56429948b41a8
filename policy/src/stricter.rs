//! Whether one policy could do more to a container than another.

use lacre_types::{Action, Mode, ViolationKind};

use crate::decision::Outcome;
use crate::settings::Settings;
use crate::{Effective, Fallbacks};

impl Effective {
    /// Whether this policy may do to the container what `before` would not have done. Where the
    /// two can't be compared path by path, the answer is yes.
    #[must_use]
    pub fn is_stricter_than(&self, before: &Self) -> bool {
        let (new, old) = (&self.settings, &before.settings);
        let further = new.mode_on(Mode::Audit) > old.mode_on(Mode::Audit) || new.jit > old.jit;
        let sooner = new.grace < old.grace
            || new.restart.attempts.unwrap_or(u32::MAX) < old.restart.attempts.unwrap_or(u32::MAX);
        let fails_worse = ViolationKind::ALL.iter().any(|kind| {
            Action::ALL.iter().any(|of| instead(new, *kind, *of) > instead(old, *kind, *of))
        });
        // What is opened there by an interpreter is refused where it was let be.
        let mut code = self.code.patterns();
        let more_code = code.any(|pattern| before.code.patterns().all(|other| other != pattern));
        let mut kinds = self.kinds.iter().zip(&before.kinds);
        further
            || sooner
            || fails_worse
            || more_code
            || kinds.any(|(kind, was)| stricter(kind, was, &new.fallbacks))
    }
}

/// What is done where an action can't be; SKIP where nothing is.
fn instead(settings: &Settings, kind: ViolationKind, action: Action) -> Option<Action> {
    let of = settings.fallbacks.of(action);
    of.map(|_| settings.fallbacks.of_kind(kind, action).unwrap_or(Action::Skip))
}

/// Whether `new` is worse for a container than `old`. DENY counts as what is done where it can't
/// be, unless it was DENY before: that both fail alike is asked elsewhere.
fn worse(new: Action, old: Action, fallbacks: &Fallbacks) -> bool {
    let most = match new {
        Action::Deny => fallbacks.of(new).unwrap_or(new).max(new),
        other => other,
    };
    new != old && most > old
}

fn stricter(new: &Outcome, old: &Outcome, fallbacks: &Fallbacks) -> bool {
    let worse = |new, old| worse(new, old, fallbacks);
    let (ours, theirs) = (leaves(new), leaves(old));
    if worse(new.action, old.action) {
        return true;
    }
    if ours == theirs {
        return false;
    }
    let find = |all: &[(&str, Action)], pattern: &str| {
        all.iter().find(|(other, _)| *other == pattern).map(|(_, action)| *action)
    };
    let mildest = theirs.iter().map(|(_, action)| *action).fold(old.action, Action::min);
    let changed = ours.iter().any(|(pattern, action)| {
        // One that was not there may take a path from any of the old ones.
        worse(*action, find(&theirs, pattern).unwrap_or(mildest))
    });
    // What one that is gone had falls to any of the others.
    let gone = theirs.iter().filter(|(pattern, _)| find(&ours, pattern).is_none());
    let mut now = ours.iter().map(|(_, action)| *action).chain([new.action]);
    let lost = gone.map(|(_, action)| *action).min();
    let lost = lost.is_some_and(|was| now.any(|action| worse(action, was)));
    // Of two globs the first in the file holds.
    let common = |of: &[(&str, Action)], other: &[(&str, Action)]| -> Vec<String> {
        let kept = of.iter().filter(|(pattern, _)| find(other, pattern).is_some());
        kept.map(|(pattern, _)| (*pattern).to_owned()).collect()
    };
    changed || lost || common(&ours, &theirs) != common(&theirs, &ours)
}

/// The rules by path, in the file's order.
fn leaves(outcome: &Outcome) -> Vec<(&str, Action)> {
    let all = outcome.paths.iter().flat_map(|paths| paths.in_order());
    all.map(|leaf| (leaf.rule.path.as_deref().unwrap_or_default(), leaf.action)).collect()
}

#[cfg(test)]
mod tests {
    use crate::{Effective, Policy, Subject};

    fn policy(kinds: &str) -> Effective {
        let (policy, _) = Policy::parse("p", kinds.as_bytes()).unwrap();
        policy.effective(&Subject::default())
    }

    fn of(rule: &str) -> Effective {
        policy(&format!("Actions: {{ENTRY_NOT_FOUND: {rule}}}"))
    }

    #[test]
    fn what_may_do_more_is_stricter_and_what_may_do_less_is_not() {
        let skip = "{ByPath: [/a: SKIP, /b: PAUSE], Default: DENY}";
        for (new, stricter) in [
            (skip, false),
            ("{ByPath: [/a: SKIP, /b: PAUSE], Default: SKIP}", false),
            ("{ByPath: [/a: SKIP, /b: PAUSE], Default: KILL}", true),
            ("{ByPath: [/a: SKIP, /b: PAUSE], Default: PAUSE}", true),
            ("{ByPath: [/a: SKIP, /b: STOP], Default: DENY}", true),
            ("{ByPath: [/a: SKIP, /b: SKIP], Default: DENY}", false),
            // A hotfix by path, and the same taken away.
            ("{ByPath: [/a: SKIP, /b: PAUSE, /c: SKIP], Default: DENY}", false),
            ("{ByPath: [/b: PAUSE], Default: DENY}", true),
            ("{ByPath: [/a: SKIP, /b: PAUSE, /c: DENY], Default: DENY}", true),
            ("{ByPath: [/b: PAUSE, /a: SKIP], Default: DENY}", true),
            ("{Default: SKIP}", false),
        ] {
            assert_eq!(of(new).is_stricter_than(&of(skip)), stricter, "{new}");
        }
        // It may end the container where nobody can deny.
        assert!(of("{Default: DENY}").is_stricter_than(&of("{Default: PAUSE}")));
    }

    #[test]
    fn mode_memory_and_what_is_done_instead_count() {
        let plain = policy("Actions: {}");
        let code = "CodeDirectories: {Default: [/srv]}";
        for tighter in ["Mode: enforce", "JIT: deny", "Fallback: {PAUSE: DELETE}", code] {
            let tighter = policy(&format!("{tighter}\nActions: {{}}"));
            assert!(tighter.is_stricter_than(&plain) && !plain.is_stricter_than(&tighter));
        }
        assert!(!policy("Mode: audit\nActions: {}").is_stricter_than(&plain));
        // Said newly, it ends a container where nothing did: LOG_TAMPERED's PAUSE that fails.
        for tighter in ["Fallback: {PAUSE: KILL}", "GracePeriod: 1s", "Restart: {Attempts: 1}"] {
            let tighter = policy(&format!("{tighter}\nActions: {{}}"));
            assert!(tighter.is_stricter_than(&plain), "{tighter:?}");
            assert!(!plain.is_stricter_than(&tighter), "{tighter:?}");
        }
        let milder = policy("Fallback: {PAUSE: SKIP}\nActions: {}");
        assert!(!milder.is_stricter_than(&plain) && plain.is_stricter_than(&milder));
    }
}
