//! The containers' lists against `aggregate`, and that against its PCR.

use std::collections::{BTreeMap, HashMap};

use lacre_types::{Algorithm, Digest};

use super::case::Case;
use super::finding::Finding;
use super::history::{SeenAnchor, SeenOpen, name};
use super::lists::Subject;
use super::name::Log;
use super::swapped_list::begins_again;
use super::verdict::Question;
use crate::container::{
    Aggregate, Audited, Fault, Keeper, OVERFLOW, Replayed, audit_within, parse_line,
};
use crate::evidence::{AnchorPart, ContainerPart};
use crate::ima::{LogError, Stream};
use crate::tpm2::Attest;

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
        self.unmet();
        seen
    }

    fn aggregate(&mut self, attest: &Attest, part: &AnchorPart) -> Option<Replayed> {
        let question = Question::Aggregate(part.keeper);
        let log = Log::Aggregate(part.keeper);
        let bank = self.expect.bank;
        let known = self.seen.filter(|_| !self.rebooted);
        let known = known.and_then(|seen| seen.anchors.get(&part.keeper));
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
        let Some(replayed) = replayed else {
            for subject in subjects.iter().filter(|subject| subject.part.is_some()) {
                let question = Question::ContainerList(subject.name.clone());
                self.not_checked(question, "what anchors it does not hold");
                let question = Question::ContainerBaseline(subject.name.clone());
                self.not_checked(question, "its list does not hold");
            }
            return None;
        };
        collect(&part.aggregate[..replayed.anchored], &mut subjects);
        let subjects = self.settle(subjects);
        self.left_out(part, &part.aggregate[..replayed.anchored]);
        let (mut states, mut open) = (BTreeMap::new(), BTreeMap::new());
        let mut images = BTreeMap::new();
        for subject in &subjects {
            let Some(list) = subject.part else { continue };
            let Some(audited) = self.container(part, subject, list, &subjects) else {
                let question = Question::ContainerBaseline(subject.name.clone());
                self.not_checked(question, "its list does not hold");
                continue;
            };
            let named = name(&list.id, list.seq);
            if let Some(image) = self.baseline(subject, list, audited.lines - subject.known.lines) {
                images.insert(named.clone(), image.to_owned());
            }
            if let Some(next) = audited.next(&subject.key) {
                let (tag, close) = next;
                open.insert(named.clone(), SeenOpen { tag, close });
            }
            states.insert(named, audited);
        }
        Some(SeenAnchor { aggregate: replayed.state, containers: states, open, images })
    }

    fn container(
        &mut self,
        anchor: &AnchorPart,
        subject: &Subject<'_>,
        part: &ContainerPart,
        all: &[Subject<'_>],
    ) -> Option<Audited> {
        let named = &subject.name;
        let question = Question::ContainerList(named.clone());
        let log = Log::Container(named.clone());
        if !subject.is_anchored() && anchor.first > 0 {
            self.not_checked(question, "its first events are older than what is here");
            return None;
        }
        if !subject.is_anchored() {
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
            let question = Question::ContainerBaseline(named.clone());
            self.not_checked(question, "lines are missing from the list");
        }
        let Subject { key, values, .. } = subject;
        let count = part.list.count;
        let steps = &mut self.steps;
        let audited = match audit_within(steps, key, known, &lines.digests, values, count) {
            Ok(audited) => audited,
            Err((fault, audited)) => {
                // Lists of one image begin alike: it is the one's that explains more.
                let another = match known.lines {
                    0 => {
                        let (digests, own) = (&lines.digests, audited.lines);
                        self.another(anchor.keeper, subject, digests, own, all, &log)
                    }
                    _ => None,
                };
                let finding = match (fault, another) {
                    (Fault::NotCreated, _) => Finding::NotAnchored(log),
                    (_, Some(another)) => another,
                    // That the line was edited explains it, and is told already.
                    _ if lines.edited.contains(&audited.lines) => return None,
                    (Fault::Altered(_), None) => {
                        let lines = known.lines + lines.digests.len() as u64;
                        Finding::LogNotReplayed { log, lines }
                    }
                    (fault, _) => fault_of(fault, log),
                };
                self.verdict.find(&question, finding);
                return None;
            }
        };
        let more = known.lines + lines.digests.len() as u64 - audited.lines;
        if more > 0 {
            self.verdict.find(&question, Finding::Unanchored { log: log.clone(), lines: more });
        }
        if part.left && !audited.closed {
            self.verdict.find(&question, Finding::LogUnfinished(log.clone()));
            let question = Question::ContainerBaseline(named.clone());
            self.not_checked(question, "lines may be missing from the list");
        }
        if audited.lines == 0 {
            self.verdict.find(&question, Finding::NothingMeasured(log.clone()));
        }
        self.lines.insert(log, audited.lines);
        let by = match anchor.keeper {
            Keeper::Kernel => "by the kernel",
            Keeper::Shim => "by the shim: evidence of what it told, not of the kernel",
        };
        let violations = match lines.violations {
            0 => String::new(),
            count => format!(", {count} of them of what could not be measured"),
        };
        let end = if audited.closed { ", final" } else { "" };
        let (lines, seq) = (audited.lines, part.seq);
        self.passed(question, format!("{lines} lines{violations}, creation {seq}{end}, kept {by}"));
        Some(audited)
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
#[derive(Default)]
struct Digests {
    digests: Vec<Digest>,
    edited: Vec<u64>,
    overflowed: bool,
    violations: u64,
}

fn digests(part: &ContainerPart) -> Result<Digests, LogError> {
    let list = &part.list;
    let mut lines = Digests::default();
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
        let overflow = entry.is_violation() && entry.name() == Some(OVERFLOW);
        lines.overflowed |= overflow;
        lines.violations += u64::from(entry.is_violation() && !overflow);
        // A text that gives no data leads to no value: then it is an edited line.
        lines.digests.push(entry.event(Algorithm::Sha256).unwrap_or(Digest::sha256([0; 32])));
    })?;
    stream.finish()?;
    Ok(lines)
}

fn fault_of(fault: Fault, log: Log) -> Finding {
    match fault {
        Fault::Truncated { lines, missing } => Finding::LogTruncated { log, lines, missing },
        Fault::Edited(line) => Finding::LogEdited { log, line },
        Fault::Removed(line) => Finding::LogRemoved { log, line },
        Fault::Reordered(line) => Finding::LogReordered { log, line },
        Fault::Duplicated(line) => Finding::LogDuplicated { log, line },
        Fault::Interleaved { line, count } => Finding::LogInterleaved { log, line, count },
        Fault::Appended(line) => Finding::LogInterleaved { log, line, count: 1 },
        Fault::Altered(line) => Finding::LogNotReplayed { log, lines: line },
        Fault::NotCreated => Finding::NotAnchored(log),
    }
}
