//! The other side: a container's list, and the batches of `aggregate`, as they are made.

use lacre_types::{Algorithm, Digest};

use super::{Event, Key, Kind};
use crate::ima::write;
use crate::pcr;

/// The name of the violation that marks missing lines in a container's list.
pub const OVERFLOW: &[u8] = b"ima_container_overflow";

/// A container's list while it grows.
#[derive(Debug, Clone)]
pub struct Recorded {
    key: Key,
    pcr: u32,
    events: u64,
    lines: u64,
    cpcr: [u8; 32],
}

/// The tag and the value of one event.
pub type Tagged = ([u8; 32], [u8; 32]);

impl Recorded {
    /// A new container, whose lines name that PCR; and the event of its creation.
    #[must_use]
    pub fn create(key: Key, pcr: u32) -> (Self, Tagged) {
        let mut list = Self { key, pcr, events: 0, lines: 0, cpcr: [0; 32] };
        let event = list.event(Kind::Create);
        (list, event)
    }

    /// Adds what was measured: the entry's bytes, and its event.
    pub fn file(&mut self, digest: &Digest, name: &[u8]) -> (Vec<u8>, Tagged) {
        let data = write::ima_ng(digest, &shown(name));
        let event = pcr::hash(Algorithm::Sha256, &[&data]);
        let entry = write::binary(self.pcr, event.as_bytes(), b"ima-ng", &data);
        (entry, self.line(&event))
    }

    /// Adds the line that says that lines are missing here.
    pub fn overflow(&mut self) -> (Vec<u8>, Tagged) {
        self.violation(OVERFLOW)
    }

    /// Adds what ran and could not be measured.
    pub fn violation(&mut self, name: &[u8]) -> (Vec<u8>, Tagged) {
        let data = write::ima_ng(&Digest::sha256([0; 32]), &shown(name));
        let entry = write::binary(self.pcr, &[0; 32], b"ima-ng", &data);
        (entry, self.line(&pcr::repeated(Algorithm::Sha256, 0xff)))
    }

    /// The event which says that the list is final.
    pub fn close(&mut self) -> Tagged {
        self.event(Kind::Close)
    }

    /// How many lines it has.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    fn line(&mut self, event: &Digest) -> Tagged {
        let next = pcr::extended(&Digest::sha256(self.cpcr), event.as_bytes());
        self.cpcr.copy_from_slice(next.as_bytes());
        self.lines += 1;
        self.event(Kind::Line)
    }

    fn event(&mut self, kind: Kind) -> Tagged {
        let n = self.events;
        self.events += 1;
        (self.key.tag(n), self.key.value(n, kind, &self.cpcr))
    }
}

/// A name as the kernel writes it (`ima_write_template_field_data`).
fn shown(name: &[u8]) -> Vec<u8> {
    name.iter().map(|byte| if *byte == b' ' { b'_' } else { *byte }).collect()
}

/// Events on their way into a PCR.
#[derive(Debug, Clone)]
pub struct Recorder {
    pcr: u32,
    batch: u64,
}

/// Events that go into one extend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The lines of `aggregate`.
    pub text: String,
    bytes: Vec<u8>,
}

impl Recorder {
    /// Continues an `aggregate` after that batch.
    #[must_use]
    pub const fn after(pcr: u32, batch: u64) -> Self {
        Self { pcr, batch: batch + 1 }
    }

    /// Begins one on a PCR that holds `start` in its SHA-256 bank: the first batch, which
    /// must be extended like any other.
    #[must_use]
    pub fn begin(pcr: u32, start: [u8; 32]) -> (Self, Batch) {
        let mut recorder = Self { pcr, batch: 0 };
        let first = recorder.batch(&[([0; 32], start)]);
        (recorder, first)
    }

    /// Puts events into one batch.
    pub fn batch(&mut self, events: &[Tagged]) -> Batch {
        let mut batch = Batch { text: String::new(), bytes: Vec::new() };
        for (tag, value) in events {
            let event = Event { pcr: self.pcr, batch: self.batch, tag: *tag, value: *value };
            batch.text.push_str(&event.line());
            batch.bytes.extend_from_slice(tag);
            batch.bytes.extend_from_slice(value);
        }
        self.batch += 1;
        batch
    }
}

impl Batch {
    /// What a bank is extended with.
    #[must_use]
    pub fn digest(&self, bank: Algorithm) -> Digest {
        pcr::hash(bank, &[&self.bytes])
    }
}
