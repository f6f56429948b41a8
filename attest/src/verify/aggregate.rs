//! Each keeper's `aggregate` against the PCR that the verifier knows it by.

use std::collections::BTreeMap;

use lacre_types::{Algorithm, Digest};

use super::case::Case;
use super::claims::Claimed;
use super::expect::ExpectedAnchor;
use super::finding::Finding;
use super::history::SeenAnchor;
use super::name::Log;
use super::swapped_list::begins_again;
use super::verdict::Question;
use crate::container::{Aggregate, AggregateError, Keeper, Replayed, parse_line};
use crate::evidence::AnchorPart;
use crate::pcr;
use crate::tpm2::Attest;

impl<'a> Case<'a> {
    pub(super) fn anchors(&mut self, attest: &Attest) -> BTreeMap<Keeper, SeenAnchor> {
        let mut seen = BTreeMap::new();
        for part in &self.evidence.anchors {
            let before = self.claimed_before(attest, part.keeper);
            let replayed = self.aggregate(attest, part, before.as_ref());
            let anchor = self.containers(part, replayed, before.as_ref());
            if let Some(anchor) = anchor {
                seen.insert(part.keeper, anchor);
            }
        }
        for (keeper, expected) in &self.expect.anchors {
            if self.evidence.anchors.iter().all(|part| part.keeper != *keeper) {
                self.not_brought(attest, *keeper, expected);
            }
        }
        self.unmet();
        seen
    }

    /// Which events of a keeper's were accounted for before, in this boot.
    fn claimed_before(&self, attest: &Attest, keeper: Keeper) -> Option<Claimed> {
        let claims = self.expect.claims.and_then(|claims| claims.get(&attest.clock, keeper));
        let seen = || {
            let seen = self.seen.filter(|_| !self.rebooted)?.anchors.get(&keeper)?;
            Some(Claimed { aggregate: seen.aggregate.clone(), unclaimed: seen.unclaimed? })
        };
        claims.cloned().or_else(seen)
    }

    /// No lists of that keeper are there: then its PCR was never extended.
    fn not_brought(&mut self, attest: &Attest, keeper: Keeper, expected: &ExpectedAnchor) {
        let (bank, index) = (self.expect.bank, expected.pcr.index());
        let (question, log) = (Question::Aggregate(keeper), Log::Aggregate(keeper));
        // Within a boot nobody ceases to keep lists.
        let known = self.seen.filter(|_| !self.rebooted);
        if known.is_some_and(|known| known.anchors.contains_key(&keeper)) {
            return self.verdict.find(&question, Finding::LogMissing(log));
        }
        if !attest.selection.has(bank, index) {
            return self.not_checked(question, format!("its PCR, {index}, was not quoted"));
        }
        if self.evidence.pcr(bank, index) != Some(expected.begins(bank)) {
            self.verdict.find(&question, Finding::AggregateNotReplayed { log, index, lines: 0 });
        }
    }

