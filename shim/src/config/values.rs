use std::fmt;
use std::path::PathBuf;

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
