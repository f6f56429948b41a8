//! What the host ran against its baseline; and what any list's entry measured.

use std::collections::BTreeSet;

use lacre_types::{
    CanonicalPath, Content, Event, Measurement, Process, Source, ViolationKind, Whitelist, escape,
};

use super::case::Case;
use super::finding::Finding;
use super::host::{HostList, each};
use super::verdict::Question;
use crate::ima::Entry;

impl Case<'_> {
    /// The host's programs, and if asked all it ran, against its baseline.
    pub(super) fn host_programs(&mut self, host: Option<&HostList>) {
        let question = Question::HostPrograms;
        let Some(policy) = &self.expect.host else {
            return self.not_checked(question, "no host baseline was given");
        };
        let (Some(host), Some(part)) = (host, &self.evidence.host) else {
            return self.not_checked(question, "the host's list does not hold");
        };
        let mut unseen: BTreeSet<&CanonicalPath> = policy.programs.iter().collect();
        let mut findings = Vec::new();
        let mut judged = 0u64;
        let done = each(part, host.anchored, |line, entry| {
            if line == 0 && entry.name() == Some(b"boot_aggregate") {
                return;
            }
            let Some(measurement) = measurement(entry, Source::Ima) else { return };
            let named = measurement.path.as_ref().is_some_and(|path| {
                // What another PCR holds was not quoted.
                if entry.pcr == self.expect.host_pcr.index() {
                    unseen.remove(path);
                }
                policy.programs.contains(path)
            });
            if !named && !policy.everything {
                return;
            }
            judged += 1;
            let verdict = judge(Some(policy.baseline), &measurement);
            if let lacre_analyzer::Verdict::Violation(violation) = verdict {
                let digest = measurement.digest().copied();
                let path = shown(entry);
                findings.push(Finding::HostProgram { path, kind: violation.kind, digest, line });
            }
        });
        if part.first == 0 {
            let unseen = unseen.into_iter().map(|path| path.to_string());
            findings.extend(unseen.map(Finding::HostProgramUnseen));
        }
        self.find_some(&question, findings);
        if done.is_ok() {
            self.passed(question, format!("{judged} measurements are in the baseline"));
        }
    }
}

/// The path of an entry, for a person.
pub(super) fn shown(entry: &Entry<'_>) -> String {
    entry.name().map_or_else(|| "(no name)".to_owned(), escape)
}

/// What an entry measured; `None` for what is no file: buffers.
pub(super) fn measurement(entry: &Entry<'_>, source: Source) -> Option<Measurement> {
    let name = entry.name();
    if entry.buffer().is_some() {
        return None;
    }
    let known = entry.is_built_in();
    let path = name.filter(|_| known).and_then(|name| CanonicalPath::new(name).ok());
    let content = match entry.file_digest() {
        _ if !known => Content::Unread("its template is none of the kernel's own".to_owned()),
        _ if name.is_some_and(|name| name.starts_with(b"memfd:")) => Content::Fileless,
        _ if entry.is_violation() => {
            Content::Unread("it was written while it was measured".to_owned())
        }
        Some(digest) => Content::Digest(digest),
        None => Content::Unread("its digest is of an algorithm that is not known".to_owned()),
    };
    Some(Measurement {
        source,
        // The list does not tell an exec from a map.
        event: Event::Exec,
        path,
        content,
        process: Process::default(),
        time: std::time::SystemTime::UNIX_EPOCH,
    })
}

/// How many underscores of a name are taken for spaces, at most.
const MAX_SPACES: u32 = 8;

/// Judges, where the kernel wrote `_` for each space of a name: a name that the baseline
/// does not have may be one with spaces that it has. Its bytes must be that file's still.
pub(super) fn judge(
    baseline: Option<&dyn Whitelist>,
    measurement: &Measurement,
) -> lacre_analyzer::Verdict {
    let verdict = lacre_analyzer::judge(baseline, measurement);
    let (lacre_analyzer::Verdict::Violation(violation), Some(path)) = (&verdict, &measurement.path)
    else {
        return verdict;
    };
    let bytes = path.as_bytes();
    let scores: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'_').collect();
    let many = scores.len() > MAX_SPACES as usize;
    if violation.kind != ViolationKind::EntryNotFound || scores.is_empty() || many {
        return verdict;
    }
    for spaces in 1..1usize << scores.len() {
        let mut name = bytes.to_vec();
        let taken = scores.iter().enumerate().filter(|(bit, _)| spaces >> bit & 1 == 1);
        taken.for_each(|(_, at)| name[*at] = b' ');
        let Ok(path) = CanonicalPath::new(name) else { continue };
        let spaced = Measurement { path: Some(path), ..measurement.clone() };
        let allowed = lacre_analyzer::judge(baseline, &spaced);
        if matches!(allowed, lacre_analyzer::Verdict::Allowed(_)) {
            return allowed;
        }
    }
    verdict
}
