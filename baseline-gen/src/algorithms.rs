//! In which algorithms a baseline has digests, and in what order.

use lacre_types::{Algorithm, Digest};

/// The algorithms a baseline has digests of: SHA-256 always, and those that a kernel's
/// log may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Algorithms(u8);

impl Default for Algorithms {
    fn default() -> Self {
        Self(bit(Algorithm::Sha256))
    }
}

const fn bit(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Sha1 => 1,
        Algorithm::Sha256 => 2,
        Algorithm::Sha384 => 4,
        Algorithm::Sha512 => 8,
    }
}

impl Algorithms {
    /// The order of the digests in a row; SHA-256 first, where every reader finds it.
    const ORDER: [Algorithm; 4] =
        [Algorithm::Sha256, Algorithm::Sha1, Algorithm::Sha384, Algorithm::Sha512];

    /// These, and SHA-256.
    #[must_use]
    pub fn with(algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        algorithms.into_iter().fold(Self::default(), |all, one| Self(all.0 | bit(one)))
    }

    /// Whether it is among them.
    #[must_use]
    pub const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & bit(algorithm) != 0
    }

    /// All of them, in the order of a row.
    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Self::ORDER.into_iter().filter(move |algorithm| self.contains(*algorithm))
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn from_bits(bits: u32) -> Option<Self> {
        let all = u8::try_from(bits).ok().filter(|bits| *bits < 16).map(Self)?;
        all.contains(Algorithm::Sha256).then_some(all)
    }

    /// The bytes of one row of digests.
    pub(crate) fn row_len(self) -> usize {
        self.iter().map(Algorithm::len).sum()
    }

    /// The digest of that algorithm in a row.
    pub(crate) fn digest(self, row: &[u8], wanted: Algorithm) -> Option<Digest> {
        let mut at = 0;
        for algorithm in self.iter() {
            let end = at + algorithm.len();
            if algorithm == wanted {
                return Digest::new(algorithm, row.get(at..end)?);
            }
            at = end;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_always_there_and_first() {
        let all = Algorithms::with([Algorithm::Sha512, Algorithm::Sha1]);
        assert_eq!(
            all.iter().collect::<Vec<_>>(),
            [Algorithm::Sha256, Algorithm::Sha1, Algorithm::Sha512]
        );
        assert_eq!(all.row_len(), 32 + 20 + 64);
        assert_eq!(Algorithms::from_bits(all.bits()), Some(all));
        assert_eq!(Algorithms::from_bits(1), None, "no sha256");
        assert_eq!(Algorithms::from_bits(18), None, "an algorithm that does not exist");
    }

    #[test]
    fn a_row_gives_each_digest_back() {
        let all = Algorithms::with([Algorithm::Sha1]);
        let row: Vec<u8> = (0..52).collect();
        assert_eq!(all.digest(&row, Algorithm::Sha1).unwrap().as_bytes(), &row[32..]);
        assert_eq!(all.digest(&row, Algorithm::Sha384), None);
        assert_eq!(all.digest(&row[..40], Algorithm::Sha1), None);
    }
}
