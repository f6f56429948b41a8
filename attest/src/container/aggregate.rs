//! The kernel's `aggregate`: the events of all containers, in the order in which a PCR was
//! extended.

use std::collections::BTreeMap;

use lacre_types::{Algorithm, Digest};
use serde::{Deserialize, Serialize};

use crate::bytes;
use crate::pcr;

/// One line of `aggregate`: an event of some container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The PCR that was extended.
    pub pcr: u32,
    /// Lines with equal numbers went into one extend.
    pub batch: u64,
    /// Whose event it is, to who has the key.
    pub tag: [u8; 32],
    /// What it says, to who has the key.
    pub value: [u8; 32],
}

/// Why a text is no `aggregate`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    /// A line is not `PCR BATCH TAG VALUE`.
    #[error("line {0} of aggregate is not PCR BATCH TAG VALUE")]
    Line(u64),
    /// A line names another PCR than the first.
    #[error("line {line} of aggregate names PCR {got}, the first line names {expected}")]
    Pcr {
        /// Which line.
        line: u64,
        /// What it names.
        got: u32,
        /// What it should.
        expected: u32,
    },
    /// The batches are not numbered one after the other.
    #[error("line {line} of aggregate is of batch {got}, after batch {last}")]
    Batch {
        /// Which line.
        line: u64,
        /// Its batch.
        got: u64,
        /// The one before it.
        last: u64,
    },
    /// The first line is not the start.
    #[error("aggregate does not begin with its start, batch 0")]
    Start,
    /// The line that says that there will be none is not alone in its batch, whose digest is
    /// then of none of them.
    #[error("line {0} of aggregate closes it, and is not alone in its batch")]
    FullWithOthers(u64),
    /// There are lines after the one that says that there will be none.
    #[error("line {0} of aggregate comes after the one that closes it")]
    AfterFull(u64),
}

/// The replay of `aggregate`: it can be kept, and fed the lines that came since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// How many lines were replayed.
    pub lines: u64,
    /// The PCR that they are anchored in; `None` before the first.
    pub pcr: Option<u32>,
    /// What the PCR's SHA-256 bank held before the first line.
    pub start: Option<Digest>,
    /// Whether the kernel ran out of room: nothing after this is anchored.
    pub full: bool,
    batch: u64,
    banks: BTreeMap<Algorithm, Digest>,
}

/// How far a text agrees with a PCR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// After the lines that the PCR vouches for; without a PCR to agree with, after all.
    pub state: Aggregate,
    /// How many bytes of the text those lines are.
    pub anchored: usize,
    /// How many lines follow them: newer than the quote, or false.
    pub more: u64,
    /// Whether some whole number of batches gives the PCR's value.
    pub agrees: bool,
}

const FULL: [u8; 32] = [0xff; 32];

impl Aggregate {
    /// Nothing replayed yet, for these banks.
    #[must_use]
    pub fn new(banks: impl IntoIterator<Item = Algorithm>) -> Self {
        let banks = banks.into_iter().map(|bank| (bank, pcr::initial(bank, 0))).collect();
        Self { lines: 0, pcr: None, start: None, full: false, batch: 0, banks }
    }

    /// What the PCR holds in that bank.
    #[must_use]
    pub fn value(&self, bank: Algorithm) -> Option<&Digest> {
        self.banks.get(&bank)
    }

