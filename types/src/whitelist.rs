//! What the analyzer asks of a baseline.

use crate::{Algorithm, CanonicalPath, Digest, Kind};

/// What a baseline says of paths. It answers; the analyzer decides.
///
/// `entry` is called while a process of the container may stand waiting: it does no I/O
/// beyond a mapped file, and takes no lock.
pub trait Whitelist {
    /// The file that the image has under this name, its symbolic links followed, so that
    /// `/bin/sh` on a merged `/usr` answers with `/usr/bin/dash`. `None` when the image
    /// has none, or it is no file that may run.
    fn entry(&self, path: &CanonicalPath) -> Option<Listed>;
}

/// A file that came with the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its own path, after the image's symbolic links.
    pub path: CanonicalPath,
    /// Its digests, one for each algorithm that the baseline was made with.
    pub digests: Digests,
    /// Its size in bytes.
    pub size: u64,
    /// What it is.
    pub kind: Kind,
}

/// The digests of one content, at most one for each algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digests([Option<Digest>; Algorithm::ALL.len()]);

impl Digests {
    /// Adds a digest, in place of any other of its algorithm.
    pub fn insert(&mut self, digest: Digest) {
        self.0[digest.algorithm() as usize] = Some(digest);
    }

    /// The digest by that algorithm.
    #[must_use]
    pub const fn get(&self, algorithm: Algorithm) -> Option<&Digest> {
        self.0[algorithm as usize].as_ref()
    }

    /// The digest by the strongest algorithm there is.
    #[must_use]
    pub fn strongest(&self) -> Option<&Digest> {
        self.0.iter().rev().flatten().next()
    }

    /// All of them, from the weakest algorithm to the strongest.
    pub fn iter(&self) -> impl Iterator<Item = &Digest> {
        self.0.iter().flatten()
    }
}

impl FromIterator<Digest> for Digests {
    fn from_iter<I: IntoIterator<Item = Digest>>(digests: I) -> Self {
        let mut all = Self::default();
        for digest in digests {
            all.insert(digest);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_digest_for_each_algorithm_the_strongest_last() {
        let made = |algorithm: Algorithm, byte: u8| {
            Digest::new(algorithm, &vec![byte; algorithm.len()]).unwrap()
        };
        let digests: Digests =
            [made(Algorithm::Sha512, 1), made(Algorithm::Sha1, 2), made(Algorithm::Sha512, 3)]
                .into_iter()
                .collect();
        assert_eq!(digests.iter().count(), 2);
        assert_eq!(digests.strongest(), Some(&made(Algorithm::Sha512, 3)));
        assert_eq!(digests.get(Algorithm::Sha1), Some(&made(Algorithm::Sha1, 2)));
        assert_eq!(digests.get(Algorithm::Sha256), None);
        assert_eq!(Digests::default().strongest(), None);
    }
}
