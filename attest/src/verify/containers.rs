//! The containers' lists against `aggregate`, and that against its PCR.

use std::collections::{BTreeMap, HashMap};

use lacre_types::{Algorithm, Digest, Source};

use super::host::{each, judge, measurement, shown};
use super::state::{SeenAnchor, name};
use super::verdict::Question;
use super::{Case, ExpectedContainer, Finding, Log};
use crate::container::{
    Aggregate, Audited, Fault, Keeper, Key, OVERFLOW, Replayed, audit, parse_line,
};
use crate::evidence::{AnchorPart, ContainerPart};
use crate::ima::{LogError, Stream};
use crate::tpm2::Attest;

/// A container under verification.
struct Subject<'a> {
    expected: &'a ExpectedContainer<'a>,
    part: Option<&'a ContainerPart>,
    seq: u64,
    key: Key,
    known: Audited,
    /// The values of its events that are new.
    values: Vec<[u8; 32]>,
}

impl<'a> Case<'a> {
    pub(super) fn anchors(&mut self, attest: &Attest) -> BTreeMap<Keeper, SeenAnchor> {
        let mut seen = BTreeMap::new();
        for part in &self.evidence.anchors {
            let replayed = self.aggregate(attest, part);
            let anchor = self.containers(part, replayed);
            if let Some(anchor) = anchor {
                seen.insert(part.keeper, anchor);
            }
        }
        // Within a boot nobody ceases to keep lists.
        let known = self.seen.filter(|_| !self.rebooted).into_iter();
        for keeper in known.flat_map(|known| known.anchors.keys()) {
            if self.evidence.anchors.iter().all(|part| part.keeper != *keeper) {
                let log = Log::Aggregate(*keeper);
                self.verdict.find(&Question::Aggregate(*keeper), Finding::LogMissing(log));
            }
        }
        for expected in &self.expect.containers {
            let question = Question::ContainerList(expected.id.clone());
            // Not brought, or not by who must keep it.
            if !self.verdict.answers.contains_key(&question) {
                let log = Log::Container(expected.id.clone());
                self.verdict.find(&question, Finding::LogMissing(log));
            }
        }
        seen
    }

    fn aggregate(&mut self, attest: &Attest, part: &AnchorPart) -> Option<Replayed> {
        let question = Question::Aggregate(part.keeper);
        let log = Log::Aggregate(part.keeper);
        let bank = self.expect.bank;
        let known = self.seen.filter(|_| !self.rebooted);
        let known = known.and_then(|seen| seen.anchors.get(&part.keeper));
        let start = match known.map(|known| &known.aggregate) {
            _ if part.first == 0 => Aggregate::new([bank]),
            Some(known) if known.lines == part.first => known.clone(),
            known => {
                let known = known.map_or(0, |known| known.lines);
                let finding = Finding::LogGap { log, first: part.first, known };
                self.verdict.find(&question, finding);
                return None;
            }
        };
        // Which PCR it is, only the text itself says.
        let index = start.pcr.or_else(|| {
            let line = part.aggregate.split_inclusive(|byte| *byte == b'\n').next()?;
            parse_line(line).map(|event| event.pcr)
        });
        let Some(index) = index else {
            let finding = match part.aggregate.is_empty() {
                true => Finding::NothingMeasured(log),
                false => Finding::AggregateMalformed {
                    log,
                    why: crate::container::AggregateError::Line(0),
                },
            };
            self.verdict.find(&question, finding);
            return None;
        };
        if !attest.selection.has(bank, index) {
            self.not_checked(question, "its PCR was not quoted");
            return None;
        }
        let quoted = self.evidence.pcr(bank, index)?;
        let replayed = match start.replay(&part.aggregate, Some(&quoted)) {
            Ok(replayed) => replayed,
            Err(why) => {
                self.verdict.find(&question, Finding::AggregateMalformed { log, why });
                return None;
            }
        };
        if !replayed.agrees {
            self.aggregate_differs(part, &start, &replayed);
            return None;
        }
        let state = &replayed.state;
        if state.full {
            self.verdict.find(&question, Finding::LogOverflowed(log.clone()));
        }
        let zero = crate::pcr::initial(Algorithm::Sha256, index);
        if part.first == 0 && state.start.is_some_and(|start| start != zero) {
            self.verdict.find(&question, Finding::NotFromZero(log.clone()));
        }
        if replayed.more > 0 {
            let finding = Finding::Unanchored { log: log.clone(), lines: replayed.more };
            self.verdict.find(&question, finding);
        }
        if known.is_some_and(|known| state.lines < known.aggregate.lines) {
            let known = known.map_or(0, |known| known.aggregate.lines);
            self.verdict.find(&question, Finding::LogRewritten { log: log.clone(), known });
        }
        self.lines.insert(log, state.lines);
        self.passed(question, format!("{} events, PCR {index} {bank}", state.lines));
        Some(replayed)
    }

