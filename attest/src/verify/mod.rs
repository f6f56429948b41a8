//! Evidence against expectations: a pure function that names what it checked, what it did
//! not, and what it found.

mod another;
mod containers;
mod diagnose;
mod expect;
mod finding;
mod host;
mod kernel;
mod name;
mod quote;
mod ran;
mod state;
mod subjects;
mod verdict;

pub use expect::{
    Expectations, ExpectedContainer, Given, HostPolicy, ImageBaselines, KernelPolicy, Nonce,
};
pub use finding::{Finding, KernelFault};
pub use name::{ListName, Log};
pub use state::{Seen, SeenAnchor, SeenBoot, SeenOpen};
pub use verdict::{Answer, Conclusion, Question, Verdict};

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::container::Keeper;
use crate::evidence::Evidence;
use crate::tpm2::Attest;

/// More findings of one kind for one list than this say nothing new.
const MAX_OF_A_KIND: usize = 32;

/// How many lines are tried, in all containers' lists together, to tell how they were altered
/// and whose they are: about a second.
const MAX_STEPS: usize = 1_000_000;

/// Why what follows known lines does not suffice.
const JUDGED_OTHERWISE: &str = "what is known of it was judged by other expectations";

/// A verdict, and what to keep for the next time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What was checked and found.
    pub verdict: Verdict,
    /// What to keep; `None` where the quote itself does not hold. Keep it only when the
    /// verdict is one that is acted upon as good.
    pub seen: Option<Seen>,
    /// Lists that were known and went on, of which nothing is brought any more: by keeper and
    /// [`SeenAnchor::containers`]' name. Nobody can tell any more what they had.
    pub gone: Vec<(Keeper, String)>,
    /// The quote's clock, where the quote holds.
    pub clock: Option<crate::tpm2::Clock>,
    /// How many lines the TPM vouches for, by list.
    pub lines: BTreeMap<Log, u64>,
}

/// Verifies evidence. `seen` is what was kept of the node the last time; `now` is in
/// seconds since 1970.
#[must_use]
pub fn verify(
    evidence: &Evidence,
    expect: &Expectations<'_>,
    seen: Option<&Seen>,
    now: u64,
) -> Verified {
    let mut case = Case {
        evidence,
        expect,
        seen,
        verdict: Verdict::default(),
        lines: BTreeMap::new(),
        rebooted: false,
        steps: MAX_STEPS,
        gone: Vec::new(),
        several: subjects::several(evidence, &expect.containers),
        met: BTreeSet::new(),
        strangers: HashSet::new(),
    };
    let attest = case.quote(now);
    let next = attest.as_ref().map(|attest| case.lists(attest));
    let mut verdict = case.verdict;
    for (question, answer) in &mut verdict.answers {
        let name = question.to_string();
        let kind = name.split(':').next().unwrap_or_default();
        if let (Answer::NotChecked(why), true) = (&*answer, expect.waived.contains(kind)) {
            *answer = Answer::Waived(why.clone());
        }
    }
    let clock = attest.map(|attest| attest.clock);
    Verified { verdict, seen: next, gone: case.gone, clock, lines: case.lines }
}

/// One verification under way.
struct Case<'a> {
    evidence: &'a Evidence,
    expect: &'a Expectations<'a>,
    seen: Option<&'a Seen>,
    verdict: Verdict,
    lines: BTreeMap<Log, u64>,
    /// Whether the lists begin anew since `seen`.
    rebooted: bool,
    /// Of [`MAX_STEPS`], those that are left.
    steps: usize,
    gone: Vec<(Keeper, String)>,
    /// Ids that stand for more than one list.
    several: HashSet<&'a str>,
    /// Which of the expected containers have a list here.
    met: BTreeSet<usize>,
    /// Lists that are none of theirs.
    strangers: HashSet<(Keeper, &'a str)>,
}

impl<'a> Case<'a> {
    fn passed(&mut self, question: Question, seen: impl Into<String>) {
        if !self.verdict.has_failed(&question) {
            self.verdict.answer(question, Answer::Passed(seen.into()));
        }
    }

    /// What is known of this boot's lists, where the next lines can be checked from there.
    fn known(&self) -> Option<&'a Seen> {
        let same = |seen: &&Seen| seen.was_judged_by(self.expect.judged_by.as_ref());
        self.seen.filter(|_| !self.rebooted).filter(same)
    }

    /// A part of a list begins where nothing that could be built upon ends.
    fn gap(&mut self, question: Question, log: Log, first: u64, known: u64) {
        let was_seen = self.seen.is_some() && !self.rebooted;
        if was_seen && self.known().is_none() {
            self.not_checked(question, JUDGED_OTHERWISE);
        } else {
            self.verdict.find(&question, Finding::LogGap { log, first, known });
        }
    }

    fn not_checked(&mut self, question: Question, why: impl Into<Cow<'static, str>>) {
        self.verdict.answer(question, Answer::NotChecked(why.into()));
    }

    /// All that the quoted PCRs vouch for.
    fn lists(&mut self, attest: &Attest) -> Seen {
        let host = self.host_list(attest);
        let anchors = self.anchors(attest);
        self.kernel(attest, host.as_ref());
        self.host_programs(host.as_ref());
        let (host, boot) = host.map(|host| (host.replay, host.boot)).unzip();
        let judged_by = self.expect.judged_by;
        Seen { clock: attest.clock, judged_by, host, boot: boot.unwrap_or_default(), anchors }
    }

    /// Findings of one kind, but no more of them than a person reads.
    fn find_some(&mut self, question: &Question, findings: Vec<Finding>) {
        let count = findings.len();
        for finding in findings.into_iter().take(MAX_OF_A_KIND) {
            self.verdict.find(question, finding);
        }
        if let Some(more @ 1..) = count.checked_sub(MAX_OF_A_KIND) {
            self.verdict.find(question, Finding::More(more as u64));
        }
    }
}
