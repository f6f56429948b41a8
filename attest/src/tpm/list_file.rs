//! Lists and their `aggregate` as files, and what of them is not known to who asks.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use lacre_types::Algorithm;

use super::collect_error::CollectError;
use crate::container::Keeper;
use crate::enrol::Known;
use crate::evidence::{ListPart, MAX_BYTES};
use crate::ima::{self, EntryError, Form, LogError, Stream};

/// Reads a file that ends where it ends: securityfs tells no length.
pub(super) fn read(
    path: &Path,
    mut file: impl io::Read,
    most: u64,
) -> Result<Vec<u8>, CollectError> {
    let mut bytes = Vec::new();
    let read = file.by_ref().take(most + 1).read_to_end(&mut bytes);
    read.map_err(|source| CollectError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > most {
        return Err(CollectError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

pub(super) fn open(path: &Path) -> Result<File, CollectError> {
    ima::open(path).map_err(|source| CollectError::Read { path: path.to_owned(), source })
}

/// The number that a file of securityfs holds.
pub(super) fn count(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A binary list from that line on. One that is shorter is told as it is, whole.
pub(super) fn list(
    path: &Path,
    digests: Algorithm,
    first: u64,
    count: Option<u64>,
) -> Result<ListPart, CollectError> {
    Ok(part(&read(path, open(path)?, MAX_BYTES)?, digests, first, count))
}

/// The same of a list that is read already.
pub(super) fn part(data: &[u8], digests: Algorithm, first: u64, count: Option<u64>) -> ListPart {
    let (first, skip) = skip(data, digests, first);
    ListPart { form: Form::Binary, digests, first, count, data: data[skip..].to_vec().into() }
}

/// How many bytes the first lines are.
fn skip(data: &[u8], digests: Algorithm, first: u64) -> (u64, usize) {
    let (lines, offset) = walk(data, digests, first);
    if lines == first { (first, offset) } else { (0, 0) }
}

/// How many bytes of a shim's list are to be shown: not the beginning of a line at its end,
/// but all from a line on that is none, which the verifier tells.
pub(super) fn whole(data: &[u8]) -> usize {
    let mut stream = Stream::new(Form::Binary, Algorithm::Sha256);
    match stream.feed(data, |_, _| {}).and_then(|()| stream.finish()) {
        Err(LogError { source: EntryError::Cut, .. }) => walk(data, Algorithm::Sha256, u64::MAX).1,
        _ => data.len(),
    }
}

/// How many of at most so many lines there are, and their bytes.
fn walk(data: &[u8], digests: Algorithm, most: u64) -> (u64, usize) {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (mut lines, mut bytes) = (0, 0);
    for size in sizes(data, digests).into_iter().take(most) {
        lines += 1;
        bytes += size;
    }
    (lines, bytes)
}

/// How many bytes each line has, up to what is none.
pub(super) fn sizes(data: &[u8], digests: Algorithm) -> Vec<usize> {
    let mut sizes = Vec::new();
    let _ = Stream::new(Form::Binary, digests).feed(data, |_, entry| {
        let old = usize::from(entry.template != b"ima");
        let data = entry.data.map_or(0, <[u8]>::len);
        sizes.push(8 + digests.len() + entry.template.len() + 4 * old + data);
    });
    sizes
}

/// How many lines of a container's list are known.
pub(super) fn known_lines(known: Option<&Known>, id: &str, seq: u64) -> u64 {
    let lines = known.and_then(|known| known.containers.get(&format!("{id}#{seq}")));
    lines.copied().unwrap_or(0)
}

/// What of an `aggregate` is not known.
pub(super) fn unknown_part(text: Vec<u8>, known: Option<&Known>, keeper: Keeper) -> (u64, Vec<u8>) {
    let lines = known.and_then(|known| known.aggregates.get(&keeper)).copied().unwrap_or(0);
    let skip = usize::try_from(lines).unwrap_or(usize::MAX);
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    match skip.checked_sub(1).map(|last| ends.map(|(at, _)| at + 1).nth(last)) {
        Some(Some(at)) => (lines, text[at..].to_vec()),
        _ => (0, text),
    }
}
