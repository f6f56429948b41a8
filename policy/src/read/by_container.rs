//! The lists that name containers, whatever stands under a name.

use std::collections::HashMap;

use super::keys;
use crate::Selector;
use crate::by_container::{ByContainer, SHORT_ID, WHOLE_ID, is_hex};
use crate::yaml::{Field, Reader};

/// One selector's list into its place; how many rules it held. `value` reads what stands under
/// a name.
pub(super) fn list<T>(
    reader: &mut Reader<'_>,
    selector: Selector,
    field: Field<'_>,
    into: &mut ByContainer<T>,
    mut value: impl FnMut(&mut Reader<'_>, Field<'_>) -> Option<T>,
) -> usize {
    let mut seen = Seen::default();
    let mut names = Vec::new();
    let mut namespaces = Vec::new();
    let entries = reader.entries(field.value, selector.as_str());
    let count = entries.len();
    for (order, entry) in (0..).zip(entries) {
        let Some(value) = value(reader, entry) else { continue };
        match selector {
            Selector::ContainerId => {
                let id = keys::container_id(reader, entry);
                if !seen.first(reader, entry, id.to_owned()) {
                    continue;
                }
                if is_hex(id) && (SHORT_ID..WHOLE_ID).contains(&id.len()) {
                    let short = into.short_ids.entry(id[..SHORT_ID].into()).or_default();
                    short.push((id.into(), value));
                } else {
                    into.ids.insert(id.into(), value);
                }
            }
            Selector::ImageDigest => {
                let Some(digest) = keys::digest(reader, entry) else { continue };
                if seen.first(reader, entry, digest.to_string()) {
                    into.digests.insert(digest, (order, value));
                }
            }
            Selector::ImageName => {
                let Some((name, glob)) = keys::image_name(reader, entry) else { continue };
                if seen.first(reader, entry, name) {
                    names.push((glob, value));
                }
            }
            Selector::Namespace => {
                let Some(glob) = keys::glob(reader, entry, entry.name) else { continue };
                if seen.first(reader, entry, entry.name.to_owned()) {
                    namespaces.push((glob, (order, value)));
                }
            }
            Selector::Label | Selector::Annotation => {
                let Some((key, wild)) = keys::pair(reader, entry) else { continue };
                if seen.first(reader, entry, entry.name.to_owned()) {
                    let pairs = match selector {
                        Selector::Label => &mut into.labels,
                        _ => &mut into.annotations,
                    };
                    pairs.insert(order, key, wild, value);
                }
            }
            Selector::Path => {}
        }
    }
    for short in into.short_ids.values_mut() {
        short.sort_by_key(|(id, _)| std::cmp::Reverse(id.len()));
    }
    if selector == Selector::ImageName {
        into.names = names.into_iter().collect();
    } else if selector == Selector::Namespace {
        into.namespaces = namespaces.into_iter().collect();
    }
    count
}

/// The keys of one list, each by the form that is compared.
#[derive(Default)]
pub(super) struct Seen(HashMap<String, u32>);

impl Seen {
    /// Whether this is the first of its form. The second is refused: one of them would
    /// never be looked at.
    pub(super) fn first(
        &mut self,
        reader: &mut Reader<'_>,
        entry: Field<'_>,
        form: String,
    ) -> bool {
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
