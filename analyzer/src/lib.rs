//! The verdict: a measurement against a baseline.
//!
//! A pure function of its two arguments: no clock, no file, no memory of what was judged
//! before. The order of the questions, each of which ends the matter:
//!
//! | question | if not |
//! |---|---|
//! | is it a program or a file, and not memory that was made executable? | [`Verdict::Memory`] |
//! | has the container a baseline? | `NO_WHITELIST` |
//! | is there a file behind the program, and is it no memfd? | `FILELESS` |
//! | can the file's name be told, and does the image have it? | `ENTRY_NOT_FOUND` |
//! | were the bytes read, and is their digest listed? | `INVALID_HASH` |
//! | are those the bytes that run (see [`judge`] on `mprotect`)? | `CODE_MODIFIED` |
//!
//! What was not checked is never allowed: bytes that nobody could read are judged by their
//! name alone, `ENTRY_NOT_FOUND` when the image has none such, else `INVALID_HASH`, since
//! a file of the image whose bytes cannot be shown to be its own may as well be another.
//! A size that differs proves the bytes to be others; a size that is equal proves nothing.

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use lacre_types::{
    Algorithm, CanonicalPath, Content, Digest, Event, Measurement, Process, Source, Violation,
    ViolationKind,
};
pub use lacre_types::{Digests, Listed, Whitelist};

/// What a measurement is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is what the image brought.
    Allowed(Allowed),
    /// It is not, or nobody can tell.
    Violation(Violation),
    /// It is memory, of which no baseline knows anything: the policy says whether that is the
    /// violation which it would be.
    Memory(Violation),
}

/// That a digest was compared and found listed. Only [`judge`] makes one, so whoever holds
/// it need not ask whether the comparison was made.
///
/// ```compile_fail,E0451
/// # fn forge(path: lacre_types::CanonicalPath, digest: lacre_types::Digest) {
/// let forged = lacre_analyzer::Allowed { path, digest };
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    path: CanonicalPath,
    digest: Digest,
}

impl Allowed {
    /// The file's own path in the image, its symbolic links followed.
    #[must_use]
    pub const fn path(&self) -> &CanonicalPath {
        &self.path
    }

    /// The digest that the bytes and the baseline share.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// Judges one measurement by the container's baseline.
///
/// `Event::Mprotect` on a file of the image: memory that was mapped without execute
/// permission got it later, and may have been written to in between. A digest in such a
/// measurement is that of the file, and says nothing of the pages, so the answer is never
/// `Allowed`: `INVALID_HASH` when the file itself is already another, else `CODE_MODIFIED`.
/// A source that can tell that no page of the private mapping was written (no `anon_vma`,
/// as SELinux's `execmod` asks) reports `Event::Mmap` instead. Of what runs lawfully, only
/// libraries with text relocations do this.
pub fn judge(baseline: Option<&dyn Whitelist>, measurement: &Measurement) -> Verdict {
    use ViolationKind::{CodeModified, EntryNotFound, Fileless, InvalidHash, NoWhitelist};

    let violation = |kind, expected| {
        Verdict::Violation(Violation { kind, measurement: measurement.clone(), expected })
    };
    if let Content::Memory(_) = measurement.content {
        let measurement = measurement.clone();
        return Verdict::Memory(Violation { kind: Fileless, measurement, expected: None });
    }
    let Some(baseline) = baseline else { return violation(NoWhitelist, None) };
    if measurement.content == Content::Fileless || measurement.event == Event::Memfd {
        return violation(Fileless, None);
    }
    let Some(listed) = measurement.path.as_ref().and_then(|path| baseline.entry(path)) else {
        return violation(EntryNotFound, None);
    };
    let expected = measurement
        .digest()
        .and_then(|digest| listed.digests.get(digest.algorithm()))
        .or_else(|| listed.digests.strongest())
        .copied();
    if measurement.event == Event::Mprotect {
        let other_file = match measurement.content {
            Content::Digest(digest) => !is_listed(&digest, &listed.digests),
            Content::Size(size) => size != listed.size,
            Content::Unread(_) | Content::Fileless | Content::Memory(_) => false,
        };
        return violation(if other_file { InvalidHash } else { CodeModified }, expected);
    }
    match measurement.content {
        Content::Digest(digest) if is_listed(&digest, &listed.digests) => {
            Verdict::Allowed(Allowed { path: listed.path, digest })
        }
        _ => violation(InvalidHash, expected),
    }
}

/// SHA-1 can be forged at will since 2017 (SHAttered), and never counts.
fn is_listed(digest: &Digest, listed: &Digests) -> bool {
    digest.algorithm() != Algorithm::Sha1 && listed.get(digest.algorithm()) == Some(digest)
}

/// The violation that stands for everything a source did not see: it stopped, or lost
/// events, for this reason.
#[must_use]
pub fn source_lost(source: Source, reason: impl Into<String>, time: SystemTime) -> Violation {
    without_file(ViolationKind::SourceLost, source, reason.into(), time)
}

/// What is told of a file that an interpreter opened, that did not come with the image, and of
/// which nothing says that it is code: no violation.
#[must_use]
pub const fn report(measurement: Measurement) -> Violation {
    Violation { kind: ViolationKind::Report, measurement, expected: None }
}

/// The violation of a log that is not the one which was measured, as a verifier found.
#[must_use]
pub fn log_tampered(reason: impl Into<String>, time: SystemTime) -> Violation {
    without_file(ViolationKind::LogTampered, Source::Attestation, reason.into(), time)
}

fn without_file(
    kind: ViolationKind,
    source: Source,
    reason: String,
    time: SystemTime,
) -> Violation {
    Violation {
        kind,
        measurement: Measurement {
            source,
            event: Event::Watch,
            path: None,
            content: Content::Unread(reason),
            process: Process::default(),
            time,
        },
        expected: None,
    }
}
