//! Several digests of a file in one reading of it.

use sha2::Digest as _;

use crate::Algorithms;

/// The digests of one file, as they stand in a row of the baseline.
pub(crate) type Row = Box<[u8]>;

/// Hashes with every algorithm of a baseline in one pass.
pub(crate) struct Hasher {
    sha256: sha2::Sha256,
    sha1: Option<sha1::Sha1>,
    sha384: Option<sha2::Sha384>,
    sha512: Option<sha2::Sha512>,
    row_len: usize,
}

impl Hasher {
    pub(crate) fn new(algorithms: Algorithms) -> Self {
        use lacre_types::Algorithm::{Sha1, Sha384, Sha512};
        Self {
            sha256: sha2::Sha256::new(),
            sha1: algorithms.contains(Sha1).then(sha1::Sha1::new),
            sha384: algorithms.contains(Sha384).then(sha2::Sha384::new),
            sha512: algorithms.contains(Sha512).then(sha2::Sha512::new),
            row_len: algorithms.row_len(),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
        }
        if let Some(sha384) = &mut self.sha384 {
            sha384.update(bytes);
        }
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    pub(crate) fn finish(self) -> Row {
        let mut row = Vec::with_capacity(self.row_len);
        row.extend_from_slice(&self.sha256.finalize());
        if let Some(sha1) = self.sha1 {
            row.extend_from_slice(&sha1.finalize());
        }
        if let Some(sha384) = self.sha384 {
            row.extend_from_slice(&sha384.finalize());
        }
        if let Some(sha512) = self.sha512 {
            row.extend_from_slice(&sha512.finalize());
        }
        row.into()
    }
}

/// SHA-256 of a slice.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use lacre_types::Algorithm;

    use super::*;

    /// FIPS 180-4 examples, "abc".
    #[test]
    fn a_row_holds_the_known_digests_of_abc() {
        let all = Algorithms::with(Algorithm::ALL.iter().copied());
        let mut hasher = Hasher::new(all);
        hasher.update(b"a");
        hasher.update(b"bc");
        let row = hasher.finish();
        let hex = |algorithm| all.digest(&row, algorithm).unwrap().hex();
        assert_eq!(hex(Algorithm::Sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert!(hex(Algorithm::Sha256).starts_with("ba7816bf8f01cfea414140de5dae2223"));
        assert!(hex(Algorithm::Sha384).starts_with("cb00753f45a35e8bb5a03d699ac65007"));
        assert!(hex(Algorithm::Sha512).starts_with("ddaf35a193617abacc417349ae204131"));
    }
}
