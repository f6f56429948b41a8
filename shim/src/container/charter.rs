//! What is written down of a container for whoever ends it when its guard can't: how it was
//! guarded, by which rules, and what stands in the kernel for it.
//!
//! The bundle, which goes with `delete`, holds the generation and nothing else. Everything that
//! lacre keeps of a container goes by its generation: namespace and id are not enough, since two
//! daemons of a node may have the same, and an id comes again while what had it before still
//! ends.

use std::fs;
use std::path::{Path, PathBuf};

use lacre_measure::Target;
use lacre_policy::Effective;
use lacre_types::{Digest, Mode, Source};
use serde::{Deserialize, Serialize};

use super::generation::Generation;
use crate::config::Config;
use crate::node::pid_namespace::PidNamespace;
use crate::node::process::Process;

/// What [`Head::version`] says today.
pub(super) const VERSION: u32 = 1;

/// The part whose form is fixed for good: any version of lacre ends a container by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The form of the body.
    pub version: u32,
    /// Which container.
    pub generation: Generation,
    /// containerd's namespace.
    pub namespace: String,
    /// Its id there.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// The socket of its guard.
    pub guard: PathBuf,
    /// The boot that it belongs to: what is in the kernel goes with that.
    pub boot: String,
    /// Its first process, once it was proven to be that.
    pub init: Option<Process>,
    /// The cgroups of that process, as `/proc/PID/cgroup` has them.
    pub cgroups: String,
    /// The pid namespace of that process: its cgroup may be another container's too.
    #[serde(default)]
    pub pid_namespace: Option<PidNamespace>,
}

/// How it is guarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Which lacre wrote it.
    pub lacre: String,
    /// containerd's gRPC socket.
    pub containerd: PathBuf,
    /// The sockets of the inner shim, where it is lacre's to end.
    #[serde(default)]
    pub inner_sockets: Vec<PathBuf>,
    /// The configuration, as it was read when its shim was started.
    pub config: Config,
    /// The mode that holds, the stricter of node and policy.
    pub mode: Mode,
    /// What is known of it beyond its name.
    pub about: Option<About>,
}

/// What was found out about a container while it was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Who it is, and who says so.
    pub identity: serde_json::Value,
    /// The policy that holds for it (`Effective::to_json`).
    pub policy: serde_json::Value,
    /// Its root file system, as the host reaches it.
    pub root: PathBuf,
    /// The overlay's upper directory.
    pub upper: Option<PathBuf>,
    /// The overlay's lower directories, topmost first.
    pub lower: Vec<PathBuf>,
    /// The manifest of the image whose content tells what it may run; none where the lower
    /// directories do.
    #[serde(default)]
    pub manifest: Option<Digest>,
    /// What is armed.
    pub sources: Vec<Source>,
}

/// A container's charter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charter {
    /// What every version reads.
    pub head: Head,
    /// `None`: another version wrote it.
    pub body: Option<Body>,
}

impl Charter {
    /// What is known before Create is handed on. `mode` is the node's.
    #[must_use]
    pub fn begin(head: Head, containerd: &Path, config: &Config) -> Self {
        let body = Body {
            lacre: env!("CARGO_PKG_VERSION").to_owned(),
            containerd: containerd.to_owned(),
            inner_sockets: Vec::new(),
            config: config.clone(),
            mode: config.mode,
            about: None,
        };
        Self { head, body: Some(body) }
    }

    /// Where the inner shim listens.
    pub(crate) fn listens(&mut self, inner_sockets: &[PathBuf]) {
        if let Some(body) = &mut self.body {
            inner_sockets.clone_into(&mut body.inner_sockets);
        }
    }

    /// What is known once the container has been created.
    pub(crate) fn fill(&mut self, mode: Mode, about: About) {
        if let Some(body) = &mut self.body {
            body.mode = mode;
            body.about = Some(about);
        }
    }

    /// What is armed.
    pub(crate) fn arm(&mut self, sources: impl Iterator<Item = Source>) {
        if let Some(about) = self.body.as_mut().and_then(|body| body.about.as_mut()) {
            about.sources = sources.collect();
        }
    }

    /// Which mode and policy hold from now on.
    pub(crate) fn rule(&mut self, mode: Mode, policy: &Effective) {
        if let Some(body) = &mut self.body {
            body.mode = mode;
            if let Some(about) = &mut body.about {
                about.policy = json(policy);
            }
        }
    }
}

impl About {
    /// Of a container that is about to be armed.
    pub(crate) fn of(
        identity: &impl Serialize,
        policy: &Effective,
        target: &Target,
        manifest: Option<Digest>,
    ) -> Self {
        Self {
            identity: serde_json::to_value(identity).unwrap_or_default(),
            policy: json(policy),
            root: target.rootfs.clone(),
            upper: target.upper.clone(),
            lower: target.lower.clone(),
            manifest,
            sources: Vec::new(),
        }
    }
}

fn json(policy: &Effective) -> serde_json::Value {
    serde_json::from_slice(&policy.to_json()).unwrap_or_default()
}

impl Head {
    /// Of a container that is about to be created.
    #[must_use]
    pub fn new(
        generation: Generation,
        namespace: &str,
        id: &str,
        bundle: &Path,
        guard: &Path,
    ) -> Self {
        Self {
            version: VERSION,
            generation,
            namespace: namespace.to_owned(),
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            guard: guard.to_owned(),
            boot: boot(),
            init: None,
            cgroups: String::new(),
            pid_namespace: None,
        }
    }
}

/// The number of this boot (random(4)); empty where the kernel does not tell.
pub(crate) fn boot() -> String {
    let read = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.map(|text| text.trim().to_owned()).unwrap_or_default()
}
