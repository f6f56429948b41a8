//! The rules of one kind of violation.

use std::sync::Arc;

use lacre_types::{Action, ViolationKind};

use super::by_container::Seen;
use super::{by_container, keys};
use crate::decision::{Leaf, Outcome, deniable};
use crate::patterns::Patterns;
use crate::policy::{KindRules, can_be_done};
use crate::yaml::{Field, Node, Reader, Value};
use crate::{Rule, Selector};

/// `REMOVE` is figure 3's word for DELETE.
pub(crate) const ALSO_ACTIONS: &[&str] = &["REMOVE"];

/// The keys under a kind.
pub(crate) const KIND: &[&str] = &[
    "ByContainerID",
    "ByContainerImageDigest",
    "ByContainerImageName",
    "ByLabel",
    "ByAnnotation",
    "ByNamespace",
    "ByPath",
    "Default",
];
/// The keys under a rule that has paths of its own.
pub(crate) const NESTED: &[&str] = &["ByPath", "Default"];
/// The same of FILELESS.
pub(crate) const NESTED_FILELESS: &[&str] = &["ByPath", "JIT", "Default"];

type Paths = Option<Arc<Patterns<Leaf>>>;

pub(super) fn rules(reader: &mut Reader<'_>, kind: ViolationKind, node: &Node) -> KindRules {
    let mut rules = KindRules::none(kind);
    for field in reader.fields(node, &format!("`{kind}`"), KIND).unwrap_or_default() {
        match Selector::of(field.name) {
            None => {
                if let Some(action) = action(reader, kind, field.value) {
                    rules.rest.action = action;
                    rules.rest.rule.line = field.value.span.line;
                }
            }
            Some(Selector::Path) => {
                let (paths, count) = paths(reader, kind, None, field);
                rules.rest.paths = paths;
                rules.count += count;
            }
            Some(selector) => {
                let mut within = 0;
                let value = |reader: &mut Reader<'_>, entry: Field<'_>| {
                    let (outcome, paths) = outcome(reader, kind, selector, entry)?;
                    within += paths;
                    Some(outcome)
                };
                let count = by_container::list(reader, selector, field, &mut rules.by, value);
                rules.count += count + within;
            }
        }
    }
    rules
}

/// What a rule about a container decides, and how many path rules it holds.
fn outcome(
    reader: &mut Reader<'_>,
    kind: ViolationKind,
    selector: Selector,
    entry: Field<'_>,
) -> Option<(Outcome, usize)> {
    let key = (selector, Arc::from(entry.name));
    let rule = Rule { kind, entry: Some(key), path: None, line: entry.span.line };
    if !matches!(entry.value.value, Value::Map(_)) {
        let action = action(reader, kind, entry.value)?;
        return Some((Outcome { action, rule, paths: None, jit: None }, 0));
    }
    let mut chosen = None;
    let mut own: (Paths, usize) = (None, 0);
    let mut jit = None;
    let keys = if kind == ViolationKind::Fileless { NESTED_FILELESS } else { NESTED };
    for field in reader.fields(entry.value, "a rule", keys)? {
        match field.name {
            "Default" => chosen = Some(action(reader, kind, field.value)),
            "JIT" => jit = super::values::jit(reader, field.value),
            _ => own = paths(reader, kind, rule.entry.clone(), field),
        }
    }
    let Some(action) = chosen else {
        reader
            .error(entry.span, "this rule has no `Default`")
            .help("add `Default: ACTION` for what its other lines do not name");
        return None;
    };
    let (paths, count) = own;
    Some((Outcome { action: action?, rule, paths, jit }, count))
}

fn paths(
    reader: &mut Reader<'_>,
    kind: ViolationKind,
    within: Option<(Selector, Arc<str>)>,
    field: Field<'_>,
) -> (Paths, usize) {
    if !deniable(kind) {
        reader
            .warn(field.span, format!("{kind} has no file, so no path matches"))
            .help("leave the paths out");
    }
    let mut seen = Seen::default();
    let mut leaves = Vec::new();
    for entry in reader.entries(field.value, Selector::Path.as_str()) {
        let Some(action) = action(reader, kind, entry.value) else { continue };
        let Some(pattern) = keys::path(reader, entry) else { continue };
        let Some(glob) = keys::glob(reader, entry, &pattern) else { continue };
        if seen.first(reader, entry, pattern.clone()) {
            let path = Some(Arc::from(pattern));
            let rule = Rule { kind, entry: within.clone(), path, line: entry.span.line };
            leaves.push((glob, Leaf { action, rule }));
        }
    }
    let count = leaves.len();
    let patterns = leaves.into_iter().collect::<Patterns<Leaf>>();
    ((count > 0).then(|| Arc::new(patterns)), count)
}

fn action(reader: &mut Reader<'_>, kind: ViolationKind, node: &Node) -> Option<Action> {
    let action = reader.word(node, "an action", ALSO_ACTIONS)?;
    if !can_be_done(action, kind) {
        reader
            .warn(node.span, format!("{action} can't be done for {kind}: its fallback will be"))
            .help("there is no code in hand to refuse; name the action that is meant");
    }
    Some(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_selector_has_its_key_in_the_order_of_precedence() {
        let selectors: Vec<&str> = Selector::ALL.iter().map(|by| by.as_str()).collect();
        assert_eq!(selectors, KIND[..KIND.len() - 1]);
    }
}
