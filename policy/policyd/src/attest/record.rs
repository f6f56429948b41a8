//! What is kept of one node, and what it comes to.

use std::fmt;
use std::time::{Duration, SystemTime};

use lacre_attest::enrol::{NodeState, Trust};
use lacre_attest::evidence::Evidence;
use lacre_attest::verify::{Answer, Verified};
use lacre_proto::attest::{Finding, Node};
use lacre_report::rfc3339;
use serde::{Deserialize, Serialize};

/// The version of the file.
const VERSION: u32 = 1;

/// The most findings that are kept of one verdict, as many questions that were not checked,
/// and the most characters of what is said of each.
const FINDINGS: usize = 64;
const SAYS: usize = 1024;

/// What is thought of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its last evidence was all that it should be, and is young enough.
    Trusted,
    /// Evidence of it was not.
    Untrusted,
    /// It has not shown all that is asked for.
    Unproven,
    /// It has not shown anything for two intervals.
    Stale,
    /// Its TPM is not known.
    Unenrolled,
}

impl State {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Untrusted => "untrusted",
            Self::Unproven => "unproven",
            Self::Stale => "stale",
            Self::Unenrolled => "unenrolled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A finding, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
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
    since: u64,
    /// Since when it is known to have shown what is not the truth.
    #[serde(default)]
    tampered: Option<u64>,
    /// What was found, each once.
    findings: Vec<Told>,
}

/// That somebody has looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// When.
    at: u64,
    /// What was found.
    reason: String,
}

/// A node. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// Whose connections are this node's.
    pub principal: String,
    /// Its keys, its trust, and what was last seen of it.
    pub known: NodeState,
    /// Since when the trust is what it is.
    since: u64,
    /// Of a state that was written before incidents were kept.
    #[serde(default, skip_serializing)]
    tampered: bool,
    /// Whether it was written since they are.
    #[serde(default)]
    keeps_incidents: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incident: Option<Incident>,
    /// The last incident that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acknowledged: Option<Acknowledged>,
    /// When evidence last came.
    #[serde(default)]
    evidence: Option<u64>,
    #[serde(default)]
    findings: Vec<Told>,
    #[serde(default)]
    unchecked: Vec<String>,
    #[serde(default)]
    lines: u64,
    #[serde(default)]
    fresh: u64,
    /// When evidence is next wanted.
    #[serde(skip)]
    pub(super) due: u64,
}

/// Now, in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// As much of it as is kept: a node chooses what its containers are called.
fn cut(says: &str) -> String {
    says.chars().take(SAYS).collect()
}

/// The seconds for which evidence tells of now.
const fn stale_after(interval: Duration) -> u64 {
    2 * interval.as_secs()
}

/// Whole seconds need no fraction.
fn shown(seconds: u64) -> String {
    let time = rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    time.split_once('.').map_or(time.clone(), |(whole, _)| format!("{whole}Z"))
}

impl Record {
    /// A node that has just enrolled, in place of what was known of it by the same TPM.
    pub(super) fn enrolled(principal: &str, mut known: NodeState, before: Option<&Self>) -> Self {
        let enrolled = known.enrolled;
        let fresh = Self {
            version: VERSION,
            principal: principal.to_owned(),
            since: enrolled,
            tampered: false,
            keeps_incidents: true,
            incident: None,
            acknowledged: None,
            evidence: None,
            findings: Vec::new(),
            unchecked: Vec::new(),
            lines: 0,
            fresh: 0,
            due: enrolled,
            known: known.clone(),
        };
        let Some(before) = before else { return fresh };
        // A new attestation key clears nobody, and the TPM's clock goes on.
        known.seen.clone_from(&before.known.seen);
        known.claims.clone_from(&before.known.claims);
        if before.known.trust == Trust::Untrusted {
            known.trust = Trust::Untrusted;
            return Self { known, due: enrolled, ..before.clone() };
        }
        let (incident, acknowledged) = (before.incident.clone(), before.acknowledged.clone());
        Self { known, incident, acknowledged, ..fresh }
    }

