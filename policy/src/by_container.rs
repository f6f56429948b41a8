//! What a policy has for a container: the narrowest of the lists that name it goes first.

use std::collections::HashMap;

use lacre_types::Digest;

use crate::glob::Wild;
use crate::patterns::Patterns;
use crate::{Subject, image};

/// The shortest id that a rule may give: 12 hex digits, as `docker ps` prints it.
pub(crate) const SHORT_ID: usize = 12;
/// The length of an id that Docker, nerdctl or the CRI made.
pub(crate) const WHOLE_ID: usize = 64;

/// Values by the facts of a container.
#[derive(Debug, Clone)]
pub(crate) struct ByContainer<T> {
    pub(crate) ids: HashMap<Box<str>, T>,
    /// Short ids by their first 12 digits, the longest first.
    pub(crate) short_ids: HashMap<Box<str>, Vec<(Box<str>, T)>>,
    pub(crate) digests: HashMap<Digest, (u32, T)>,
    pub(crate) names: Patterns<T>,
    pub(crate) labels: Pairs<T>,
    pub(crate) annotations: Pairs<T>,
    /// In their order, so that of two namespaces of one container the first named wins.
    pub(crate) namespaces: Patterns<(u32, T)>,
}

impl<T> Default for ByContainer<T> {
    fn default() -> Self {
        Self {
            ids: HashMap::new(),
            short_ids: HashMap::new(),
            digests: HashMap::new(),
            names: Patterns::default(),
            labels: Pairs::default(),
            annotations: Pairs::default(),
            namespaces: Patterns::default(),
        }
    }
}

impl<T> ByContainer<T> {
    /// The narrowest selector goes first: [`crate::Selector::ALL`] is this order.
    pub(crate) fn get(&self, subject: &Subject<'_>) -> Option<&T> {
        self.by_id(subject.container_id)
            .or_else(|| first(subject.image_digests.iter().map(|digest| self.digests.get(digest))))
            .or_else(|| {
                if self.names.len() == 0 {
                    return None;
                }
                self.names.get(image::full(subject.image_name?).as_bytes())
            })
            .or_else(|| self.labels.get(subject.labels))
            .or_else(|| self.annotations.get(subject.annotations))
            .or_else(|| {
                let found = subject.namespaces.iter();
                first(found.map(|namespace| self.namespaces.get(namespace.as_bytes())))
            })
    }

    fn by_id(&self, id: &str) -> Option<&T> {
        if let Some(value) = self.ids.get(id) {
            return Some(value);
        }
        // Whoever starts a container with `ctr` chooses its id: only one of the form that
        // Docker, nerdctl and the CRI draw at random can be meant by its beginning.
        if !is_whole_id(id) {
            return None;
        }
        let short = self.short_ids.get(&id[..SHORT_ID])?;
        short.iter().find(|(short, _)| id.starts_with(&**short)).map(|(_, value)| value)
    }
}

pub(crate) fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_whole_id(id: &str) -> bool {
    id.len() == WHOLE_ID && is_hex(id)
}

fn first<'t, T: 't>(found: impl Iterator<Item = Option<&'t (u32, T)>>) -> Option<&'t T> {
    found.flatten().min_by_key(|(order, _)| *order).map(|(_, value)| value)
}

/// By key and value: `app=web` before `app=web-*` and `app`.
#[derive(Debug, Clone)]
pub(crate) struct Pairs<T>(HashMap<Box<str>, PairValues<T>>);

#[derive(Debug, Clone)]
struct PairValues<T> {
    exact: HashMap<Box<[u8]>, (u32, T)>,
    wild: Vec<(u32, Wild, T)>,
}

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Default for PairValues<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wild: Vec::new() }
    }
}

impl<T> Pairs<T> {
    /// Adds a rule; of two for the same value, the first stays.
    pub(crate) fn insert(&mut self, order: u32, key: &str, value: Wild, chosen: T) {
        let values = self.0.entry(key.into()).or_default();
        if let Some(text) = value.literal() {
            values.exact.entry(text.into()).or_insert((order, chosen));
        } else {
            values.wild.push((order, value, chosen));
        }
    }

    fn get(&self, pairs: &[(&str, &str)]) -> Option<&T> {
        if self.0.is_empty() {
            return None;
        }
        let known = || pairs.iter().filter_map(|(key, value)| Some((self.0.get(*key)?, *value)));
        first(known().map(|(values, value)| values.exact.get(value.as_bytes()))).or_else(|| {
            known()
                .filter_map(|(values, value)| {
                    values.wild.iter().find(|(_, wild, _)| wild.matches(value.as_bytes()))
                })
                .min_by_key(|(order, ..)| *order)
                .map(|(_, _, value)| value)
        })
    }
}
