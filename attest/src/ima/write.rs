//! Entries as the kernel writes them: for the list that the shim keeps, and for tests.

use lacre_types::{Algorithm, Digest};

use crate::pcr;

/// The template data of `ima-ng`: the digest, then the name.
#[must_use]
pub fn ima_ng(digest: &Digest, name: &[u8]) -> Vec<u8> {
    let algorithm = digest.algorithm().as_str().as_bytes();
    let mut data = Vec::with_capacity(80 + name.len());
    let field = |data: &mut Vec<u8>, parts: &[&[u8]]| {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        data.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
        parts.iter().for_each(|part| data.extend_from_slice(part));
    };
    field(&mut data, &[algorithm, b":\0", digest.as_bytes()]);
    field(&mut data, &[name, b"\0"]);
    data
}

/// A whole binary entry. `logged` is its template digest, or zeroes for a violation.
#[must_use]
pub fn binary(pcr: u32, logged: &[u8], template: &[u8], data: &[u8]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(16 + logged.len() + template.len() + data.len());
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    entry.extend_from_slice(&pcr.to_le_bytes());
    entry.extend_from_slice(logged);
    entry.extend_from_slice(&number(template.len()));
    entry.extend_from_slice(template);
    if template != b"ima" {
        entry.extend_from_slice(&number(data.len()));
    }
    entry.extend_from_slice(data);
    entry
}

/// The entry of a file, with the template digest that belongs to it.
#[must_use]
pub fn file(pcr: u32, digests: Algorithm, digest: &Digest, name: &[u8]) -> Vec<u8> {
    let data = ima_ng(digest, name);
    binary(pcr, pcr::hash(digests, &[&data]).as_bytes(), b"ima-ng", &data)
}
