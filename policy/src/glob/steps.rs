//! The automaton of several patterns, as sets of places in them.

use std::collections::BTreeSet;

use super::syntax::Token;
use super::{Glob, Part};

/// Several patterns as one automaton without a decision yet, over the parts of a path from the
/// last to the first, each ended by a zero byte; the empty part before the first slash is left
/// out.
pub(crate) struct Steps<'g> {
    /// Of each pattern, its parts from the last to the first.
    patterns: Vec<Vec<&'g Part>>,
    /// Pattern, part and token of each place; the part's own end is a token too.
    places: Vec<(usize, usize, usize)>,
    /// The place of a pattern's part's beginning.
    begins: Vec<Vec<usize>>,
}

impl<'g> Steps<'g> {
    pub(crate) fn of(globs: &[&'g Glob]) -> Self {
        let patterns: Vec<Vec<&Part>> =
            globs.iter().map(|glob| glob.0.iter().rev().collect()).collect();
        let (mut places, mut begins) = (Vec::new(), Vec::new());
        for (pattern, parts) in patterns.iter().enumerate() {
            let mut begin = Vec::new();
            for (part, own) in parts.iter().enumerate() {
                begin.push(places.len());
                let tokens = match own {
                    Part::Any => 0,
                    Part::One(wild) => wild.0.len(),
                };
                places.extend((0..=tokens).map(|token| (pattern, part, token)));
            }
            begins.push(begin);
        }
        Self { patterns, places, begins }
    }

    pub(crate) fn start(&self) -> BTreeSet<u32> {
        let mut set = BTreeSet::new();
        (0..self.patterns.len()).for_each(|pattern| self.begin(&mut set, pattern, 0));
        set
    }

    /// A part begins: where it may be none at all, the next one does.
    fn begin(&self, set: &mut BTreeSet<u32>, pattern: usize, part: usize) {
        let Some(place) = self.begins[pattern].get(part) else { return };
        self.reach(set, *place);
        // At the end of a pattern it is one part at least.
        if part > 0 && *self.patterns[pattern][part] == Part::Any {
            self.begin(set, pattern, part + 1);
        }
    }

    /// A place, and where a star may take nothing, the next.
    fn reach(&self, set: &mut BTreeSet<u32>, place: usize) {
        set.insert(place as u32);
        if self.token(place) == Some(&Token::Star) {
            self.reach(set, place + 1);
        }
    }

    fn token(&self, place: usize) -> Option<&'g Token> {
        let (pattern, part, token) = self.places[place];
        match self.patterns[pattern][part] {
            Part::Any => None,
            Part::One(wild) => wild.0.get(token),
        }
    }

    /// Where one byte leads.
    pub(crate) fn take(&self, set: &BTreeSet<u32>, byte: u8) -> BTreeSet<u32> {
        let mut next = BTreeSet::new();
        for place in set.iter().map(|place| *place as usize) {
            let (pattern, part, _) = self.places[place];
            let is_any = *self.patterns[pattern][part] == Part::Any;
            match self.token(place) {
                None if byte == 0 => {
                    self.begin(&mut next, pattern, part + 1);
                    if is_any {
                        self.begin(&mut next, pattern, part);
                    }
                }
                None if is_any => self.reach(&mut next, place),
                Some(Token::Star) if byte != 0 => self.reach(&mut next, place),
                Some(token) if byte != 0 && token.takes(byte) => self.reach(&mut next, place + 1),
                _ => {}
            }
        }
        next
    }

    /// The patterns that match a path that ends here, behind a zero byte: what is left of it is
    /// the empty part.
    pub(crate) fn ends(&self, set: &BTreeSet<u32>) -> impl Iterator<Item = usize> {
        set.iter().filter_map(|place| {
            let (pattern, part, _) = self.places[*place as usize];
            let is_last = self.patterns[pattern][part + 1..].iter().all(|rest| **rest == Part::Any);
            (is_last && self.token(*place as usize).is_none()).then_some(pattern)
        })
    }
}