    /// Reads a node's file.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let mut record: Self = serde_json::from_slice(text)?;
        if record.version == VERSION {
            let tampered = std::mem::take(&mut record.tampered).then_some(record.since);
            let before = !std::mem::replace(&mut record.keeps_incidents, true);
            if before && record.known.trust == Trust::Untrusted {
                let findings = record.findings.iter().filter(|told| !told.note).cloned().collect();
                record.incident = Some(Incident { since: record.since, tampered, findings });
            }
            return Ok(record);
        }
        Err(serde::de::Error::custom(format_args!("version {} is not known", record.version)))
    }

    /// Its file.
    ///
    /// # Errors
    /// When it can't be written as one.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// What is thought of it.
    #[must_use]
    pub fn state(&self, now: u64, interval: Duration) -> State {
        match self.known.trust {
            Trust::Untrusted => State::Untrusted,
            // A clock that was set back can't tell how old it is.
            _ if now.abs_diff(self.heard()) > stale_after(interval) => State::Stale,
            Trust::Trusted => State::Trusted,
            Trust::Unknown => State::Unproven,
        }
    }

    /// When evidence last came, or the node enrolled.
    pub(super) fn heard(&self) -> u64 {
        self.evidence.unwrap_or(self.known.enrolled)
    }

    /// Since when it is known to show what is not the truth.
    #[must_use]
    pub fn tampered(&self) -> Option<u64> {
        self.incident.as_ref()?.tampered
    }

    /// What somebody must look at.
    #[must_use]
    pub const fn incident(&self) -> Option<&Incident> {
        self.incident.as_ref()
    }

    /// Somebody has looked, and says what it was. Whether there was something to look at.
    pub(super) fn acknowledge(&mut self, reason: &str, now: u64) -> bool {
        let open = self.incident.take().is_some();
        if open {
            self.acknowledged = Some(Acknowledged { at: now, reason: cut(reason) });
        }
        open
    }

    /// Notes what came of evidence.
    pub(super) fn note(&mut self, evidence: &Evidence, verified: Verified, now: u64) {
        let before = self.known.trust;
        let verdict = &verified.verdict;
        let findings = verdict.findings();
        let told = findings.iter().take(FINDINGS).map(|finding| Told {
            note: finding.is_note(),
            ..Told::new(finding.name(), &finding.to_string())
        });
        let told: Vec<Told> = told.collect();
        let unchecked = verdict.answers().iter().filter_map(|(question, answer)| match answer {
            Answer::NotChecked(why) => Some(cut(&format!("{question}: {why}"))),
            _ => None,
        });
        self.unchecked = unchecked.take(FINDINGS).collect();
        self.findings = told;
        // What came too late shows nothing.
        let late = |finding: &lacre_attest::verify::Finding| {
            matches!(finding, lacre_attest::verify::Finding::NonceStale { .. })
        };
        let faults = findings.iter().filter(|finding| finding.is_fault() && !late(finding));
        let faults: Vec<_> = faults.collect();
        let tampered = faults.iter().any(|finding| finding.is_tampering());
        let faults = faults.iter().map(|fault| Told::new(fault.name(), &fault.to_string()));
        let faults: Vec<Told> = faults.take(FINDINGS).collect();
        self.lines = verified.lines.values().sum();
        self.fresh = self.lines.saturating_sub(left_out(evidence));
        self.evidence = Some(now);
        self.known.note(verified, now);
        if !faults.is_empty() {
            self.remember(faults, tampered, now);
        }
        self.changed(before, now);
    }

    /// Adds to what somebody must look at.
    fn remember(&mut self, faults: Vec<Told>, tampered: bool, now: u64) {
        let new = || Incident { since: now, tampered: None, findings: Vec::new() };
        let incident = self.incident.get_or_insert_with(new);
        for fault in faults {
            if incident.findings.len() < FINDINGS && !incident.findings.contains(&fault) {
                incident.findings.push(fault);
            }
        }
        if tampered {
            incident.tampered.get_or_insert(now);
        }
    }

    /// Notes that there is none, and why.
    pub(super) fn doubt(&mut self, why: Told, now: u64) {
        let before = self.known.trust;
        self.known.doubt();
        if before != Trust::Untrusted {
            (self.findings, self.unchecked) = (vec![why], Vec::new());
        }
        self.changed(before, now);
    }

    fn changed(&mut self, before: Trust, now: u64) {
        if self.known.trust != before {
            self.since = now;
        }
    }

    /// For those who ask.
    pub(super) fn show(&self, now: u64, interval: Duration) -> Node {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let state = self.state(now, interval);
        let since = match state {
            State::Stale => self.heard().saturating_add(stale_after(interval)).min(now),
            _ => self.since,
        };
        let shown_of = |told: &Told| Finding {
            name: told.name.clone(),
            note: told.note,
            says: told.says.clone(),
            ..Finding::default()
        };
        let findings = self.findings.iter().map(shown_of);
        let incident = self.incident.as_ref();
        let found = incident.iter().flat_map(|incident| &incident.findings).map(shown_of);
        let looked = self.acknowledged.as_ref();
        Node {
            principal: self.principal.clone(),
            node: self.known.node.clone(),
            state: state.to_string(),
            since: shown(since),
            evidence: self.evidence.map(shown).unwrap_or_default(),
            findings: findings.collect(),
            unchecked: self.unchecked.clone(),
            ek: hex(&self.known.ek_name),
            ak: hex(&self.known.ak_name),
            boot: self.known.seen.as_ref().map_or(0, |seen| seen.clock.reset_count),
            lines: self.lines,
            fresh: self.fresh,
            incident: incident.map(|incident| shown(incident.since)).unwrap_or_default(),
            incident_findings: found.collect(),
            acknowledged: looked.map(|looked| shown(looked.at)).unwrap_or_default(),
            reason: looked.map(|looked| looked.reason.clone()).unwrap_or_default(),
            ..Node::default()
        }
    }
}

/// How many lines the evidence did not bring, since they were known.
fn left_out(evidence: &Evidence) -> u64 {
    let host = evidence.host.as_ref().map_or(0, |list| list.first);
    let anchors = evidence.anchors.iter().map(|anchor| {
        let lists = anchor.containers.iter().map(|container| container.list.first);
        lists.fold(anchor.first, u64::saturating_add)
    });
    anchors.fold(host, u64::saturating_add)
}

#[cfg(test)]
pub(super) mod tests;
