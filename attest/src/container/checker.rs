//! A container's list held against the events that are anchored for it: what they vouch for, and
//! what is wrong.

use serde::{Deserialize, Serialize};

use super::{Key, Kind};
use crate::pcr;
use lacre_types::{Algorithm, Digest};

/// How far a container's list is known to be true. It can be kept, and the next lines
/// checked from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// How many of the container's events were found in `aggregate`.
    pub events: u64,
    /// How many lines of the list they vouch for.
    pub lines: u64,
    /// The cPCR after those lines.
    pub cpcr: Digest,
    /// Whether the list is final.
    pub closed: bool,
}

/// What is wrong with a list whose container's events are anchored. Lines count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Events are anchored for lines that the list does not have.
    Truncated {
        /// How many lines it has.
        lines: u64,
        /// How many of the container's events have no line.
        missing: u64,
    },
    /// This line is another than the one that was anchored.
    Edited(u64),
    /// Here a line was taken out: there are fewer lines than events.
    Removed(u64),
    /// This line stands before one that came before it.
    Reordered(u64),
    /// This line was there once, and is there again.
    Duplicated(u64),
    /// Here stand lines that are not the container's.
    Interleaved {
        /// The first of them.
        line: u64,
        /// How many.
        count: u64,
    },
    /// The list was final, and has more lines.
    Appended(u64),
    /// This line is another than the one that was anchored, and to tell how that came about
    /// would take too long.
    Altered(u64),
    /// The container's first event is not its creation: the key is not this container's.
    NotCreated,
}

impl Audited {
    /// Of a container that nothing is known of yet.
    #[must_use]
    pub fn new() -> Self {
        let cpcr = pcr::initial(Algorithm::Sha256, 0);
        Self { events: 0, lines: 0, cpcr, closed: false }
    }

    /// The tag of the next event, and its value if it is the list's end; `None` when the list
    /// is final.
    #[must_use]
    pub fn next(&self, key: &Key) -> Option<([u8; 32], [u8; 32])> {
        let close = || key.value(self.events, Kind::Close, self.cpcr());
        (!self.closed).then(|| (key.tag(self.events), close()))
    }

    fn cpcr(&self) -> &[u8; 32] {
        self.cpcr.as_bytes().first_chunk().unwrap_or(&[0; 32])
    }
}

impl Default for Audited {
    fn default() -> Self {
        Self::new()
    }
}

/// Checks the lines after `known.lines` (the SHA-256 digest of each one's template data,
/// ones for a violation) against the anchored values of the events after `known.events`.
/// Lines that no event vouches for yet are left out of the answer. `count` is how many lines
/// the list is said to have: a hint by which a line that was edited is told from one that
/// was taken out.
///
/// # Errors
/// What is wrong first, and what is known of the list before it.
pub fn audit(
    key: &Key,
    known: &Audited,
    lines: &[Digest],
    values: &[[u8; 32]],
    count: Option<u64>,
) -> Result<Audited, (Fault, Audited)> {
    audit_within(&mut MAX_STEPS.clone(), key, known, lines, values, count)
}

/// The same, where what tells how lists were altered may take so many steps in all of them.
pub(crate) fn audit_within(
    steps: &mut usize,
    key: &Key,
    known: &Audited,
    lines: &[Digest],
    values: &[[u8; 32]],
    count: Option<u64>,
) -> Result<Audited, (Fault, Audited)> {
    let mut state = known.clone();
    let first = known.lines;
    for value in values {
        let n = state.events;
        if n == 0 {
            if *value != key.value(0, Kind::Create, state.cpcr()) {
                return Err((Fault::NotCreated, state));
            }
            state.events = 1;
            continue;
        }
        let at = usize::try_from(state.lines - first).unwrap_or(usize::MAX);
        if *value == key.value(n, Kind::Close, state.cpcr()) {
            if lines.len() > at {
                return Err((Fault::Appended(state.lines), state));
            }
            state.closed = true;
            state.events += 1;
            continue;
        }
        let Some(line) = lines.get(at) else {
            let missing = known.events + values.len() as u64 - n;
            return Err((Fault::Truncated { lines: state.lines, missing }, state));
        };
        let next = pcr::extended(&state.cpcr, line.as_bytes());
        let reached = Audited { cpcr: next, lines: state.lines + 1, events: n + 1, closed: false };
        if *value != key.value(n, Kind::Line, reached.cpcr()) {
            let rest = &values[usize::try_from(n - known.events).unwrap_or(usize::MAX)..];
            let short = match count {
                Some(count) => first + (lines.len() as u64) < count,
                None => lines.len() - at < rest.len(),
            };
            return Err((classify(steps, key, &state, lines, at, rest, short), state));
        }
        state = reached;
    }
    Ok(state)
}