    fn aggregate(
        &mut self,
        attest: &Attest,
        part: &AnchorPart,
        before: Option<&Claimed>,
    ) -> Option<Replayed> {
        let question = Question::Aggregate(part.keeper);
        let log = Log::Aggregate(part.keeper);
        let bank = self.expect.bank;
        let Some(expected) = self.expect.anchors.get(&part.keeper) else {
            self.verdict.find(&question, Finding::KeeperOther(part.keeper));
            return None;
        };
        let index = expected.pcr.index();
        if !attest.selection.has(bank, index) {
            self.not_checked(question, format!("its PCR, {index}, was not quoted"));
            return None;
        }
        let continued = self.known().and_then(|seen| seen.anchors.get(&part.keeper));
        let start = match continued.map(|known| &known.aggregate) {
            _ if part.first == 0 => Aggregate::new([bank]),
            Some(known) if known.lines == part.first => known.clone(),
            known => {
                let known = known.map_or(0, |known| known.lines);
                self.gap(question, log, part.first, known);
                return None;
            }
        };
        let quoted = self.evidence.pcr(bank, index)?;
        if part.first == 0 && part.aggregate.is_empty() {
            let finding = match quoted == expected.begins(bank) {
                true => Finding::NothingMeasured(log),
                false => Finding::AggregateNotReplayed { log, index, lines: 0 },
            };
            self.verdict.find(&question, finding);
            return None;
        }
        // What the text says is only held against what is known.
        let got = start.pcr.or_else(|| {
            let line = part.aggregate.split_inclusive(|byte| *byte == b'\n').next()?;
            parse_line(line).map(|event| event.pcr)
        });
        let Some(got) = got else {
            let why = AggregateError::Line(0);
            self.verdict.find(&question, Finding::AggregateMalformed { log, why });
            return None;
        };
        if got != index {
            self.verdict.find(&question, Finding::AnchorOther { log, got, expected: index });
            return None;
        }
        let replayed = match start.replay(&part.aggregate, Some(&quoted)) {
            Ok(replayed) => replayed,
            Err(why) => {
                let again = begins_again(part, &quoted).filter(|_| part.first == 0);
                let finding = match again {
                    Some(line) => Finding::LogConcatenated { log, line },
                    None => Finding::AggregateMalformed { log, why },
                };
                self.verdict.find(&question, finding);
                return None;
            }
        };
        if !replayed.agrees {
            self.aggregate_differs(part, &start, &replayed, before, index);
            return None;
        }
        let state = &replayed.state;
        if self.rewritten(part, &part.aggregate[..replayed.anchored], before) {
            return None;
        }
        if state.full {
            self.verdict.find(&question, Finding::LogOverflowed(log.clone()));
        }
        let begun = expected.begins(Algorithm::Sha256);
        if state.start.is_some_and(|start| start != begun) {
            self.verdict.find(&question, Finding::NotFromZero(log.clone()));
        }
        if replayed.more > 0 {
            let finding = Finding::Unanchored { log: log.clone(), lines: replayed.more };
            self.verdict.find(&question, finding);
        }
        self.lines.insert(log, state.lines);
        self.passed(question, format!("{} events, PCR {index} {bank}", state.lines));
        Some(replayed)
    }

    /// Tells a whole text, of the same boot, that does not begin as the one that was seen: its
    /// lines must come to what they came to then.
    fn rewritten(&mut self, part: &AnchorPart, text: &[u8], before: Option<&Claimed>) -> bool {
        let seen = self.seen.filter(|_| !self.rebooted);
        let seen = seen.and_then(|seen| seen.anchors.get(&part.keeper));
        let known = seen.map(|known| &known.aggregate);
        let mut known = known.into_iter().chain(before.map(|before| &before.aggregate));
        let other = known.find(|known| part.first == 0 && !known.begins(text));
        if let Some(known) = other {
            let (log, known) = (Log::Aggregate(part.keeper), known.lines);
            let finding = Finding::LogRewritten { log, known };
            self.verdict.find(&Question::Aggregate(part.keeper), finding);
        }
        other.is_some()
    }

    fn aggregate_differs(
        &mut self,
        part: &AnchorPart,
        start: &Aggregate,
        replayed: &Replayed,
        before: Option<&Claimed>,
        index: u32,
    ) {
        let question = Question::Aggregate(part.keeper);
        let log = Log::Aggregate(part.keeper);
        let lines = replayed.state.lines;
        let known = self.seen.and_then(|seen| seen.anchors.get(&part.keeper));
        if let Some(known) = known.filter(|_| part.first == 0) {
            let value = known.aggregate.value(self.expect.bank);
            let old = start.replay(&part.aggregate, value).is_ok_and(|replayed| replayed.agrees);
            if old && self.rebooted {
                return self.verdict.find(&question, Finding::LogOfAnotherBoot { log });
            }
            if !self.rebooted && lines < known.aggregate.lines {
                let missing = known.aggregate.lines - lines;
                return self.verdict.find(&question, Finding::LogTruncated { log, lines, missing });
            }
        }
        // What else extends the PCR changes nothing of what was seen.
        if !self.rewritten(part, &part.aggregate, before) {
            self.verdict.find(&question, Finding::AggregateNotReplayed { log, index, lines });
        }
    }
}

impl ExpectedAnchor {
    /// What that bank holds before the first line.
    fn begins(&self, bank: Algorithm) -> Digest {
        let reset = pcr::initial(bank, self.pcr.index());
        self.start.filter(|start| start.algorithm() == bank).unwrap_or(reset)
    }
}
