//! The host's list against its PCR, and its programs against the host's baseline.

use lacre_types::{Algorithm, Digest, escape};

use super::case::Case;
use super::diagnose::{Shape, concatenated, guess};
use super::finding::Finding;
use super::history::SeenBoot;
use super::name::Log;
use super::swapped_list::stands_behind;
use super::verdict::Question;
use crate::evidence::ListPart;
use crate::ima::{Entry, LogError, Stream};
use crate::pcr;
use crate::replay::{Fill, Line, Replay};
use crate::tpm2::Attest;

/// The host's list, as far as the TPM vouches for it.
pub(super) struct HostList {
    pub(super) replay: Replay,
    /// How many lines of the part that the evidence brings are vouched for.
    pub(super) anchored: u64,
    pub(super) boot: SeenBoot,
}

/// A list's lines, replayed side by side with what is needed to say what is wrong.
struct Lines {
    /// How many of them were extended to the list's PCR.
    extended: usize,
    edited: Vec<u64>,
    boots: Vec<usize>,
    /// What all lines tell of the boot, vouched for or not.
    boot: SeenBoot,
    /// The replay after the last line that gave the PCR's value, what was told of the boot
    /// up to there, and how many lines that is.
    reached: Option<(Replay, SeenBoot, u64)>,
    end: Replay,
}

