//! What is kept of one node, and what it comes to.

use std::fmt;
use std::time::{Duration, SystemTime};

use lacre_attest::enrol::{NodeState, Trust};
use lacre_attest::evidence::Evidence;
use lacre_attest::verify::{Answer, Verified};
use lacre_proto::attest::{Finding, Node};
use lacre_report::rfc3339;
use serde::{Deserialize, Serialize};

use super::incident::{Acknowledged, FINDINGS, Incident, Told, cut};
use crate::clock::{self, Moment};
use crate::state_file::{self, StateError};

/// The version of the file. 1 had no moments, and at first no incidents.
const VERSION: u32 = 2;

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

/// Now, as everybody calls it and as nobody sets it.
#[derive(Debug, Clone)]
pub struct Now {
    /// In seconds since 1970: for people.
    pub wall: u64,
    /// By what ages are told.
    pub moment: Moment,
}

impl Now {
    /// Now.
    #[must_use]
    pub fn read() -> Self {
        Self { wall: clock::wall(), moment: Moment::now() }
    }
}

/// A node. Times are in seconds since 1970, but for moments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    version: u32,
    /// Whose connections are this node's.
    pub principal: String,
    /// Its keys, its trust, and what was last seen of it.
    pub known: NodeState,
    /// Since when the trust is what it is.
    since: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incident: Option<Incident>,
    /// The last incident that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acknowledged: Option<Acknowledged>,
    /// When evidence last came.
    #[serde(default)]
    evidence: Option<u64>,
    /// The moment of that, or of the enrolment.
    #[serde(default)]
    heard: Option<Moment>,
    #[serde(default)]
    findings: Vec<Told>,
    #[serde(default)]
    unchecked: Vec<String>,
    #[serde(default)]
    lines: u64,
    #[serde(default)]
    fresh: u64,
    /// When evidence is next wanted, in seconds since the machine was started.
    #[serde(skip)]
    pub(super) due: u64,
    /// Whether the log has told that it fell silent.
    #[serde(skip)]
    pub(super) silent: bool,
}

/// What a file of version 1 has beside a record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct First {
    /// Of a state that was written before incidents were kept.
    #[serde(default)]
    tampered: bool,
    /// Whether it was written since they are.
    #[serde(default)]
    keeps_incidents: bool,
}

/// The seconds for which evidence tells of now.
const fn stale_after(interval: Duration) -> u64 {
    2 * interval.as_secs()
}

/// Whole seconds need no fraction.
pub(crate) fn shown(seconds: u64) -> String {
    let time = rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    time.split_once('.').map_or(time.clone(), |(whole, _)| format!("{whole}Z"))
}

impl Record {
    /// A node that has just enrolled, in place of what was known of it by the same TPM. With
    /// another attestation key than before it has lost its state, or somebody else has it:
    /// somebody must look.
    pub(super) fn enrolled(
        principal: &str,
        mut known: NodeState,
        before: Option<&Self>,
        now: &Now,
    ) -> Self {
        let enrolled = known.enrolled;
        let fresh = Self {
            version: VERSION,
            principal: principal.to_owned(),
            since: enrolled,
            incident: None,
            acknowledged: None,
            evidence: None,
            heard: Some(now.moment.clone()),
            findings: Vec::new(),
            unchecked: Vec::new(),
            lines: 0,
            fresh: 0,
            due: 0,
            silent: false,
            known: known.clone(),
        };
        let Some(before) = before else { return fresh };
        // A new attestation key clears nobody, and the TPM's clock goes on.
        known.seen.clone_from(&before.known.seen);
        known.claims.clone_from(&before.known.claims);
        let again = (before.known.ak_name != known.ak_name).then(|| {
            let says = "it enrolled again with another attestation key: its agent's state was \
                lost, or another machine has its certificate";
            Told::new("RE_ENROLLED", says)
        });
        let mut record = if before.known.trust == Trust::Untrusted {
            known.trust = Trust::Untrusted;
            Self { known, due: 0, ..before.clone() }
        } else {
            let (incident, acknowledged) = (before.incident.clone(), before.acknowledged.clone());
            Self { known, incident, acknowledged, ..fresh }
        };
        if let Some(again) = again {
            record.remember(vec![again], false, now.wall);
        }
        record
    }

    /// What was known of it is lost: whoever it was may have shown what is not the truth.
    pub(super) fn has_lost_its_past(&mut self, now: &Now) {
        let says = "what was known of this node was damaged and is lost, a verdict with it";
        self.remember(vec![Told::new("STATE_LOST", says)], false, now.wall);
    }

    /// Reads a node's file, of this version or an older one.
    ///
    /// # Errors
    /// When it is not one, or a later release wrote it.
    pub fn parse(text: &[u8]) -> Result<Self, StateError> {
        let version = state_file::version(text, VERSION)?;
        let mut record: Self = serde_json::from_slice(text).map_err(StateError::Damaged)?;
        if version == 1 {
            let first: First = serde_json::from_slice(text).map_err(StateError::Damaged)?;
            if !first.keeps_incidents && record.known.trust == Trust::Untrusted {
                let tampered = first.tampered.then_some(record.since);
                let findings = record.findings.iter().filter(|told| !told.note).cloned().collect();
                record.incident = Some(Incident { since: record.since, tampered, findings });
            }
        }
        record.version = VERSION;
        // Of whoever was asked before the server ended, another is asked for.
        record.known.challenge = None;
        Ok(record)
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
    pub fn state(&self, now: &Now, interval: Duration) -> State {
        match self.known.trust {
            Trust::Untrusted => State::Untrusted,
            _ if self.is_silent(now, interval) => State::Stale,
            Trust::Trusted => State::Trusted,
            Trust::Unknown => State::Unproven,
        }
    }

    /// Whether nothing was heard of it for two intervals.
    pub(super) fn is_silent(&self, now: &Now, interval: Duration) -> bool {
        self.age(now) > stale_after(interval)
    }

    /// For how many seconds nothing was heard of it: as the kernel counts them. Over a start of
    /// the machine nothing counts but its clock, which may have been set: so it is as long as that
    /// says, in whatever direction, and as the machine runs at least.
    pub(super) fn age(&self, now: &Now) -> u64 {
        let by_the_clock = now.wall.abs_diff(self.heard_at());
        match &self.heard {
            Some(heard) if heard.boot == now.moment.boot => {
                now.moment.seconds.saturating_sub(heard.seconds)
            }
            Some(_) => by_the_clock.max(now.moment.seconds),
            None => by_the_clock,
        }
    }

    /// What an older release did not keep: from now on its age is counted.
    pub(super) fn begin_to_count(&mut self, now: &Now) {
        if self.heard.is_none() {
            let age = self.age(now);
            let heard = now
                .moment
                .seconds
                .checked_sub(age)
                .map(|seconds| Moment { seconds, ..now.moment.clone() });
            // Longer than the machine runs.
            self.heard = heard.or_else(|| Some(Moment { boot: String::new(), seconds: 0 }));
        }
    }

    /// When evidence last came, or the node enrolled.
    fn heard_at(&self) -> u64 {
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
    pub(super) fn note(&mut self, evidence: &Evidence, verified: Verified, at: &Now) {
        let now = at.wall;
        self.heard = Some(at.moment.clone());
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
        self.incident.get_or_insert_with(new).add(faults, tampered, now);
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
    pub(super) fn show(&self, now: &Now, interval: Duration) -> Node {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let state = self.state(now, interval);
        let since = match state {
            State::Stale => self.heard_at().saturating_add(stale_after(interval)).min(now.wall),
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
