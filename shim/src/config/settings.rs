//! The configuration as the code has it, with what holds where a key is not given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lacre_types::{Mode, Source};
use serde::{Deserialize, Serialize};

use super::values::{Block, Server};
use crate::node::program_list::Programs;

/// How this node guards its containers: whole, and checked, before anything is started.
///
/// ```yaml
/// mode: enforce
/// policy: /etc/lacre/policy.yaml
/// server: tls://policy.example:50051
/// tls: {ca: /etc/lacre/ca.pem, cert: /etc/lacre/node.pem, key: /etc/lacre/node.key}
/// sources: [fanotify, exec-trace]
/// inner:
///   options: {SystemdCgroup: true}
/// exempt:
///   namespaces: [kube-system]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// `audit` sees and reports, and never touches; `enforce` acts. Default `audit`.
    pub mode: Mode,
    /// The policy. Default `/etc/lacre/policy.yaml`; absent is no error.
    pub policy: PathBuf,
    /// The policy server: `unix:///PATH` or `tls://HOST:PORT`. Default none: the policy
    /// file alone decides.
    pub server: Option<Server>,
    /// The certificates for a `tls://` server.
    pub tls: Option<Tls>,
    /// Where measurements come from. Default `auto`: the best that the node offers.
    pub sources: Sources,
    /// What is held back until it was looked at. Default `exec`.
    pub block: Block,
    /// Whether `exec-trace` checks the file behind every page when instructions are first
    /// fetched from it, and so libraries before their first instruction. Default `true`.
    pub fetch: bool,
    /// dockerd's socket, which is asked for a container's image where dockerd's files can't
    /// be read. Default `/var/run/docker.sock`.
    pub docker: PathBuf,
    /// How long a container whose inner shim has died may run on, guarded, while containerd is
    /// away and nobody else can end it; in enforce. Default `5m`.
    pub patience: Duration,
    /// How baselines are made.
    #[serde(default)]
    pub baseline: Baseline,
    /// The shim that does the work.
    pub inner: Inner,
    /// What is forwarded and not guarded.
    pub exempt: Exemptions,
    /// What the inner shim and the runtime that it runs must be, as sha256sum(1) writes it.
    /// Default `/etc/lacre/programs.sha256`; without that one they are not checked.
    #[serde(default = "programs")]
    pub programs: PathBuf,
    /// Where violations are recorded, one JSON line each. Default
    /// `/var/log/lacre/violations.jsonl`.
    pub records: PathBuf,
    /// Baselines, the spool, the last policy. Default `/var/lib/lacre`.
    pub state: PathBuf,
    /// Sockets and what is known of running containers. Default `/run/lacre`; at most 60
    /// bytes, since the names of sockets are limited.
    pub run: PathBuf,
}

/// The certificates of a node, PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Who signs the server's certificate.
    pub ca: PathBuf,
    /// This node's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Which sources to use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Sources {
    /// The best that the node offers.
    #[default]
    Auto,
    /// These, all of them: if one can't be had, nothing starts.
    Only(Vec<Source>),
}

impl Sources {
    /// What `auto` tries. Not `exec-map`: the events that it inherits cost every fork and exec
    /// some 15 %, and `exec-trace` sees all but memory made executable. Where the policy denies
    /// that, it is tried all the same.
    pub const AUTO: &'static [Source] = &[Source::ExecTrace, Source::Fanotify];
}

/// How baselines are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// How long a container's creation waits for a baseline that is not there yet. Beyond it the
    /// container has none (`NO_WHITELIST`) until it is made. Default `1m`.
    pub wait: Duration,
}

impl Default for Baseline {
    fn default() -> Self {
        // Half of what the kubelet waits for a container (`runtimeRequestTimeout`).
        Self { wait: Duration::from_secs(60) }
    }
}

/// The shim that lacre wraps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inner {
    /// A runtime's name (`io.containerd.runc.v2`), or the absolute path of a shim. Default
    /// `io.containerd.runc.v2`.
    pub shim: String,
    /// Options for runc's shim (`SystemdCgroup`, `BinaryName`…), by the names that
    /// containerd's configuration has for them. What a client sets itself goes before.
    pub options: BTreeMap<String, RuncValue>,
    /// For a shim other than runc's: the configuration file that it is told of
    /// (`runtimeoptions.v1.Options`, `ConfigPath`).
    pub config: Option<PathBuf>,
}

/// The value of a runc option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuncValue {
    /// A switch.
    Bool(bool),
    /// A number.
    Number(u32),
    /// A text.
    Text(String),
}

/// What is forwarded and not guarded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exemptions {
    /// Namespaces, of containerd or (for pods) of Kubernetes.
    pub namespaces: Vec<String>,
}

/// Of a charter that an older lacre wrote, too.
fn programs() -> PathBuf {
    "/etc/lacre/programs.sha256".into()
}

impl Config {
    /// The node's list of programs.
    #[must_use]
    pub fn programs(&self) -> Programs {
        Programs::new(&self.programs, self.programs != programs(), &self.run)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            policy: "/etc/lacre/policy.yaml".into(),
            server: None,
            tls: None,
            sources: Sources::default(),
            block: Block::default(),
            fetch: true,
            docker: "/var/run/docker.sock".into(),
            patience: Duration::from_secs(300),
            baseline: Baseline::default(),
            inner: Inner::default(),
            exempt: Exemptions::default(),
            programs: programs(),
            records: "/var/log/lacre/violations.jsonl".into(),
            state: "/var/lib/lacre".into(),
            run: "/run/lacre".into(),
        }
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            shim: crate::inner::program::RUNC.to_owned(),
            options: BTreeMap::new(),
            config: None,
        }
    }
}
