//! The values of the configuration that are more than a text.

use std::path::PathBuf;
use std::str::FromStr;

use lacre_types::{Source, UnknownWord};
use serde::{Deserialize, Serialize};

/// What is held back until it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Block {
    /// Programs, and the interpreters of what is executed.
    #[default]
    Exec,
    /// Libraries and scripts too: a first look at every file opened.
    All,
}

/// What a configuration may name, and that must be had elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// `policy`
    Policy,
    /// `server`
    Server,
    /// `tls.ca`
    Ca,
    /// `tls.cert`
    Cert,
    /// `tls.key`
    Key,
    /// `programs`
    Programs,
    /// `inner.shim`
    InnerShim,
    /// `inner.config`
    InnerConfig,
}

/// Where the policy server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Server {
    /// On this machine.
    Unix(PathBuf),
    /// Somewhere else, over TLS: `HOST:PORT`.
    Tls(String),
}

impl Server {
    pub(super) fn of(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix://") {
            return path.starts_with('/').then(|| Self::Unix(path.into()));
        }
        let (host, port) = text.strip_prefix("tls://")?.rsplit_once(':')?;
        let good = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0);
        good.then(|| Self::Tls(format!("{host}:{port}")))
    }
}

impl FromStr for Block {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "exec" => Ok(Self::Exec),
            "all" => Ok(Self::All),
            _ => {
                Err(UnknownWord { word: word.to_owned(), what: "a `block`", expected: "exec all" })
            }
        }
    }
}

/// A source that a shim arms.
pub(super) struct Armable(pub(super) Source);

impl FromStr for Armable {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        word.parse().ok().filter(|source| *source != Source::Attestation).map(Self).ok_or(
            UnknownWord {
                word: word.chars().take(64).collect(),
                what: "a source",
                expected: "bpf fanotify exec-trace exec-map container-ima ima",
            },
        )
    }
}
