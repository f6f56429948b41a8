//! Which questions were answered, which were not, and what follows for the node.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Finding, ListName, Weight};

/// A question that a verification answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// Did a TPM's restricted key sign the quote?
    Quote,
    /// Is that key the enrolled one?
    AttestationKey,
    /// Is the endorsement key of a TPM whose maker is trusted?
    Endorsement,
    /// Does the quote answer this verifier's nonce, in time?
    Nonce,
    /// Is it over the PCRs that matter, and are these their values?
    Pcrs,
    /// Do clock and counters follow what was last seen?
    Clock,
    /// Does the firmware's log replay to its PCRs?
    BootLog,
    /// Does the host's list replay to its PCR?
    HostList,
    /// Does `boot_aggregate` fit the PCRs of this boot?
    BootAggregate,
    /// Is the kernel one that the policy allows?
    Kernel,
    /// Are the host's programs what its baseline has?
    HostPrograms,
    /// Does the keeper's `aggregate` replay to its PCR?
    Aggregate(crate::container::Keeper),
    /// Is each event of it of a list that was shown?
    AggregateComplete(crate::container::Keeper),
    /// Is the container's list what `aggregate` anchors?
    ContainerList(ListName),
    /// Is all that the container ran in its baseline?
    ContainerBaseline(ListName),
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Quote => f.write_str("quote"),
            Self::AttestationKey => f.write_str("attestation-key"),
            Self::Endorsement => f.write_str("endorsement"),
            Self::Nonce => f.write_str("nonce"),
            Self::Pcrs => f.write_str("pcrs"),
            Self::Clock => f.write_str("clock"),
            Self::BootLog => f.write_str("boot-log"),
            Self::HostList => f.write_str("host-list"),
            Self::BootAggregate => f.write_str("boot-aggregate"),
            Self::Kernel => f.write_str("kernel"),
            Self::HostPrograms => f.write_str("host-programs"),
            Self::Aggregate(keeper) => write!(f, "aggregate:{keeper}"),
            Self::AggregateComplete(keeper) => write!(f, "aggregate-complete:{keeper}"),
            Self::ContainerList(container) => write!(f, "container-list:{container}"),
            Self::ContainerBaseline(container) => write!(f, "container-baseline:{container}"),
        }
    }
}

impl Serialize for Question {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was checked, and is so. With what was seen.
    Passed(String),
    /// It was checked, and is not so: a finding says how.
    Failed,
    /// It was not checked, for this reason. Never counts as passed.
    NotChecked(Cow<'static, str>),
    /// It was not checked, and who asked does without.
    Waived(Cow<'static, str>),
}

impl Serialize for Answer {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let (word, detail) = match self {
            Self::Passed(seen) => ("passed", seen.as_str()),
            Self::Failed => ("failed", ""),
            Self::NotChecked(why) => ("not checked", &**why),
            Self::Waived(why) => ("waived", &**why),
        };
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("answer", word)?;
        if !detail.is_empty() {
            map.serialize_entry("detail", detail)?;
        }
        map.end()
    }
}

/// What it all comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conclusion {
    /// Every question that was not waived was checked, and passed.
    Trusted,
    /// Nothing is known to be wrong, but not everything was checked.
    Unproven,
    /// Something is wrong.
    Untrusted,
}

/// What was checked, what was not, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    pub(super) answers: BTreeMap<Question, Answer>,
    pub(super) findings: Vec<Finding>,
    /// Questions that a finding leaves open.
    doubted: BTreeSet<Question>,
}

impl Verdict {
    /// Every question, and what became of it.
    #[must_use]
    pub const fn answers(&self) -> &BTreeMap<Question, Answer> {
        &self.answers
    }

    /// What was found.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What it comes to. There is no way to `Trusted` but by every answer.
    #[must_use]
    pub fn conclusion(&self) -> Conclusion {
        let any = |which: fn(&Answer) -> bool| self.answers.values().any(which);
        let wrong = self.findings.iter().any(Finding::is_fault);
        // Who does without a question does not do without what a list should have had.
        let gap = self.findings.iter().any(|finding| finding.weight() == Weight::Gap);
        let open = any(|answer| matches!(answer, Answer::NotChecked(_)));
        if wrong || any(|answer| *answer == Answer::Failed) {
            Conclusion::Untrusted
        } else if self.answers.is_empty() || gap || open {
            Conclusion::Unproven
        } else {
            Conclusion::Trusted
        }
    }

    /// Does without the questions that were not checked: those of `waived`, as long as nothing
    /// was found about them; and those of `excused`, each for its reason, whatever leaves it
    /// open. Both name them by the word before the colon.
    pub(super) fn waive(&mut self, waived: &BTreeSet<String>, excused: &BTreeMap<String, String>) {
        for (question, answer) in &mut self.answers {
            let Answer::NotChecked(why) = &*answer else { continue };
            let name = question.to_string();
            let kind = name.split(':').next().unwrap_or_default();
            let doubted = self.doubted.contains(question);
            *answer = match excused.get(kind) {
                Some(reason) => Answer::Waived(format!("{why} ({reason})").into()),
                None if waived.contains(kind) && !doubted => Answer::Waived(why.clone()),
                None => continue,
            };
        }
    }

    /// Notes an answer. One that failed stays so, whatever else is said; and what was not
    /// checked in one respect has not passed by another.
    pub(super) fn answer(&mut self, question: Question, answer: Answer) {
        let passes = matches!(answer, Answer::Passed(_));
        match self.answers.get(&question) {
            Some(Answer::Failed) => {}
            Some(Answer::NotChecked(_)) if passes => {}
            _ => drop(self.answers.insert(question, answer)),
        }
    }

    /// Notes a finding, and what it says of its question: no; or, if it does not tell, that it
    /// is open; or nothing.
    pub(super) fn find(&mut self, question: &Question, finding: Finding) {
        match finding.weight() {
            Weight::Note => {}
            Weight::Open => {
                self.answer(question.clone(), Answer::NotChecked(finding.to_string().into()));
                self.doubted.insert(question.clone());
            }
            Weight::Gap => {
                let why = match finding {
                    Finding::NotFromZero(_)
                    | Finding::NeverExtended { .. }
                    | Finding::LogGap { .. } => finding.to_string().into(),
                    _ => "lines are missing from the list".into(),
                };
                self.answer(question.clone(), Answer::NotChecked(why));
            }
            Weight::Fault | Weight::Tampering => self.answer(question.clone(), Answer::Failed),
        }
        self.findings.push(finding);
    }

    pub(super) fn has_failed(&self, question: &Question) -> bool {
        self.answers.get(question) == Some(&Answer::Failed)
    }

    pub(super) fn has_passed(&self, question: &Question) -> bool {
        matches!(self.answers.get(question), Some(Answer::Passed(_)))
    }
}

impl Serialize for Verdict {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut all = s.serialize_struct("Verdict", 3)?;
        all.serialize_field("conclusion", &self.conclusion())?;
        all.serialize_field("answers", &self.answers)?;
        all.serialize_field("findings", &self.findings)?;
        all.end()
    }
}
