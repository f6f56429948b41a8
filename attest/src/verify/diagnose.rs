//! A list that does not replay to its PCR: what was done to it, where that can be told.
//!
//! A PCR can't be asked which line is wrong, but a guess can be checked against it, and a
//! guess that gives its value is right. The guesses are what a forger does most easily.

use std::collections::HashSet;

use lacre_types::Digest;

use crate::pcr;

/// How many extends all guesses may cost together, about a second.
const BUDGET: usize = 4_000_000;

/// What was done to a list. Lines count from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// This line is there twice.
    Duplicated(usize),
    /// This line and the one after it, or another, were swapped.
    Reordered(usize),
    /// This line is not the list's.
    Foreign(usize),
}

/// Where the true list begins behind another. `boots` are the lines that are a
/// `boot_aggregate`.
pub(super) fn concatenated(
    start: &Digest,
    events: &[Digest],
    target: &Digest,
    boots: &[usize],
) -> Option<usize> {
    let mut guesses = Guesses { target, budget: BUDGET / 4 };
    let mut later = boots.iter().copied().filter(|at| *at > 0);
    later.find(|at| guesses.lead(start, events[*at..].iter()))
}

/// Guesses.
pub(super) fn guess(start: &Digest, events: &[Digest], target: &Digest) -> Option<Shape> {
    let mut guesses = Guesses { target, budget: BUDGET };
    let mut known = HashSet::new();
    let doubles: Vec<usize> =
        (0..events.len()).filter(|at| !known.insert(events[*at].as_bytes())).collect();
    if let Some(first) = doubles.first() {
        let all: HashSet<usize> = doubles.iter().copied().collect();
        let once = events.iter().enumerate().filter(|(at, _)| !all.contains(at));
        if guesses.lead(start, once.map(|(_, event)| event)) {
            return Some(Shape::Duplicated(*first));
        }
    }
    // The values before each line: `states[i]` is that before line i.
    let mut states = Vec::with_capacity(events.len());
    let mut value = *start;
    for event in events {
        states.push(value);
        value = pcr::extended(&value, event.as_bytes());
    }
    for at in doubles {
        if guesses.lead(&states[at], events[at + 1..].iter()) {
            return Some(Shape::Duplicated(at));
        }
    }
    let adjacent = (0..events.len().saturating_sub(1)).map(|at| (at, at + 1));
    if let Some(at) = guesses.swapped(&states, events, adjacent) {
        return Some(Shape::Reordered(at));
    }
    for at in (0..events.len()).rev() {
        if guesses.lead(&states[at], events[at + 1..].iter()) {
            return Some(Shape::Foreign(at));
        }
    }
    let any = (0..events.len()).flat_map(|a| (a + 2..events.len()).map(move |b| (a, b)));
    guesses.swapped(&states, events, any).map(Shape::Reordered)
}

struct Guesses<'a> {
    target: &'a Digest,
    budget: usize,
}

impl Guesses<'_> {
    /// Whether the events, or the first of them, lead to the target.
    fn lead<'a>(&mut self, start: &Digest, events: impl Iterator<Item = &'a Digest>) -> bool {
        let mut value = *start;
        for event in events {
            let Some(left) = self.budget.checked_sub(1) else { return false };
            self.budget = left;
            value = pcr::extended(&value, event.as_bytes());
            if value == *self.target {
                return true;
            }
        }
        false
    }

    fn swapped(
        &mut self,
        states: &[Digest],
        events: &[Digest],
        pairs: impl Iterator<Item = (usize, usize)>,
    ) -> Option<usize> {
        for (a, b) in pairs {
            if self.budget == 0 {
                return None;
            }
            let order = std::iter::once(&events[b])
                .chain(&events[a + 1..b])
                .chain(std::iter::once(&events[a]))
                .chain(&events[b + 1..]);
            if self.lead(&states[a], order) {
                return Some(a);
            }
        }
        None
    }
}
