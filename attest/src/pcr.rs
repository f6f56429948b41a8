//! Platform configuration registers: a digest that can only be extended.

use lacre_types::{Algorithm, Digest};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// How many PCRs a PC's TPM has (TCG PC Client Platform TPM Profile, 4.6).
pub const COUNT: u32 = 24;

/// The digest of the parts, one after the other.
#[must_use]
pub fn hash(algorithm: Algorithm, parts: &[&[u8]]) -> Digest {
    fn of<D: sha2::Digest>(algorithm: Algorithm, parts: &[&[u8]]) -> Digest {
        let mut hasher = D::new();
        for part in parts {
            hasher.update(part);
        }
        filled(algorithm, &hasher.finalize())
    }
    match algorithm {
        Algorithm::Sha1 => of::<Sha1>(algorithm, parts),
        Algorithm::Sha256 => of::<Sha256>(algorithm, parts),
        Algorithm::Sha384 => of::<Sha384>(algorithm, parts),
        Algorithm::Sha512 => of::<Sha512>(algorithm, parts),
    }
}

/// The value after the event: `H(value ‖ event)` (TPM 2.0 Part 1, 17.3).
#[must_use]
pub fn extended(value: &Digest, event: &[u8]) -> Digest {
    hash(value.algorithm(), &[value.as_bytes(), event])
}

/// What a PCR holds after a reset: the dynamic ones (17 to 22) ones, the others zeroes.
#[must_use]
pub fn initial(algorithm: Algorithm, index: u32) -> Digest {
    repeated(algorithm, if (17..=22).contains(&index) { 0xff } else { 0 })
}

/// A digest of one byte, over and over.
#[must_use]
pub fn repeated(algorithm: Algorithm, byte: u8) -> Digest {
    filled(algorithm, &[byte; 64])
}

/// The bytes as a digest: cut, or padded with zeroes, to the algorithm's length.
fn filled(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut all = [0; 64];
    let len = bytes.len().min(algorithm.len());
    all[..len].copy_from_slice(&bytes[..len]);
    Digest::new(algorithm, &all[..algorithm.len()]).unwrap_or_else(|| Digest::sha256([0; 32]))
}

/// A digest put into a bank of longer ones, as kernels before 5.8 put SHA-1 into all.
#[must_use]
pub(crate) fn padded(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    filled(algorithm, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extends_as_a_tpm_does() {
        let zero = initial(Algorithm::Sha256, 10);
        let after = extended(&zero, &[0xff; 32]);
        assert_eq!(after, hash(Algorithm::Sha256, &[&[0; 32], &[0xff; 32]]));
        assert_eq!(initial(Algorithm::Sha1, 17).as_bytes(), [0xff; 20]);
        assert_eq!(padded(Algorithm::Sha256, &[1; 20]).as_bytes()[20..], [0; 12]);
    }
}
