//! A container's list that does not hold: which other list stands there, or before it.

use std::collections::HashSet;

use lacre_types::{Algorithm, Digest};

use super::case::Case;
use super::finding::Finding;
use super::lists::Subject;
use super::name::Log;
use crate::container::{Audited, Keeper, audit_within, explained};
use crate::evidence::{AnchorPart, ListPart};
use crate::ima::Stream;
use crate::replay::Replay;
use crate::{container, pcr};

/// Fewer lines before a list are lines too many, and no list of their own.
const A_LIST: usize = 2;

impl Case<'_> {
    /// What a list is, when it is another one. `lines` are the list's, from its beginning, of
    /// which so many are `own`; `all` are the lists of this keeper.
    pub(super) fn another(
        &mut self,
        keeper: Keeper,
        subject: &Subject<'_>,
        lines: &[Digest],
        own: u64,
        all: &[Subject<'_>],
        log: &Log,
    ) -> Option<Finding> {
        let log = log.clone();
        if let Some(line) = concatenated(&mut self.steps, subject, lines, own) {
            return Some(Finding::LogConcatenated { log, line });
        }
        if self.was_of_the_last_boot(keeper, lines, own) {
            return Some(Finding::LogOfAnotherBoot { log });
        }
        let whose = foreign(&mut self.steps, subject, lines, all, own)?;
        Some(Finding::LogOfAnotherContainer { log, whose: Some(whose) })
    }

    /// Whether more than so many of the lines are a list that was true before the reboot.
    fn was_of_the_last_boot(&self, keeper: Keeper, lines: &[Digest], than: u64) -> bool {
        let seen = self.seen.filter(|_| self.rebooted);
        let lists = seen.and_then(|seen| Some(&seen.anchors.get(&keeper)?.containers));
        let longer = lists.into_iter().flatten().filter(|(_, list)| list.lines > than);
        let known: HashSet<(u64, &[u8])> =
            longer.map(|(_, list)| (list.lines, list.cpcr.as_bytes())).collect();
        let mut cpcr = pcr::initial(Algorithm::Sha256, 0);
        (1..).zip(lines).any(|(count, line)| {
            cpcr = pcr::extended(&cpcr, line.as_bytes());
            known.contains(&(count, cpcr.as_bytes()))
        })
    }
}

/// Where the own list begins, whole, behind another.
fn concatenated(
    steps: &mut usize,
    subject: &Subject<'_>,
    lines: &[Digest],
    own: u64,
) -> Option<u64> {
    let Subject { key, values, .. } = subject;
    // All of one value: the list's first line.
    let mut first = lines.first().filter(|_| own > 0);
    for at in A_LIST..lines.len() {
        if first.is_some_and(|first| *first != lines[at]) {
            continue;
        }
        // The last event may be the list's end, which has no line.
        let explained = explained(steps, key, &lines[at..], values);
        if *steps == 0 {
            return None;
        }
        if explained > 0 {
            first = Some(&lines[at]);
        }
        let whole = explained > 0 && explained + 2 >= values.len() as u64;
        let audit = |steps| audit_within(steps, key, &Audited::new(), &lines[at..], values, None);
        if whole && audit(steps).is_ok() {
            return Some(at as u64);
        }
    }
    None
}

/// The other container, of those whose secrets are known, that more than so many of these
/// lines are anchored for; `None`, too, where to find it would take too long.
fn foreign(
    steps: &mut usize,
    own: &Subject<'_>,
    lines: &[Digest],
    all: &[Subject<'_>],
    than: u64,
) -> Option<String> {
    let others = all.iter().filter(|subject| !std::ptr::eq(*subject, own));
    for subject in others.filter(|subject| subject.values.len() > 1) {
        if *steps == 0 {
            return None;
        }
        if explained(steps, &subject.key, lines, &subject.values) > than {
            return Some(subject.expected.id.clone());
        }
    }
    None
}

/// Whether the lines of the host's list behind the first so many lead to that value of its PCR,
/// as a list of their own.
pub(super) fn stands_behind(part: &ListPart, anchored: u64, index: u32, value: &Digest) -> bool {
    let bank = value.algorithm();
    let mut alone = Replay::new([bank]);
    let mut found = false;
    let fed = Stream::new(part.form, part.digests).feed(&part.data, |line, entry| {
        if line >= anchored {
            alone.push(entry, part.digests);
            found |= alone.value(bank, index).as_ref() == Some(value);
        }
    });
    fed.is_ok() && found
}

/// Where this boot's `aggregate` begins, in a text that has another before or behind it.
pub(super) fn begins_again(part: &AnchorPart, quoted: &Digest) -> Option<u64> {
    let mut at = 0;
    let mut starts = Vec::new();
    for (number, line) in part.aggregate.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if container::parse_line(line).is_some_and(|event| event.is_start()) {
            starts.push((number as u64, at));
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).map(|(_, at)| *at).chain([at]);
    let texts = starts.iter().zip(ends).map(|((number, at), end)| (*number, *at..end));
    let alone = container::Aggregate::new([quoted.algorithm()]);
    let agrees = |text| alone.replay(text, Some(quoted)).is_ok_and(|replayed| replayed.agrees);
    texts.into_iter().find(|(_, text)| agrees(&part.aggregate[text.clone()])).map(|(line, _)| line)
}