/// How many lines are tried to tell how a list was altered, about a tenth of a second.
const MAX_STEPS: usize = 100_000;

/// How many of these lines, of a list from its beginning, are vouched for by these values.
pub(crate) fn explained(
    steps: &mut usize,
    key: &Key,
    lines: &[Digest],
    values: &[[u8; 32]],
) -> u64 {
    let mut state = Audited::new();
    let created = key.value(0, Kind::Create, state.cpcr());
    *steps = steps.saturating_sub(1);
    if values.first() != Some(&created) {
        return 0;
    }
    state.events = 1;
    for (line, value) in lines.iter().zip(&values[1..]) {
        match spend(steps).and_then(|()| leads(key, &state, line, value)) {
            Some(next) => state = next,
            None => break,
        }
    }
    state.lines
}

fn spend(steps: &mut usize) -> Option<()> {
    *steps = steps.checked_sub(1)?;
    Some(())
}

/// Whether a line leads from what is known to that value.
fn leads(key: &Key, state: &Audited, line: &Digest, value: &[u8; 32]) -> Option<Audited> {
    let cpcr = pcr::extended(&state.cpcr, line.as_bytes());
    let next = Audited { cpcr, lines: state.lines + 1, events: state.events + 1, closed: false };
    (key.value(state.events, Kind::Line, next.cpcr()) == *value).then_some(next)
}

/// Line `at` does not lead to the first of `values`. Looks for the line that does.
fn classify(
    steps: &mut usize,
    key: &Key,
    state: &Audited,
    lines: &[Digest],
    at: usize,
    values: &[[u8; 32]],
    short: bool,
) -> Fault {
    let line = state.lines;
    let after = &lines[at + 1..];
    let mut found = None;
    for (skipped, candidate) in after.iter().enumerate() {
        if spend(steps).is_none() {
            return Fault::Altered(line);
        }
        found = leads(key, state, candidate, &values[0]).map(|next| (skipped + 1, next));
        if found.is_some() {
            break;
        }
    }
    let Some((skipped, next)) = found else {
        // The true line is nowhere, and what follows it can't be checked without it.
        return if short { Fault::Removed(line) } else { Fault::Edited(line) };
    };
    if lines[..at].contains(&lines[at]) {
        return Fault::Duplicated(line);
    }
    // Foreign lines are never used; one that stands too early is, later on.
    let mut unused: Vec<usize> = (at..lines.len()).filter(|other| *other != at + skipped).collect();
    let mut state = next;
    // No list takes all that tells the others.
    let mut own = MAX_STEPS.min(*steps);
    *steps -= own;
    let mut fault = Fault::Interleaved { line, count: skipped as u64 };
    for value in &values[1..] {
        let next = unused.iter().enumerate().find_map(|(place, other)| {
            spend(&mut own)?;
            leads(key, &state, &lines[*other], value).map(|next| (place, next))
        });
        let Some((place, next)) = next else { break };
        if unused.remove(place) == at {
            fault = Fault::Reordered(line);
            break;
        }
        state = next;
    }
    *steps += own;
    if own == 0 { Fault::Altered(line) } else { fault }
}