    fn aggregate_differs(&mut self, part: &AnchorPart, start: &Aggregate, replayed: &Replayed) {
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
        self.verdict.find(&question, Finding::LogNotReplayed { log, lines });
    }

    fn containers(
        &mut self,
        part: &'a AnchorPart,
        replayed: Option<Replayed>,
    ) -> Option<SeenAnchor> {
        let mut subjects = self.subjects(part);
        for container in &part.containers {
            if !self.expect.containers.iter().any(|expected| expected.id == container.id) {
                let question = Question::ContainerList(container.id.clone());
                self.not_checked(question, "its secret was not given");
            }
        }
        let Some(replayed) = replayed else {
            for subject in &subjects {
                let question = Question::ContainerList(subject.expected.id.clone());
                self.not_checked(question, "what anchors it does not hold");
                let question = Question::ContainerBaseline(subject.expected.id.clone());
                self.not_checked(question, "its list does not hold");
            }
            return None;
        };
        collect(&part.aggregate[..replayed.anchored], &mut subjects);
        let mut states = BTreeMap::new();
        for subject in &subjects {
            let Some(audited) = self.container(part, subject, &subjects) else {
                let question = Question::ContainerBaseline(subject.expected.id.clone());
                self.not_checked(question, "its list does not hold");
                continue;
            };
            states.insert(name(&subject.expected.id, subject.seq), audited);
        }
        Some(SeenAnchor { aggregate: replayed.state, containers: states })
    }

