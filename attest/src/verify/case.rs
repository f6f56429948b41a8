//! One verification while it is under way: what is known by now, and what was found.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::claims::Claimed;
use super::expect::Expectations;
use super::finding::Finding;
use super::history::Seen;
use super::name::Log;
use super::verdict::{Answer, Question, Verdict};
use crate::container::Keeper;
use crate::evidence::Evidence;

/// More findings of one kind for one list than this say nothing new.
const MAX_OF_A_KIND: usize = 32;

/// Why what follows known lines does not suffice.
const JUDGED_OTHERWISE: &str = "what is known of it was judged by other expectations";

/// One verification under way.
pub(super) struct Case<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) expect: &'a Expectations<'a>,
    pub(super) seen: Option<&'a Seen>,
    pub(super) verdict: Verdict,
    pub(super) lines: BTreeMap<Log, u64>,
    /// Whether the lists begin anew since `seen`.
    pub(super) rebooted: bool,
    /// How many lines may still be tried to tell how lists were altered and whose they are.
    pub(super) steps: usize,
    pub(super) gone: Vec<(Keeper, String)>,
    /// Ids that stand for more than one list.
    pub(super) several: HashSet<&'a str>,
    /// Which of the expected containers have a list here.
    pub(super) met: BTreeSet<usize>,
    /// Lists that are none of theirs.
    pub(super) strangers: HashSet<(Keeper, &'a str)>,
    /// Which events are accounted for.
    pub(super) claims: BTreeMap<Keeper, Claimed>,
}

impl<'a> Case<'a> {
    pub(super) fn passed(&mut self, question: Question, seen: impl Into<String>) {
        if !self.verdict.has_failed(&question) {
            self.verdict.answer(question, Answer::Passed(seen.into()));
        }
    }

    /// What is known of this boot's lists, where the next lines can be checked from there.
    pub(super) fn known(&self) -> Option<&'a Seen> {
        let same = |seen: &&Seen| seen.was_judged_by(self.expect.judged_by.as_ref());
        self.seen.filter(|_| !self.rebooted).filter(same)
    }

    /// A part of a list begins where nothing that could be built upon ends.
    pub(super) fn gap(&mut self, question: Question, log: Log, first: u64, known: u64) {
        let was_seen = self.seen.is_some() && !self.rebooted;
        if was_seen && self.known().is_none() {
            self.not_checked(question, JUDGED_OTHERWISE);
        } else {
            self.verdict.find(&question, Finding::LogGap { log, first, known });
        }
    }

    pub(super) fn not_checked(&mut self, question: Question, why: impl Into<Cow<'static, str>>) {
        self.verdict.answer(question, Answer::NotChecked(why.into()));
    }

    /// Findings of one kind, but no more of them than a person reads.
    pub(super) fn find_some(&mut self, question: &Question, findings: Vec<Finding>) {
        let count = findings.len();
        for finding in findings.into_iter().take(MAX_OF_A_KIND) {
            self.verdict.find(question, finding);
        }
        if let Some(more @ 1..) = count.checked_sub(MAX_OF_A_KIND) {
            self.verdict.find(question, Finding::More(more as u64));
        }
    }
}
