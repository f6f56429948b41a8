use std::collections::HashMap;
use std::sync::Arc;

use lacre_types::{Action, ViolationKind};

use super::keys;
use crate::decision::{Leaf, Outcome, deniable};
use crate::patterns::Patterns;
use crate::policy::{KindRules, SHORT_ID, WHOLE_ID, can_be_done, is_hex};
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
            Some(selector) => rules.count += by(reader, kind, selector, field, &mut rules),
        }
    }
    rules
}

/// One selector's list into its place; how many rules it held.
fn by(
    reader: &mut Reader<'_>,
    kind: ViolationKind,
    selector: Selector,
    field: Field<'_>,
    rules: &mut KindRules,
) -> usize {
    let mut seen = Seen::default();
    let mut names = Vec::new();
    let mut namespaces = Vec::new();
    let entries = reader.entries(field.value, selector.as_str());
    let count = entries.len();
    for (order, entry) in (0..).zip(entries) {
        let Some((outcome, within)) = outcome(reader, kind, selector, entry) else { continue };
        rules.count += within;
        match selector {
            Selector::ContainerId => {
                let id = keys::container_id(reader, entry);
                if !seen.first(reader, entry, id.to_owned()) {
                    continue;
                }
                if is_hex(id) && (SHORT_ID..WHOLE_ID).contains(&id.len()) {
                    let short = rules.short_ids.entry(id[..SHORT_ID].into()).or_default();
                    short.push((id.into(), outcome));
                } else {
                    rules.ids.insert(id.into(), outcome);
                }
            }
            Selector::ImageDigest => {
                let Some(digest) = keys::digest(reader, entry) else { continue };
                if seen.first(reader, entry, digest.to_string()) {
                    rules.digests.insert(digest, (order, outcome));
                }
            }
            Selector::ImageName => {
                let Some((name, glob)) = keys::image_name(reader, entry) else { continue };
                if seen.first(reader, entry, name) {
                    names.push((glob, outcome));
                }
            }
            Selector::Namespace => {
                let Some(glob) = keys::glob(reader, entry, entry.name) else { continue };
                if seen.first(reader, entry, entry.name.to_owned()) {
                    namespaces.push((glob, (order, outcome)));
                }
            }
            Selector::Label | Selector::Annotation => {
                let Some((key, value)) = keys::pair(reader, entry) else { continue };
                if seen.first(reader, entry, entry.name.to_owned()) {
                    let pairs = match selector {
                        Selector::Label => &mut rules.labels,
                        _ => &mut rules.annotations,
                    };
                    pairs.insert(order, key, value, outcome);
                }
            }
            Selector::Path => {}
        }
    }
    for short in rules.short_ids.values_mut() {
        short.sort_by_key(|(id, _)| std::cmp::Reverse(id.len()));
    }
    if selector == Selector::ImageName {
        rules.names = names.into_iter().collect();
    } else if selector == Selector::Namespace {
        rules.namespaces = namespaces.into_iter().collect();
    }
    count
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

/// The keys of one list, each by the form that is compared.
#[derive(Default)]
struct Seen(HashMap<String, u32>);

impl Seen {
    /// Whether this is the first of its form. The second is refused: one of them would
    /// never be looked at.
    fn first(&mut self, reader: &mut Reader<'_>, entry: Field<'_>, form: String) -> bool {
        let Some(line) = self.0.get(&form) else {
            self.0.insert(form, entry.span.line);
            return true;
        };
        reader
            .error(entry.span, format!("line {line} has a rule for the same"))
            .help("remove one of the two; only one could ever be used");
        false
    }
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
