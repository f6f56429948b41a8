//! What a guard tells of itself and its containers to whoever may ask: the form of its answer.
//!
//! Fields come and none goes: a reader passes over what it does not know, and takes what is not
//! there for not told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lacre_types::{Digest, Mode, Source};
use serde::{Deserialize, Serialize};

/// What [`Telling::version`] says today.
pub const VERSION: u32 = 1;

/// What a guard tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Telling {
    /// The form.
    pub version: u32,
    /// Which lacre it is.
    pub lacre: String,
    /// Why its containers are forwarded for and not guarded, where that is so.
    pub exempt: Option<String>,
    /// The policy server, where there is one.
    pub server: Option<ServerLink>,
    /// Whether the watchdog has it.
    pub watched: bool,
    /// Its containers, or the one that was asked for.
    pub containers: Vec<Told>,
}

/// How the policy server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServerLink {
    /// Whether it is.
    pub reached: bool,
    /// Since when that is so: RFC 3339.
    pub since: String,
    /// Why not.
    pub why: Option<String>,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Told {
    /// Which one.
    pub generation: String,
    /// Its id.
    pub id: String,
    /// Whether leave to start a process of it was ever given.
    pub begun: bool,
    /// Whether anything guards it; not while it is being created, nor where it can't be.
    pub guarded: bool,
    /// The mode that holds.
    pub mode: Option<Mode>,
    /// Where its rules come from.
    pub policy: PolicyOrigin,
    /// The policy that holds (`Effective::to_json`), where one container was asked for.
    pub rules: Option<serde_json::Value>,
    /// What tells what it may run, where that is known.
    pub baseline: Option<BaselineTold>,
    /// The sources that are armed.
    pub sources: Vec<Source>,
    /// How many uses were seen, by the kind of violation; `REPORT` is none.
    pub seen: BTreeMap<String, u64>,
    /// Whether it stands still.
    pub frozen: Frozen,
    /// Whether its network is cut.
    pub isolated: bool,
    /// Orders of the policy server about it that were held when it was told of them.
    pub held: Vec<u64>,
}

/// Who has frozen a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frozen {
    /// It runs, as far as freezing goes.
    #[default]
    No,
    /// lacre.
    Lacre,
    /// lacre, and a client as well: its Resume ends both.
    LacreAndClient,
    /// Somebody else: a client by the inner shim, or who writes to its freezer.
    Other,
}

/// Where a container's rules come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyOrigin {
    /// The version of the policy server's, where that holds.
    pub server: Option<String>,
    /// The file, where that holds, or would without a server.
    pub file: Option<PathBuf>,
    /// The version of the file as it was when the container was created: the digest of its bytes,
    /// as the policy server numbers its own.
    pub version: Option<String>,
    /// Why the built-in policy holds though there should be a file.
    pub problem: Option<String>,
}

/// A baseline.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BaselineTold {
    /// The manifest whose content it was made from; none where it was made from directories.
    pub manifest: Option<Digest>,
    /// Its own digest, where one container was asked for.
    pub digest: Option<String>,
    /// How many files it lists.
    pub files: u64,
}

/// Whom a RELEASE is for, and why: as whoever asks says it, who is root.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Releaser {
    /// The generation of the container.
    pub generation: String,
    /// Why.
    pub reason: String,
}

/// What came of a release.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Released {
    /// What was undone: PAUSE, ISOLATE.
    pub undone: Vec<lacre_types::Action>,
    /// What was not, and why.
    pub failed: Vec<String>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
    /// What the policy has done again at once.
    pub again: Vec<lacre_types::Action>,
}