impl Case<'_> {
    pub(super) fn host_list(&mut self, attest: &Attest) -> Option<HostList> {
        let question = Question::HostList;
        let (bank, index) = (self.expect.bank, self.expect.host_pcr.index());
        let quoted = self.evidence.pcr(bank, index).filter(|_| attest.selection.has(bank, index));
        let untouched = quoted == Some(pcr::initial(bank, index));
        let Some(part) = &self.evidence.host else {
            // A kernel without IMA has neither; one that had a list goes on having it.
            let known =
                self.seen.filter(|_| !self.rebooted).is_some_and(|seen| seen.host.is_some());
            let finding = match untouched && !known {
                true => Finding::NoHostList(index),
                false => Finding::LogMissing(Log::Host),
            };
            self.verdict.find(&question, finding);
            return None;
        };
        if !attest.selection.has(bank, index) {
            self.not_checked(question, format!("its PCR, {index}, was not quoted"));
            return None;
        }
        let quoted = quoted?;
        let (start, boot) = self.start(part)?;
        let lines = match replay(part, &start, boot, &quoted, index) {
            Ok(lines) => lines,
            Err(why) => {
                self.verdict.find(&question, Finding::LogMalformed { log: Log::Host, why });
                return None;
            }
        };
        let edited = |line: &u64| Finding::LogEdited { log: Log::Host, line: *line };
        self.find_some(&question, lines.edited.iter().map(edited).collect());
        let unused = untouched && part.first == 0 && lines.extended > 0;
        let Some((replay, boot, anchored)) = lines.reached.clone().filter(|_| !unused) else {
            self.misreplayed(part, &start, &quoted, &lines);
            return None;
        };
        if replay.lines == 0 {
            self.verdict.find(&question, Finding::NothingMeasured(Log::Host));
        }
        let more = lines.end.lines - replay.lines;
        if more > 0 && self.earlier_behind(part, anchored) {
            self.verdict
                .find(&question, Finding::LogConcatenated { log: Log::Host, line: part.first });
        } else if more > 0 {
            let finding = Finding::Unanchored { log: Log::Host, lines: more };
            self.verdict.find(&question, finding);
        }
        if !self.known_prefix(part, anchored) {
            return None;
        }
        // IMA's policy may name other PCRs: their lines are as good as what was quoted of these.
        let elsewhere = replay.pcrs().filter(|other| *other != index);
        let vouched = |other: &u32| {
            let value = self.evidence.pcr(bank, *other);
            let quoted = attest.selection.has(bank, *other) && !pcr::is_resettable(*other);
            quoted && value.is_some() && value == replay.value(bank, *other)
        };
        let unvouched: Vec<u32> = elsewhere.filter(|other| !vouched(other)).collect();
        if let Some(other) = unvouched.first() {
            self.verdict.find(&question, Finding::LinesElsewhere(*other));
        }
        self.lines.insert(Log::Host, replay.lines);
        let violations = match replay.violations {
            0 => String::new(),
            count => format!(", {count} of them violations, whose names nobody vouches for"),
        };
        let seen = format!("{} lines, PCR {index} {bank}{violations}", replay.lines);
        self.passed(question, seen);
        Some(HostList { replay, anchored, boot })
    }

    /// Where the replay of a part begins, and what was told of the boot before it.
    fn start(&mut self, part: &ListPart) -> Option<(Replay, SeenBoot)> {
        if part.first == 0 {
            return Some((Replay::new([self.expect.bank]), SeenBoot::default()));
        }
        match self.known().and_then(|seen| Some((seen.host.as_ref()?, &seen.boot))) {
            Some((known, boot)) if known.lines == part.first => Some((known.clone(), boot.clone())),
            known => {
                let known = known.map_or(0, |(known, _)| known.lines);
                self.gap(Question::HostList, Log::Host, part.first, known);
                None
            }
        }
    }

    /// A whole list, of the same boot, must begin as the one that was seen before: its lines
    /// must come to what they came to then. `anchored` are those that the PCR vouches for.
    fn known_prefix(&mut self, part: &ListPart, anchored: u64) -> bool {
        let known = self.seen.filter(|_| !self.rebooted).and_then(|seen| seen.host.as_ref());
        let Some(known) = known.filter(|_| part.first == 0) else { return true };
        let mut replay = known.anew();
        let _ = each(part, known.lines.min(anchored), |_, entry| {
            replay.push(entry, part.digests);
        });
        if replay == *known {
            return true;
        }
        // The PCR went back within one boot, or there are lines that it never vouched for.
        let finding = Finding::LogRewritten { log: Log::Host, known: known.lines };
        self.verdict.find(&Question::HostList, finding);
        false
    }

    /// Whether the list of the boot before stands behind so many lines of a part.
    fn earlier_behind(&self, part: &ListPart, anchored: u64) -> bool {
        let (bank, index) = (self.expect.bank, self.expect.host_pcr.index());
        let known = self.seen.filter(|_| self.rebooted).and_then(|seen| seen.host.as_ref());
        let value = known.and_then(|known| known.value(bank, index));
        value.is_some_and(|value| stands_behind(part, anchored, index, &value))
    }

    /// Says what is wrong with a list that does not replay.
    fn misreplayed(&mut self, part: &ListPart, start: &Replay, quoted: &Digest, lines: &Lines) {
        let found = self.wrong(part, start, quoted, lines);
        for finding in found {
            self.verdict.find(&Question::HostList, finding);
        }
    }

    fn wrong(
        &self,
        part: &ListPart,
        start: &Replay,
        quoted: &Digest,
        lines: &Lines,
    ) -> Vec<Finding> {
        let (bank, index) = (self.expect.bank, self.expect.host_pcr.index());
        let log = Log::Host;
        let count = lines.end.lines;
        let leads = |from: &Replay, to: &Digest| {
            let lines = replay(part, from, SeenBoot::default(), to, index);
            lines.is_ok_and(|lines| lines.reached.is_some())
        };
        // No line leads to a PCR that was never extended, however it is filled.
        let extended = *quoted != pcr::initial(bank, index);
        let padded = Replay::new([bank]).filled(Fill::PaddedSha1);
        if part.first == 0 && extended && leads(&padded, quoted) {
            return vec![Finding::PaddedSha1];
        }
        let value = start.value(bank, index).unwrap_or_else(|| pcr::initial(bank, index));
        let (numbers, events) = events(part, bank, index);
        let line = |at: usize| numbers.get(at).copied().unwrap_or_default();
        // Before what was seen of it is looked at: the older list may be the one that was seen.
        if let Some(at) = concatenated(&value, &events, quoted, &lines.boots) {
            return vec![Finding::LogConcatenated { log, line: line(at) }];
        }
        let known = self.seen.and_then(|seen| seen.host.as_ref());
        let mut found = Vec::new();
        if let Some(known) = known.filter(|_| part.first == 0) {
            // What was true of the last boot, and was rebooted since, is another boot's.
            let old = known.value(bank, index).is_some_and(|value| leads(start, &value));
            if old && self.rebooted {
                return vec![Finding::LogOfAnotherBoot { log }];
            }
            if !old && !self.rebooted && count >= known.lines {
                found.push(Finding::LogRewritten { log: Log::Host, known: known.lines });
            }
        }
        if *quoted == value && known.is_none_or(|_| self.rebooted) {
            return vec![Finding::NeverExtended { log, index, lines: count }];
        }
        let shape = guess(&value, &events, quoted);
        let known = known.filter(|_| !self.rebooted).map_or(0, |known| known.lines);
        let expected = part.count.unwrap_or(0).max(known);
        found.push(match shape {
            Some(Shape::Duplicated(at)) => Finding::LogDuplicated { log, line: line(at) },
            Some(Shape::Reordered(at)) => Finding::LogReordered { log, line: line(at) },
            Some(Shape::Foreign(at)) => Finding::LogInterleaved { log, line: line(at), count: 1 },
            None if expected > count => {
                Finding::LogTruncated { log, lines: count, missing: expected - count }
            }
            None if self.boot_aggregate_fits(lines.boot.boot_aggregate.as_ref()) == Some(false) => {
                Finding::LogOfAnotherBoot { log }
            }
            // The edited lines are told, and explain it.
            None if !lines.edited.is_empty() => return found,
            None => Finding::LogNotReplayed { log, lines: count },
        });
        found
    }
}

