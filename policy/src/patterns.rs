//! Values by exact text or glob, found without trying each.

use std::collections::HashMap;

use crate::glob::Glob;

/// Values by exact text and by glob. The exact text goes first, then the glob that was
/// put in first.
///
/// Globs are found by the bytes that they begin with: a lookup is one binary search and
/// the globs whose beginning the subject shares.
#[derive(Debug, Clone)]
pub(crate) struct Patterns<T> {
    exact: HashMap<Box<[u8]>, (u32, T)>,
    /// Sorted by beginning.
    groups: Vec<Group<T>>,
}

#[derive(Debug, Clone)]
struct Group<T> {
    prefix: Box<[u8]>,
    /// The group with the longest beginning that this one's continues.
    parent: Option<usize>,
    globs: Vec<(u32, Glob, T)>,
}

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), groups: Vec::new() }
    }
}

impl<T> FromIterator<(Glob, T)> for Patterns<T> {
    /// Takes them in their order; of two that are the same text, the first stays.
    fn from_iter<I: IntoIterator<Item = (Glob, T)>>(patterns: I) -> Self {
        let mut exact = HashMap::new();
        let mut globs = Vec::new();
        for (order, (glob, value)) in (0..).zip(patterns) {
            if let Some(text) = glob.literal() {
                exact.entry(text.into()).or_insert((order, value));
            } else {
                globs.push((Box::<[u8]>::from(glob.prefix()), (order, glob, value)));
            }
        }
        globs.sort_by(|(a, x), (b, y)| (a, x.0).cmp(&(b, y.0)));
        let mut groups: Vec<Group<T>> = Vec::new();
        for (prefix, glob) in globs {
            match groups.last_mut() {
                Some(last) if last.prefix == prefix => last.globs.push(glob),
                last => {
                    let mut parent = last.is_some().then(|| groups.len() - 1);
                    while let Some(at) = parent
                        && !prefix.starts_with(&groups[at].prefix)
                    {
                        parent = groups[at].parent;
                    }
                    groups.push(Group { prefix, parent, globs: vec![glob] });
                }
            }
        }
        Self { exact, groups }
    }
}

impl<T> Patterns<T> {
    /// The value for the text.
    pub(crate) fn get(&self, text: &[u8]) -> Option<&T> {
        if let Some((_, value)) = self.exact.get(text) {
            return Some(value);
        }
        // Between a beginning of the text and the text itself stand only continuations of
        // that beginning, so all of them are ancestors of the last group before the text.
        let after = self.groups.partition_point(|group| *group.prefix <= *text);
        let mut group = after.checked_sub(1);
        let mut best: Option<(u32, &T)> = None;
        while let Some(at) = group {
            let Group { prefix, parent, globs } = &self.groups[at];
            if text.starts_with(prefix) {
                let found = globs
                    .iter()
                    .take_while(|(order, ..)| best.is_none_or(|(first, _)| *order < first))
                    .find(|(_, glob, _)| glob.matches(text));
                if let Some((order, _, value)) = found {
                    best = Some((*order, value));
                }
            }
            group = *parent;
        }
        best.map(|(_, value)| value)
    }

    /// All values, in the order in which they were put in.
    pub(crate) fn in_order(&self) -> Vec<&T> {
        let globs = self.groups.iter().flat_map(|group| &group.globs);
        let mut all: Vec<(u32, &T)> = globs
            .map(|(order, _, value)| (*order, value))
            .chain(self.exact.values().map(|(order, value)| (*order, value)))
            .collect();
        all.sort_by_key(|(order, _)| *order);
        all.into_iter().map(|(_, value)| value).collect()
    }

    /// All patterns with their values, in the order in which they are asked.
    pub(crate) fn ranked(&self) -> Vec<(Glob, &T)> {
        let exact = self.exact.iter().map(|(text, (_, value))| (Glob::of_literal(text), value));
        let globs = self.groups.iter().flat_map(|group| &group.globs);
        let mut globs: Vec<_> = globs.map(|(order, glob, value)| (*order, glob, value)).collect();
        globs.sort_by_key(|(order, ..)| *order);
        exact.chain(globs.into_iter().map(|(_, glob, value)| (glob.clone(), value))).collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.exact.len() + self.groups.iter().map(|group| group.globs.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn the_index_finds_what_a_look_at_each_would(
            patterns in prop::collection::vec("/[ab]{0,3}(/\\*\\*|/[ab]?\\*|\\*|\\?|)", 0..12),
            text in "/[ab]{0,3}(/[ab]{0,3}){0,2}",
        ) {
            let globs: Vec<_> = patterns.iter().map(|p| Glob::new(p).unwrap()).collect();
            let map: Patterns<usize> = globs.iter().cloned().zip(0..).collect();
            let first = |exact: bool| globs.iter().position(|glob| {
                glob.literal().is_some() == exact && glob.matches(text.as_bytes())
            });
            prop_assert_eq!(map.get(text.as_bytes()).copied(), first(true).or(first(false)));
        }
    }
}
