//! The paths that a policy lets run, as a table that a kernel can follow: a finite automaton
//! over a path's names, from the file up to the root, each ended by a zero byte, as a walk from
//! a file finds them.

use std::collections::{BTreeSet, HashMap};

use lacre_types::Action;

use crate::decision::Outcome;
use crate::glob::Glob;
use crate::glob::steps::Steps;

/// More states or transitions are not made: some hundred rules. What they come to in the
/// kernel's map of one container is 36 kB.
const MOST: usize = 1500;

/// For every byte that a state has no transition of its own for.
pub const ANY_OTHER: u16 = 256;

/// Which paths are let run (SKIP), and which are not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathTable {
    /// From a state by a byte (or [`ANY_OTHER`]) to a state. The first state is 1; what has no
    /// transition leads nowhere, and a path that leads there is not let run.
    pub transitions: Vec<(u16, u16, u16)>,
    /// States in which a path that ends there is let run.
    pub lets_run: Vec<u16>,
}

impl PathTable {
    /// Of one kind and one container; `None` where it would be too large.
    pub(crate) fn of(outcome: &Outcome) -> Option<Self> {
        let leaves = outcome.paths.as_ref().map(|paths| paths.ranked()).unwrap_or_default();
        let lets = |action: Action| action == Action::Skip;
        if !lets(outcome.action) && !leaves.iter().any(|(_, leaf)| lets(leaf.action)) {
            return Some(Self::default());
        }
        let globs: Vec<&Glob> = leaves.iter().map(|(glob, _)| glob).collect();
        let steps = Steps::of(&globs);
        let mut table = Self::default();
        let mut states: HashMap<BTreeSet<u32>, u16> = HashMap::new();
        let mut waiting = vec![steps.start()];
        states.insert(steps.start(), 1);
        while let Some(set) = waiting.pop() {
            let state = *states.get(&set)?;
            // The rule that goes first of those that match, else what holds for the rest.
            let first = steps.ends(&set).min();
            let action = first.map_or(outcome.action, |at| leaves[at].1.action);
            if lets(action) {
                table.lets_run.push(state);
            }
            let mut by_byte = Vec::with_capacity(256);
            for byte in 0..=u8::MAX {
                let next = steps.take(&set, byte);
                let fresh = u16::try_from(states.len() + 1).ok()?;
                let to = *states.entry(next.clone()).or_insert_with(|| {
                    waiting.push(next);
                    fresh
                });
                by_byte.push(to);
            }
            if states.len() > MOST {
                return None;
            }
            let mut counts: HashMap<u16, usize> = HashMap::new();
            by_byte.iter().for_each(|to| *counts.entry(*to).or_default() += 1);
            let other = counts.iter().max_by_key(|(to, count)| (**count, **to)).map(|(to, _)| *to);
            let other = other.unwrap_or(1);
            table.transitions.push((state, ANY_OTHER, other));
            let own = (0..).zip(&by_byte).filter(|(_, to)| **to != other);
            table.transitions.extend(own.map(|(byte, to)| (state, byte, *to)));
            if table.transitions.len() > MOST {
                return None;
            }
        }
        Some(table)
    }

    /// Whether no path at all is let run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lets_run.is_empty()
    }

    /// Whether a path is let run, as who follows the table finds out.
    #[must_use]
    pub fn lets_run(&self, path: &[u8]) -> bool {
        let step = |state: u16, byte: u16| {
            self.transitions.iter().find(|(from, by, _)| (*from, *by) == (state, byte))
        };
        let names = path.split(|byte| *byte == b'/').rev().filter(|name| !name.is_empty());
        let mut state = 1;
        for byte in names.flat_map(|name| name.iter().copied().chain([0])) {
            let next = step(state, byte.into()).or_else(|| step(state, ANY_OTHER));
            let Some((_, _, to)) = next else { return false };
            state = *to;
        }
        self.lets_run.contains(&state)
    }
}

#[cfg(test)]
mod tests {
    use lacre_types::{CanonicalPath, ViolationKind};
    use proptest::prelude::*;

    use crate::{Policy, Subject};

    fn pattern() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec!["a", "b", "*", "a*", "*b", "?", "[!a]", "**", "a*b*"]);
        (any::<bool>(), prop::collection::vec(part, 1..4)).prop_map(|(anywhere, parts)| {
            let begin = if anywhere { "**/" } else { "/" };
            format!("{begin}{}", parts.join("/"))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Whoever follows the table decides as the policy does.
        #[test]
        fn the_table_decides_as_the_rules_do(
            rules in prop::collection::btree_map(pattern(), any::<bool>(), 0..5),
            skips: bool,
            paths in prop::collection::vec("(/[abc]{1,3}){1,4}", 1..20),
        ) {
            let word = |skips: bool| if skips { "SKIP" } else { "DENY" };
            let of = |(path, skips): (&String, &bool)| format!("{{\"{path}\": {}}}", word(*skips));
            let rules: Vec<_> = rules.iter().map(of).collect();
            let text = format!(
                "Actions: {{ENTRY_NOT_FOUND: {{ByPath: [{}], Default: {}}}}}",
                rules.join(", "), word(skips),
            );
            let policy = Policy::parse("p", text.as_bytes());
            prop_assume!(policy.is_ok());
            let (policy, _) = policy.unwrap();
            let policy = policy.effective(&Subject::default());
            let table = policy.path_table(ViolationKind::EntryNotFound).unwrap();
            for path in paths {
                let path = CanonicalPath::new(&path).unwrap();
                let decided = policy.decide(ViolationKind::EntryNotFound, Some(&path)).action;
                let lets = decided == lacre_types::Action::Skip;
                prop_assert_eq!(table.lets_run(path.as_bytes()), lets, "{} of {}", path, text);
            }
        }
    }

    #[test]
    fn what_lets_nothing_run_costs_nothing_and_what_is_too_much_is_not_made() {
        let of = |text: &str| {
            let (policy, _) = Policy::parse("p", text.as_bytes()).unwrap();
            policy.effective(&Subject::default()).path_table(ViolationKind::EntryNotFound)
        };
        let none = of("Actions: {ENTRY_NOT_FOUND: {ByPath: [{/a: DENY}], Default: KILL}}").unwrap();
        assert!(none.is_empty() && none.transitions.is_empty());
        let usual = of("Actions: {ENTRY_NOT_FOUND: {ByPath: [{/tmp/**: SKIP}, \
                        {/usr/lib/python3/**: SKIP}, {/sbin/docker-init: SKIP}, \
                        {\"**/__pycache__/*.pyc\": SKIP}], Default: DENY}}")
        .unwrap();
        assert!(usual.transitions.len() < 400, "{}", usual.transitions.len());
        let many: Vec<_> = (0..400).map(|n| format!("{{/some/where/of/{n}: SKIP}}")).collect();
        let text = format!("Actions: {{ENTRY_NOT_FOUND: {{ByPath: [{}]}}}}", many.join(", "));
        assert_eq!(of(&text), None);
    }
}