fn replay(
    part: &ListPart,
    start: &Replay,
    boot: SeenBoot,
    quoted: &Digest,
    index: u32,
) -> Result<Lines, LogError> {
    let bank = quoted.algorithm();
    let mut replay = start.clone();
    let agrees = |replay: &Replay| replay.value(bank, index).as_ref() == Some(quoted);
    let mut lines = Lines {
        extended: 0,
        edited: Vec::new(),
        boots: Vec::new(),
        reached: agrees(start).then(|| (start.clone(), boot.clone(), 0)),
        boot,
        end: start.clone(),
    };
    let mut at = 0;
    let mut stream = Stream::new(part.form, part.digests);
    stream.feed(&part.data, |line, entry| {
        let number = part.first + line;
        if replay.push(entry, part.digests) == Line::Edited {
            lines.edited.push(number);
        }
        at += 1;
        lines.extended += usize::from(entry.pcr == index);
        // A line of another PCR is not in what was quoted.
        match entry.name().filter(|_| entry.pcr == index) {
            Some(b"boot_aggregate") => {
                lines.boots.push(lines.extended - 1);
                if number == 0 {
                    lines.boot.boot_aggregate = entry.file_digest();
                }
            }
            // Nothing vouches for what a violation says.
            Some(b"kernel_version") if !entry.is_violation() => {
                if let Some(text) = entry.buffer() {
                    lines.boot.version = Some(escape(text.strip_suffix(b"\0").unwrap_or(text)));
                }
            }
            _ => {}
        }
        if agrees(&replay) {
            lines.reached = Some((replay.clone(), lines.boot.clone(), at));
        }
    })?;
    stream.finish()?;
    lines.end = replay;
    Ok(lines)
}

/// The lines of a part that were extended to the PCR, and what with.
fn events(part: &ListPart, bank: Algorithm, index: u32) -> (Vec<u64>, Vec<Digest>) {
    let (mut lines, mut events) = (Vec::new(), Vec::new());
    let _ = each(part, u64::MAX, |line, entry| {
        if let (true, Some(event)) = (entry.pcr == index, entry.event(bank)) {
            lines.push(line);
            events.push(event);
        }
    });
    (lines, events)
}

/// The first `count` entries of a part that was replayed before.
pub(super) fn each(
    part: &ListPart,
    count: u64,
    mut entry: impl FnMut(u64, &Entry<'_>),
) -> Result<(), LogError> {
    Stream::new(part.form, part.digests).feed(&part.data, |line, at| {
        if line < count {
            entry(part.first + line, at);
        }
    })
}