    /// The containers that this keeper's lists are to be checked for.
    fn subjects(&mut self, part: &'a AnchorPart) -> Vec<Subject<'a>> {
        let known = self.seen.filter(|_| !self.rebooted && part.first > 0);
        let known = known.and_then(|seen| seen.anchors.get(&part.keeper));
        let mut subjects = Vec::new();
        for expected in &self.expect.containers {
            if expected.keeper.is_some_and(|keeper| keeper != part.keeper) {
                continue;
            }
            let own = part.containers.iter().find(|container| container.id == expected.id);
            let Some(seq) = expected.seq.or_else(|| own.map(|own| own.seq)) else { continue };
            let key = Key::new(&expected.secret, seq, &expected.id);
            let kept = known.and_then(|known| known.containers.get(&name(&expected.id, seq)));
            let known = kept.cloned().unwrap_or_default();
            subjects.push(Subject { expected, part: own, seq, key, known, values: Vec::new() });
        }
        subjects
    }

    fn container(
        &mut self,
        anchor: &AnchorPart,
        subject: &Subject<'_>,
        all: &[Subject<'_>],
    ) -> Option<Audited> {
        let id = &subject.expected.id;
        let (question, log) = (Question::ContainerList(id.clone()), Log::Container(id.clone()));
        let Some(part) = subject.part else {
            self.verdict.find(&question, Finding::LogMissing(log));
            return None;
        };
        if part.seq != subject.seq {
            let finding = Finding::LogOfAnotherContainer { log, whose: None };
            self.verdict.find(&question, finding);
            return None;
        }
        if subject.known.events == 0 && subject.values.is_empty() && anchor.first > 0 {
            self.not_checked(question, "its first events are older than what is here");
            return None;
        }
        if subject.known.events == 0 && subject.values.is_empty() {
            self.verdict.find(&question, Finding::NotAnchored(log));
            return None;
        }
        // Asked again from the beginning, the events that are known are here again, too.
        let known = match part.list.first {
            0 if subject.known.lines > 0 => {
                let (first, known) = (0, subject.known.lines);
                self.verdict.find(&question, Finding::LogGap { log, first, known });
                return None;
            }
            first if first != subject.known.lines => {
                let known = subject.known.lines;
                self.verdict.find(&question, Finding::LogGap { log, first, known });
                return None;
            }
            _ => &subject.known,
        };
        let lines = match digests(part) {
            Ok(lines) => lines,
            Err(why) => {
                self.verdict.find(&question, Finding::LogMalformed { log, why });
                return None;
            }
        };
        let edited = |line: &u64| Finding::LogEdited { log: log.clone(), line: *line };
        self.find_some(&question, lines.edited.iter().map(edited).collect());
        if lines.overflowed {
            self.verdict.find(&question, Finding::LogOverflowed(log.clone()));
        }
        let audited =
            match audit(&subject.key, known, &lines.digests, &subject.values, part.list.count) {
                Ok(audited) => audited,
                Err((fault, audited)) => {
                    // Containers of one image begin alike: it is the one's that explains more.
                    let whose = match known.lines {
                        0 => foreign(subject, &lines.digests, all, audited.lines),
                        _ => None,
                    };
                    let finding = match (fault, whose) {
                        (Fault::NotCreated, _) => Finding::NotAnchored(log),
                        (_, Some(whose)) => {
                            Finding::LogOfAnotherContainer { log, whose: Some(whose) }
                        }
                        // That the line was edited explains it, and is told already.
                        _ if lines.edited.contains(&audited.lines) => return None,
                        (fault, _) => named(fault, log),
                    };
                    self.verdict.find(&question, finding);
                    return None;
                }
            };
        let more = known.lines + lines.digests.len() as u64 - audited.lines;
        if more > 0 {
            self.verdict.find(&question, Finding::Unanchored { log: log.clone(), lines: more });
        }
        if audited.lines == 0 {
            self.verdict.find(&question, Finding::NothingMeasured(log.clone()));
        }
        self.lines.insert(log, audited.lines);
        let by = match anchor.keeper {
            Keeper::Kernel => "by the kernel",
            Keeper::Shim => "by the shim: evidence of what it told, not of the kernel",
        };
        self.passed(question, format!("{} lines, kept {by}", audited.lines));
        self.baseline(subject, part, audited.lines - known.lines);
        Some(audited)
    }

    fn baseline(&mut self, subject: &Subject<'_>, part: &ContainerPart, anchored: u64) {
        let id = &subject.expected.id;
        let question = Question::ContainerBaseline(id.clone());
        if subject.expected.baseline.is_none() {
            return self.not_checked(question, "no baseline was given");
        }
        let mut findings = Vec::new();
        let done = each(&part.list, anchored, |line, entry| {
            if entry.is_violation() && entry.name() == Some(OVERFLOW) {
                return;
            }
            let Some(measurement) = measurement(entry, Source::ContainerIma) else { return };
            let verdict = judge(subject.expected.baseline, &measurement);
            if let lacre_analyzer::Verdict::Violation(violation) = verdict {
                let digest = measurement.digest().copied();
                let (container, path, kind) = (id.clone(), shown(entry), violation.kind);
                findings.push(Finding::ContainerViolation { container, path, kind, digest, line });
            }
        });
        self.find_some(&question, findings);
        if done.is_ok() {
            self.passed(question, format!("{anchored} measurements are in the baseline"));
        }
    }
}

/// Finds each container's events: an event's tag is known before its content.
fn collect(aggregate: &[u8], subjects: &mut [Subject<'_>]) {
    let tag =
        |subject: &Subject<'_>| subject.key.tag(subject.known.events + subject.values.len() as u64);
    let mut next: HashMap<[u8; 32], usize> =
        subjects.iter().enumerate().map(|(at, subject)| (tag(subject), at)).collect();
    for line in aggregate.split_inclusive(|byte| *byte == b'\n') {
        let Some(event) = parse_line(line) else { continue };
        if let Some(at) = next.remove(&event.tag) {
            subjects[at].values.push(event.value);
            next.insert(tag(&subjects[at]), at);
        }
    }
}

/// A container's lines, as they were extended to its cPCR.
struct Digests {
    digests: Vec<Digest>,
    edited: Vec<u64>,
    overflowed: bool,
}

fn digests(part: &ContainerPart) -> Result<Digests, LogError> {
    let list = &part.list;
    let mut lines = Digests { digests: Vec::new(), edited: Vec::new(), overflowed: false };
    let mut stream = Stream::new(list.form, list.digests);
    stream.feed(&list.data, |line, entry| {
        let number = list.first + line;
        let same = entry.is_violation()
            || entry
                .template_digest(list.digests)
                .is_none_or(|digest| digest.as_bytes() == entry.logged);
        if !same {
            lines.edited.push(number);
        }
        lines.overflowed |= entry.is_violation() && entry.name() == Some(OVERFLOW);
        // A text that gives no data leads to no value: then it is an edited line.
        lines.digests.push(entry.event(Algorithm::Sha256).unwrap_or(Digest::sha256([0; 32])));
    })?;
    stream.finish()?;
    Ok(lines)
}

/// The other container, of those whose secrets are known, that more than so many of these
/// lines are anchored for.
fn foreign(own: &Subject<'_>, lines: &[Digest], all: &[Subject<'_>], than: u64) -> Option<String> {
    let is = |subject: &&Subject<'_>| {
        !std::ptr::eq(*subject, own)
            && subject.values.len() > 1
            && match audit(&subject.key, &Audited::new(), lines, &subject.values, None) {
                Ok(audited) | Err((_, audited)) => audited.lines > than,
            }
    };
    all.iter().find(is).map(|subject| subject.expected.id.clone())
}

fn named(fault: Fault, log: Log) -> Finding {
    match fault {
        Fault::Truncated { lines, missing } => Finding::LogTruncated { log, lines, missing },
        Fault::Edited(line) => Finding::LogEdited { log, line },
        Fault::Removed(line) => Finding::LogRemoved { log, line },
        Fault::Reordered(line) => Finding::LogReordered { log, line },
        Fault::Duplicated(line) => Finding::LogDuplicated { log, line },
        Fault::Interleaved { line, count } => Finding::LogInterleaved { log, line, count },
        Fault::Appended(line) => Finding::LogInterleaved { log, line, count: 1 },
        Fault::NotCreated => Finding::NotAnchored(log),
    }
}
