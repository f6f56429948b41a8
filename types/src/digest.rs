//! Digests with their algorithm, as OCI writes them.

use std::fmt;
use std::str::FromStr;

use crate::words::words;

/// A hash algorithm, by the name that OCI and IMA give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// 20 bytes. Only to read old logs; never a reason to allow.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

words!(Algorithm, "a digest algorithm", {
    Sha1 => "sha1", Sha256 => "sha256", Sha384 => "sha384", Sha512 => "sha512",
});

#[expect(clippy::len_without_is_empty, reason = "no digest is empty")]
impl Algorithm {
    /// The length of a digest, in bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// An algorithm and the bytes it gave, printed `sha256:9f86…` (OCI image-spec, descriptor).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; 64],
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// There is no colon.
    #[error("a digest reads ALGORITHM:HEX, such as sha256:9f86…; there is no colon in it")]
    NoAlgorithm,
    /// The algorithm is not one that lacre knows.
    #[error("a digest begins with its algorithm")]
    Algorithm(#[source] crate::UnknownWord),
    /// The hex part has the wrong length.
    #[error("{algorithm} has {} hex digits, this has {got}", .algorithm.len() * 2)]
    Length {
        /// The algorithm that was named.
        algorithm: Algorithm,
        /// How many digits there are.
        got: usize,
    },
    /// A character is not a lower-case hex digit.
    #[error("byte {at} of the hex part is not one of 0-9, a-f")]
    NotHex {
        /// Its offset in the hex part.
        at: usize,
    },
}

impl Digest {
    /// The digest with these bytes; `None` when their number is not the algorithm's.
    #[must_use]
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != algorithm.len() {
            return None;
        }
        let mut padded = [0; 64];
        padded[..bytes.len()].copy_from_slice(bytes);
        Some(Self { algorithm, bytes: padded })
    }

    /// A SHA-256 digest.
    #[must_use]
    pub fn sha256(bytes: [u8; 32]) -> Self {
        let mut padded = [0; 64];
        padded[..32].copy_from_slice(&bytes);
        Self { algorithm: Algorithm::Sha256, bytes: padded }
    }

    /// Its algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its bytes, as many as the algorithm gives.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.len()]
    }

    /// The bytes in lower-case hex, without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(self.algorithm.len() * 2);
        for byte in self.as_bytes() {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (algorithm, hex) = text.split_once(':').ok_or(ParseDigestError::NoAlgorithm)?;
        let algorithm: Algorithm = algorithm.parse().map_err(ParseDigestError::Algorithm)?;
        if hex.len() != algorithm.len() * 2 {
            return Err(ParseDigestError::Length { algorithm, got: hex.len() });
        }
        let mut bytes = [0; 64];
        for (at, digit) in hex.bytes().enumerate() {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return Err(ParseDigestError::NotHex { at }),
            };
            bytes[at / 2] = bytes[at / 2] << 4 | value;
        }
        Ok(Self { algorithm, bytes })
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prints_and_reads_back(bytes in proptest::collection::vec(any::<u8>(), 32)) {
            let digest = Digest::new(Algorithm::Sha256, &bytes).unwrap();
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = text.parse::<Digest>();
        }
    }

    #[test]
    fn sixty_three_digits_are_not_a_digest() {
        let short = format!("sha256:{}", "a".repeat(63));
        assert_eq!(
            short.parse::<Digest>(),
            Err(ParseDigestError::Length { algorithm: Algorithm::Sha256, got: 63 })
        );
    }
}
