//! What was found of a node, and what somebody must look at.

use serde::{Deserialize, Serialize};

/// The most findings that are kept of one verdict, as many questions that were not checked,
/// and the most characters of what is said of each.
pub(super) const FINDINGS: usize = 64;
pub(super) const SAYS: usize = 1024;

/// A finding, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Its name.
    pub name: String,
    /// Whether it is only to be known.
    #[serde(default)]
    pub note: bool,
    /// What it says.
    pub says: String,
}

impl Told {
    pub(super) fn new(name: &str, says: &str) -> Self {
        Self {
            name: name.to_owned(),
            note: false,
            says: cut(&lacre_types::escape(says.as_bytes())),
        }
    }
}

/// What somebody must look at: what evidence of a node showed, whatever it shows since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Since when.
    pub(super) since: u64,
    /// Since when it is known to have shown what is not the truth.
    #[serde(default)]
    pub(super) tampered: Option<u64>,
    /// What was found, each once.
    pub(super) findings: Vec<Told>,
}

impl Incident {
    /// Adds what was found, each once.
    pub(super) fn add(&mut self, faults: Vec<Told>, tampered: bool, now: u64) {
        for fault in faults {
            if self.findings.len() < FINDINGS && !self.findings.contains(&fault) {
                self.findings.push(fault);
            }
        }
        if tampered {
            self.tampered.get_or_insert(now);
        }
    }
}

/// That somebody has looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Acknowledged {
    /// When.
    pub(super) at: u64,
    /// What was found.
    pub(super) reason: String,
}

/// As much of it as is kept: a node chooses what its containers are called.
pub(super) fn cut(says: &str) -> String {
    says.chars().take(SAYS).collect()
}
