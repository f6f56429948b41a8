//! Which of a keeper's lists are checked, and by which secrets.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::case::Case;
use super::expect::ExpectedContainer;
use super::finding::Finding;
use super::history::{SeenOpen, name, named};
use super::name::{ListName, Log};
use super::verdict::Question;
use crate::container::{Audited, Keeper, Key, parse_line};
use crate::evidence::{AnchorPart, ContainerPart, Evidence};

const NO_SECRET: &str = "its secret was not given";

/// A list under verification.
pub(super) struct Subject<'a> {
    /// Which one it is.
    pub(super) number: usize,
    /// Which of the expected containers' it is.
    at: usize,
    pub(super) expected: &'a ExpectedContainer<'a>,
    /// `None`: it is not brought; its events tell whether it stands in another's place.
    pub(super) part: Option<&'a ContainerPart>,
    pub(super) name: ListName,
    pub(super) key: Key,
    pub(super) known: Audited,
    /// The image by whose baseline the lines that are known were judged.
    pub(super) known_as: Option<String>,
    /// The values of its events that are new.
    pub(super) values: Vec<[u8; 32]>,
}

impl Subject<'_> {
    /// Whether there is an event of it: its secret and its number are the right ones.
    pub(super) const fn is_anchored(&self) -> bool {
        self.known.events > 0 || !self.values.is_empty()
    }
}

/// The ids that more than one list has: a container that came back under its name.
pub(super) fn several<'a>(
    evidence: &'a Evidence,
    expected: &'a [ExpectedContainer<'a>],
) -> HashSet<&'a str> {
    let lists = evidence.anchors.iter().flat_map(|anchor| &anchor.containers);
    let mut once = HashSet::new();
    let mut several: HashSet<&str> =
        lists.map(|list| list.id.as_str()).filter(|id| !once.insert(*id)).collect();
    let mut once = HashSet::new();
    several.extend(expected.iter().map(|e| e.id.as_str()).filter(|id| !once.insert(*id)));
    several
}

impl<'a> Case<'a> {
    fn list_name(&self, id: &str, seq: Option<u64>) -> ListName {
        let seq = seq.filter(|_| self.several.contains(id));
        ListName { id: id.to_owned(), seq }
    }

