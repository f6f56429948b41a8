//! Binary lists, taken apart.

use lacre_attest::ima::{Endian, next_binary, write};
use lacre_types::{Algorithm, Digest};

/// The entries of a list.
pub(crate) fn entries(list: &[u8], digests: Algorithm) -> Vec<Vec<u8>> {
    let mut rest = list;
    let mut entries = Vec::new();
    while let Some((_, len)) = next_binary(rest, digests, Endian::Little).unwrap() {
        entries.push(rest[..len].to_vec());
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
    entries
}

/// An entry of a file.
#[allow(dead_code, reason = "not every test makes one")]
pub(crate) fn entry(pcr: u32, digests: Algorithm, n: u8, name: &str) -> Vec<u8> {
    write::file(pcr, digests, &Digest::sha256([n; 32]), name.as_bytes())
}