    /// Replays the text, which follows what was replayed before, until it gives `quoted`,
    /// the PCR's value in one bank.
    ///
    /// # Errors
    /// When it is no text that the kernel writes.
    pub fn replay(&self, text: &[u8], quoted: Option<&Digest>) -> Result<Replayed, AggregateError> {
        let mut state = self.clone();
        let agrees = |state: &Self| quoted.is_some_and(|q| state.value(q.algorithm()) == Some(q));
        let mut found = agrees(&state).then(|| (state.clone(), 0));
        let mut batch = Vec::new();
        let mut at = 0;
        let mut lines = state.lines;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let event = parse_line(line).ok_or(AggregateError::Line(lines))?;
            if lines > state.lines && event.batch != state.batch {
                state.extend(&mut batch, lines);
                if agrees(&state) {
                    found = Some((state.clone(), at));
                }
            }
            state.check(&event, lines, lines > state.lines)?;
            if lines == 0 {
                let start = Digest::sha256(event.value);
                state.pcr = Some(event.pcr);
                state.start = Some(start);
                if let Some(bank) = state.banks.get_mut(&Algorithm::Sha256) {
                    *bank = start;
                }
            }
            if event.is_full() {
                if !batch.is_empty() {
                    return Err(AggregateError::FullWithOthers(lines));
                }
                state.full = true;
            }
            state.batch = event.batch;
            batch.extend_from_slice(&event.tag);
            batch.extend_from_slice(&event.value);
            lines += 1;
            at += line.len();
        }
        if !batch.is_empty() {
            state.extend(&mut batch, lines);
            if agrees(&state) {
                found = Some((state.clone(), at));
            }
        }
        Ok(match found {
            Some((anchored, at)) => {
                let more = state.lines - anchored.lines;
                Replayed { state: anchored, anchored: at, more, agrees: true }
            }
            None => Replayed { state, anchored: at, more: 0, agrees: false },
        })
    }

    /// Whether a text begins with the lines that led to this, by what they come to.
    #[must_use]
    pub fn begins(&self, text: &[u8]) -> bool {
        let lines = usize::try_from(self.lines).unwrap_or(usize::MAX);
        let len = text.split_inclusive(|byte| *byte == b'\n').take(lines).map(<[u8]>::len).sum();
        let banks = self.banks.keys().copied();
        let replayed = Self::new(banks).replay(&text[..len], None);
        replayed.is_ok_and(|replayed| replayed.state == *self)
    }

    fn extend(&mut self, batch: &mut Vec<u8>, lines: u64) {
        for (bank, value) in &mut self.banks {
            let event = match self.full {
                true => pcr::repeated(*bank, 0xff),
                false => pcr::hash(*bank, &[batch]),
            };
            *value = pcr::extended(value, event.as_bytes());
        }
        batch.clear();
        self.lines = lines;
    }

    /// `within`: whether the line before it, of batch `self.batch`, is not extended yet.
    fn check(&self, event: &Event, line: u64, within: bool) -> Result<(), AggregateError> {
        let Some(pcr) = self.pcr else {
            return if event.is_start() { Ok(()) } else { Err(AggregateError::Start) };
        };
        if self.full {
            return Err(AggregateError::AfterFull(line));
        }
        if event.pcr != pcr {
            return Err(AggregateError::Pcr { line, got: event.pcr, expected: pcr });
        }
        let follows = event.batch == self.batch + 1 || (within && event.batch == self.batch);
        // The start is a batch of its own.
        if !follows || event.batch == 0 {
            return Err(AggregateError::Batch { line, got: event.batch, last: self.batch });
        }
        Ok(())
    }
}

impl Event {
    pub(crate) fn is_start(&self) -> bool {
        self.batch == 0 && self.tag == [0; 32]
    }

    /// Whether it says that nothing after it is anchored.
    pub(crate) fn is_full(&self) -> bool {
        self.tag == FULL && self.value == FULL
    }

    /// The line, as the kernel writes it.
    #[must_use]
    pub fn line(&self) -> String {
        let (tag, value) = (bytes::to_hex(&self.tag), bytes::to_hex(&self.value));
        format!("{} {} {tag} {value}\n", self.pcr, self.batch)
    }
}

/// A line with its line feed; `None` when it is not one of `aggregate`.
#[must_use]
pub fn parse_line(line: &[u8]) -> Option<Event> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let mut words = line.split(' ');
    let mut word = || words.next();
    let event = Event {
        pcr: word()?.parse().ok().filter(|pcr| *pcr < pcr::COUNT)?,
        batch: word()?.parse().ok().filter(|batch| *batch < u64::MAX)?,
        tag: bytes::from_hex32(word()?)?,
        value: bytes::from_hex32(word()?)?,
    };
    word().is_none().then_some(event)
}
