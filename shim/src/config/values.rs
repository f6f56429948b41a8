use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lacre_types::Source;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::Sources;

/// Where the policy server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// On this machine.
    Unix(PathBuf),
    /// Somewhere else, over TLS: `HOST:PORT`.
    Tls(String),
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        if let Some(path) = text.strip_prefix("unix://") {
            if path.starts_with('/') {
                return Ok(Self::Unix(path.into()));
            }
        } else if let Some(host) = text.strip_prefix("tls://") {
            let port = host
                .rsplit_once(':')
                .and_then(|(host, port)| (!host.is_empty()).then_some(port)?.parse::<u16>().ok());
            if port.is_some_and(|port| port != 0) {
                return Ok(Self::Tls(host.to_owned()));
            }
        }
        Err(de::Error::custom(format!(
            "`{text}` is not a policy server; expected unix:///PATH or tls://HOST:PORT"
        )))
    }
}

/// A length of time: `500ms`, `10s`, `2m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As a duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = text[..digits].parse().ok()?;
        let duration = match &text[digits..] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            _ => return None,
        };
        Some(Self(duration))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is not a time; expected such as 500ms, 10s, 2m"))
        })
    }
}

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct AutoOrList;

        impl<'de> Visitor<'de> for AutoOrList {
            type Value = Sources;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto` or a list of sources")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Sources, E> {
                if word == "auto" {
                    return Ok(Sources::Auto);
                }
                Err(E::custom(format!("`{word}` is not `auto`; one source is a list: [{word}]")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sources, A::Error> {
                let mut sources = Vec::new();
                while let Some(source) = list.next_element::<Source>()? {
                    if !sources.contains(&source) {
                        sources.push(source);
                    }
                }
                if sources.is_empty() {
                    return Err(de::Error::custom(
                        "the list of sources is empty; expected `auto`, or one at least",
                    ));
                }
                Ok(Sources::Only(sources))
            }
        }

        d.deserialize_any(AutoOrList)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(Span::parse("1500ms").map(Span::get), Some(Duration::from_millis(1500)));
        assert_eq!(Span::parse("2m"), Some(Span::from_secs(120)));
        for wrong in ["10", "s", "-1s", "1h", "", "99999999999999999999s", "1 s"] {
            assert_eq!(Span::parse(wrong), None, "{wrong}");
        }
    }
}
