//! Identifiers of algorithms (Part 2, 6.3) and of curves (6.4).

use lacre_types::Algorithm;

pub(super) const RSA: u16 = 0x0001;
pub(super) const SHA1: u16 = 0x0004;
pub(super) const AES: u16 = 0x0006;
pub(super) const SHA256: u16 = 0x000b;
pub(super) const SHA384: u16 = 0x000c;
pub(super) const SHA512: u16 = 0x000d;
pub(super) const NULL: u16 = 0x0010;
pub(super) const RSASSA: u16 = 0x0014;
pub(super) const RSAPSS: u16 = 0x0016;
pub(super) const ECDSA: u16 = 0x0018;
pub(super) const ECC: u16 = 0x0023;
pub(super) const CFB: u16 = 0x0043;
pub(super) const NIST_P256: u16 = 0x0003;
pub(super) const NIST_P384: u16 = 0x0004;

/// The hash algorithm of that identifier.
pub(super) fn hash_of(id: u16) -> Option<Algorithm> {
    Some(match id {
        SHA1 => Algorithm::Sha1,
        SHA256 => Algorithm::Sha256,
        SHA384 => Algorithm::Sha384,
        SHA512 => Algorithm::Sha512,
        _ => return None,
    })
}

/// The identifier of a hash algorithm.
#[must_use]
pub const fn id_of(hash: Algorithm) -> u16 {
    match hash {
        Algorithm::Sha1 => SHA1,
        Algorithm::Sha256 => SHA256,
        Algorithm::Sha384 => SHA384,
        Algorithm::Sha512 => SHA512,
    }
}
