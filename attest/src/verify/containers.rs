//! The containers' lists against `aggregate`.

use std::collections::{BTreeMap, HashMap, HashSet};

use lacre_types::{Algorithm, Digest};

use super::case::Case;
use super::claims::Claimed;
use super::completeness::Owner;
use super::finding::Finding;
use super::history::{SeenAnchor, SeenOpen, name};
use super::lists::Subject;
use super::name::Log;
use super::verdict::Question;
use crate::container::{Audited, Fault, Keeper, OVERFLOW, Replayed, audit_within, parse_line};
use crate::evidence::{AnchorPart, ContainerPart};
use crate::ima::{LogError, Stream};

impl<'a> Case<'a> {
    pub(super) fn containers(
        &mut self,
        part: &'a AnchorPart,
        replayed: Option<Replayed>,
        before: Option<&Claimed>,
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
        let (anchored, newer) = part.aggregate.split_at(replayed.anchored);
        let mut owners = collect(anchored, &mut subjects);
        let subjects = self.settle(subjects);
        for line in self.left_out(part, anchored) {
            owners[line] = Owner::Ended;
        }
        let mut sound = HashSet::new();
        let (mut states, mut open) = (BTreeMap::new(), BTreeMap::new());
        let mut images = BTreeMap::new();
        for subject in &subjects {
            let Some(list) = subject.part else { continue };
            let Some(audited) = self.container(part, subject, list, &subjects, newer) else {
                let question = Question::ContainerBaseline(subject.name.clone());
                self.not_checked(question, "its list does not hold");
                continue;
            };
            sound.insert(subject.number);
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
        let aggregate = replayed.state;
        self.complete(part, &aggregate, &owners, &sound, before);
        let unclaimed = self.claims.get(&part.keeper).map(|claimed| claimed.unclaimed);
        Some(SeenAnchor { aggregate, containers: states, open, images, unclaimed })
    }

    fn container(
        &mut self,
        anchor: &AnchorPart,
        subject: &Subject<'_>,
        part: &ContainerPart,
        all: &[Subject<'_>],
        newer: &[u8],
    ) -> Option<Audited> {
        let named = &subject.name;
        let question = Question::ContainerList(named.clone());
        let log = Log::Container(named.clone());
        if !subject.is_anchored() && anchor.first > 0 {
            self.not_checked(question, "its first events are older than what is here");
            return None;
        }
        if !subject.is_anchored() {
            // Made after the quote, it has an event behind it.
            let made = subject.key.tag(0);
            let mut behind = newer.split_inclusive(|byte| *byte == b'\n').filter_map(parse_line);
            match behind.any(|event| event.tag == made) {
                true => self.not_checked(question, "all of it is newer than the quote"),
                false => self.verdict.find(&question, Finding::NotAnchored(log)),
            }
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
        // One that ended so never ran anything.
        if audited.lines == 0 && !audited.closed {
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

/// Finds each container's events: an event's tag is known before its content. Tells whose each
/// line is.
fn collect(aggregate: &[u8], subjects: &mut [Subject<'_>]) -> Vec<Owner> {
    let tag =
        |subject: &Subject<'_>| subject.key.tag(subject.known.events + subject.values.len() as u64);
    let mut next: HashMap<[u8; 32], usize> =
        subjects.iter().enumerate().map(|(at, subject)| (tag(subject), at)).collect();
    let lines = aggregate.split_inclusive(|byte| *byte == b'\n');
    let owner = |line| {
        // What was replayed is lines.
        let Some(event) = parse_line(line) else { return Owner::Nobody };
        if event.is_start() || event.is_full() {
            return Owner::Aggregate;
        }
        let Some(at) = next.remove(&event.tag) else { return Owner::Nobody };
        subjects[at].values.push(event.value);
        next.insert(tag(&subjects[at]), at);
        subjects[at].part.map_or(Owner::Nobody, |_| Owner::List(subjects[at].number))
    };
    lines.map(owner).collect()
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