    /// The lists of this keeper that are to be checked. One for which an expectation names
    /// the creation is that one's; any other is each one's that names its id alone.
    pub(super) fn subjects(&mut self, part: &'a AnchorPart) -> Vec<Subject<'a>> {
        let expect = self.expect;
        let seen = self.known().filter(|_| part.first > 0);
        let seen = seen.and_then(|seen| seen.anchors.get(&part.keeper));
        let mut by: HashMap<(&str, Option<u64>), Vec<usize>> = HashMap::new();
        for (at, expected) in expect.containers.iter().enumerate() {
            if expected.keeper.is_none_or(|keeper| keeper == part.keeper) {
                by.entry((&expected.id, expected.seq)).or_default().push(at);
            }
        }
        let subject = |at: usize, seq, part, list: ListName| {
            let expected = &expect.containers[at];
            let key = Key::new(expected.secret.as_ref()?, seq, &expected.id);
            let named = name(&expected.id, seq);
            let known = seen.and_then(|seen| seen.containers.get(&named));
            Some(Subject {
                number: 0,
                at,
                expected,
                part,
                name: list,
                key,
                known: known.cloned().unwrap_or_default(),
                known_as: seen.and_then(|seen| seen.images.get(&named)).cloned(),
                values: Vec::new(),
            })
        };
        let mut subjects = Vec::new();
        for list in &part.containers {
            let named = self.list_name(&list.id, Some(list.seq));
            let exact = by.remove(&(&list.id, Some(list.seq)));
            let Some(whose) = exact.as_ref().or_else(|| by.get(&(list.id.as_str(), None))) else {
                self.strangers.insert((part.keeper, &list.id));
                self.not_checked(Question::ContainerList(named), NO_SECRET);
                continue;
            };
            for at in whose {
                self.met.insert(*at);
                match subject(*at, list.seq, Some(list), named.clone()) {
                    Some(subject) => subjects.push(subject),
                    None => self.not_checked(Question::ContainerList(named.clone()), NO_SECRET),
                }
            }
        }
        for ((id, seq), whose) in by {
            let Some(seq) = seq else { continue };
            let named = self.list_name(id, Some(seq));
            subjects.extend(whose.iter().filter_map(|at| subject(*at, seq, None, named.clone())));
        }
        for (number, subject) in subjects.iter_mut().enumerate() {
            subject.number = number;
        }
        subjects
    }

    /// Leaves out what a secret is tried on in vain: where an id has several lists, one
    /// secret is that of one of them.
    pub(super) fn settle(&mut self, subjects: Vec<Subject<'a>>) -> Vec<Subject<'a>> {
        let anchored = || subjects.iter().filter(|subject| subject.is_anchored());
        let found: HashSet<usize> = anchored().map(|subject| subject.at).collect();
        let opened: HashSet<ListName> = anchored().map(|subject| subject.name.clone()).collect();
        let (vain, left): (Vec<_>, Vec<_>) = subjects.into_iter().partition(|subject| {
            let any = subject.expected.seq.is_none();
            any && !subject.is_anchored() && found.contains(&subject.at)
        });
        for subject in vain.into_iter().filter(|subject| !opened.contains(&subject.name)) {
            let question = Question::ContainerList(subject.name);
            self.not_checked(question, NO_SECRET);
        }
        left
    }

    /// Tells which expected lists nobody brought, or not who must keep them.
    pub(super) fn unmet(&mut self) {
        let met: BTreeSet<usize> = std::mem::take(&mut self.met);
        for (at, expected) in self.expect.containers.iter().enumerate() {
            if met.contains(&at) || expected.optional {
                continue;
            }
            let named = self.list_name(&expected.id, expected.seq);
            let log = Log::Container(named.clone());
            let stranger = [Keeper::Kernel, Keeper::Shim].into_iter().any(|keeper| {
                expected.keeper.is_none_or(|must| must == keeper)
                    && self.strangers.contains(&(keeper, expected.id.as_str()))
            });
            let finding = match stranger && expected.seq.is_some() {
                true => Finding::LogOfAnotherContainer { log, whose: None },
                false => Finding::LogMissing(log),
            };
            self.verdict.find(&Question::ContainerList(named), finding);
        }
    }

    /// Tells which lists were known, were not final, and are not brought, unless all that
    /// came after is their end: the kernel frees a list with its container. The lines that are
    /// such an end.
    pub(super) fn left_out(&mut self, part: &AnchorPart, aggregate: &[u8]) -> Vec<usize> {
        let mut ends = Vec::new();
        let known = self.seen.filter(|_| !self.rebooted);
        let Some(known) = known.and_then(|seen| seen.anchors.get(&part.keeper)) else {
            return ends;
        };
        let brought: HashSet<String> =
            part.containers.iter().map(|list| name(&list.id, list.seq)).collect();
        let mut missing: HashMap<[u8; 32], (&String, &SeenOpen)> = known
            .open
            .iter()
            .filter(|(list, _)| !brought.contains(*list))
            .map(|(list, next)| (next.tag, (list, next)))
            .collect();
        if missing.is_empty() {
            return ends;
        }
        for (at, line) in aggregate.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let event = parse_line(line);
            let found = event.and_then(|event| Some((event, missing.remove(&event.tag)?)));
            let Some((event, (list, next))) = found else { continue };
            if event.value == next.close {
                ends.push(at);
            } else {
                self.gone.push((part.keeper, list.clone()));
                let question = Question::ContainerList(named(list));
                self.not_checked(question, "it was known, went on, and is not brought any more");
            }
        }
        for (list, _) in missing.into_values() {
            // The kernel ends each list of its own; a shim that died has not, and its list is
            // removed an hour after.
            if part.keeper == Keeper::Shim {
                self.gone.push((part.keeper, list.clone()));
            }
            let question = Question::ContainerList(named(list));
            self.not_checked(question, "it was known, did not end, and is not brought any more");
        }
        ends
    }
}
