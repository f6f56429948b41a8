//! What stands left of a rule's colon: ids, digests, images, labels, paths.

use lacre_types::{Digest, ParseDigestError};

use crate::by_container::{SHORT_ID, WHOLE_ID, is_hex};
use crate::diagnostic::excerpt;
use crate::glob::{Glob, Wild};
use crate::image;
use crate::policy::parse_digest;
use crate::yaml::{Field, Reader};

/// The longest id that containerd takes (pkg/identifiers, `maxLength`).
const LONGEST_ID: usize = 76;

/// More hex digits than this, and fewer than 64, are a whole id that lost some.
const LONGEST_SHORT_ID: usize = 32;

pub(super) fn container_id<'n>(reader: &mut Reader<'_>, entry: Field<'n>) -> &'n str {
    let id = entry.name.strip_prefix("sha256:").unwrap_or(entry.name);
    let good = id.len() <= LONGEST_ID
        && id
            .split(['.', '-', '_'])
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if !good {
        reader
            .warn(entry.span, "this can be no container's id, and matches nothing")
            .expected("expected 64 hex digits, 12 or more of them, or containerd's id")
            .help("an image's name goes under `ByContainerImageName`");
    } else if is_hex(&id.to_ascii_lowercase()) && id.len() >= SHORT_ID {
        if !is_hex(id) {
            reader
                .warn(entry.span, "an id has no upper-case digits; this matches nothing")
                .help(format!("write {}", id.to_ascii_lowercase()));
        } else if id.len() > LONGEST_SHORT_ID && id.len() != WHOLE_ID {
            reader
                .warn(entry.span, format!("an id has {WHOLE_ID} hex digits, this has {}", id.len()))
                .help(format!("give all of it, or its first {SHORT_ID} to {LONGEST_SHORT_ID}"));
        }
    }
    id
}

pub(super) fn digest(reader: &mut Reader<'_>, entry: Field<'_>) -> Option<Digest> {
    let error = match parse_digest(entry.name) {
        Ok(digest) => return Some(digest),
        Err(error) => error,
    };
    let lower = entry.name.to_ascii_lowercase();
    let hex = lower.split_once(':').map_or(&*lower, |(_, hex)| hex);
    let text = excerpt(entry.name);
    let (message, help) = match error {
        _ if parse_digest(&lower).is_ok() => (
            "a digest has no upper-case digits; this matches nothing".into(),
            format!("write {}", excerpt(&lower)),
        ),
        ParseDigestError::Length { algorithm, got } if is_hex(hex) => (
            format!(
                "{algorithm} has {} hex digits, this has {got}, and matches nothing",
                algorithm.len() * 2
            ),
            "copy the digest again, whole".into(),
        ),
        ParseDigestError::Algorithm(_) => (
            format!("`{text}` begins with no algorithm that there is, and matches nothing"),
            "a digest reads sha256:9f86…; an image's name goes under `ByContainerImageName`".into(),
        ),
        _ => (
            format!("`{text}` is no digest, and matches nothing"),
            "a digest is 64 hex digits; an image's name goes under `ByContainerImageName`".into(),
        ),
    };
    reader.warn(entry.span, message).help(help);
    None
}

/// The full form of an image's name or glob, and what matches it.
pub(super) fn image_name(reader: &mut Reader<'_>, entry: Field<'_>) -> Option<(String, Glob)> {
    if let Some(why) = image::implausible_pattern(entry.name) {
        reader
            .warn(entry.span, format!("{why}; this matches nothing"))
            .help("a digest goes under `ByContainerImageDigest`, an id under `ByContainerID`");
    }
    let full = image::full_pattern(entry.name);
    let glob = glob(reader, entry, &full)?;
    Some((full, glob))
}

/// `key=value`, `key=glob`, or `key` alone for any value.
pub(super) fn pair<'n>(reader: &mut Reader<'_>, entry: Field<'n>) -> Option<(&'n str, Wild)> {
    let (key, value) = entry.name.split_once('=').unwrap_or((entry.name, "*"));
    if key.is_empty() {
        reader
            .error(entry.span, format!("`{}` has no key", excerpt(entry.name)))
            .expected("expected KEY=VALUE, or KEY for any value");
        return None;
    }
    let wild = if value.is_empty() { Ok(Wild::empty()) } else { Wild::new(value) };
    match wild {
        Ok(wild) => Some((key, wild)),
        Err(error) => {
            reader.error(entry.span, error.to_string());
            None
        }
    }
}

pub(super) fn glob(reader: &mut Reader<'_>, entry: Field<'_>, pattern: &str) -> Option<Glob> {
    match Glob::new(pattern) {
        Ok(glob) => Some(glob),
        Err(error) => {
            reader.error(entry.span, error.to_string());
            None
        }
    }
}

/// A path's pattern in the form that paths have: no empty part and no `.`.
pub(super) fn path(reader: &mut Reader<'_>, entry: Field<'_>) -> Option<String> {
    let pattern = entry.name;
    if !pattern.starts_with('/') && !pattern.starts_with("**/") && pattern != "**" {
        reader
            .error(entry.span, format!("`{}` does not begin with /", excerpt(pattern)))
            .expected("expected a path from the container's root")
            .help(format!("for any folder write **/{}", excerpt(pattern)));
        return None;
    }
    let parts = || pattern.split('/').filter(|part| !matches!(*part, "" | "."));
    if parts().any(|part| part == "..") {
        reader
            .error(entry.span, "a path here has no `..`")
            .help("write the path as the container has it");
        return None;
    }
    if pattern.ends_with('/') {
        reader
            .warn(entry.span, "this names a folder, which is never run; it matches nothing")
            .help(format!("for what is in it write {}**", excerpt(pattern)));
    }
    let mut canonical = String::with_capacity(pattern.len());
    for part in parts() {
        if !(canonical.is_empty() && part == "**" && !pattern.starts_with('/')) {
            canonical.push('/');
        }
        canonical.push_str(part);
    }
    if canonical.is_empty() {
        canonical.push('/');
    }
    Some(canonical)
}
