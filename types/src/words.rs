//! Enums whose values are words in files and records.

/// A word that was read from outside and is not one of those that exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not {what}; expected one of {expected}")]
pub struct UnknownWord {
    /// What was read.
    pub word: String,
    /// What it should have been, such as `an action`.
    pub what: &'static str,
    /// The words that exist, separated by commas.
    pub expected: &'static str,
}

/// Gives an enum its words: `Display`, `FromStr`, serde, and the list of all of them.
macro_rules! words {
    ($ty:ident, $what:literal, { $($variant:ident => $word:literal),+ $(,)? } $(, also { $($alias:literal => $target:ident),+ $(,)? })?) => {
        impl $ty {
            /// All of them, in the order of their definition.
            pub const ALL: &'static [$ty] = &[$($ty::$variant),+];

            /// The word, as printed and as read.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($ty::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $ty {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $ty {
            type Err = $crate::UnknownWord;
            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok($ty::$variant),)+
                    $($($alias => Ok($ty::$target),)+)?
                    _ => Err($crate::UnknownWord {
                        word: word.chars().take(64).collect(),
                        what: $what,
                        expected: concat!($($word, " "),+),
                    }),
                }
            }
        }

        impl serde::Serialize for $ty {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $ty {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                word.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use words;
