//! The order in which evidence is verified, from the quote to the last container.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::case::Case;
use super::claims::Claims;
use super::expect::Expectations;
use super::history::Seen;
use super::lists;
use super::name::Log;
use super::verdict::Verdict;
use crate::container::Keeper;
use crate::evidence::Evidence;
use crate::tpm2::{Attest, Clock};

/// How many lines are tried, in all containers' lists together, to tell how they were altered
/// and whose they are: about a second.
const MAX_STEPS: usize = 1_000_000;

/// A verdict, and what to keep for the next time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What was checked and found.
    pub verdict: Verdict,
    /// What to keep; `None` where the quote itself does not hold. Keep it only when the
    /// verdict is one that is acted upon as good.
    pub seen: Option<Seen>,
    /// Lists that were known and went on, of which nothing is brought any more: by keeper and
    /// [`SeenAnchor::containers`](crate::verify::SeenAnchor::containers)' name. Nobody can tell any more what they had.
    pub gone: Vec<(Keeper, String)>,
    /// The quote's clock, where the quote holds.
    pub clock: Option<Clock>,
    /// How many lines the TPM vouches for, by list.
    pub lines: BTreeMap<Log, u64>,
    /// Which events were accounted for, where the quote holds. Keep it whatever the verdict is.
    pub claims: Option<Claims>,
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
        several: lists::several(evidence, &expect.containers),
        met: BTreeSet::new(),
        strangers: HashSet::new(),
        claims: BTreeMap::new(),
    };
    let attest = case.quote(now);
    let next = attest.as_ref().map(|attest| case.lists(attest));
    let mut verdict = case.verdict;
    verdict.waive(&expect.waived, &expect.excused);
    let clock = attest.map(|attest| attest.clock);
    let claims = clock.as_ref().map(|clock| Claims::of(clock, case.claims));
    Verified { verdict, seen: next, gone: case.gone, clock, lines: case.lines, claims }
}

impl Case<'_> {
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
}
