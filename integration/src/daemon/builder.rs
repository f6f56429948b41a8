//! What a containerd of one's own is started with.

use crate::snapshotter::Snapshotter;
use crate::version::Version;

/// What to start besides the defaults.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) version: Version,
    pub(super) cri: bool,
    pub(super) lacre: String,
    pub(super) policy: Option<String>,
    pub(super) level: &'static str,
    pub(super) environment: Vec<(String, String)>,
    pub(super) in_memory: bool,
    pub(super) snapshotter: Option<Snapshotter>,
}

impl Builder {
    pub(super) fn new(version: Version) -> Self {
        Self {
            version,
            cri: false,
            lacre: String::new(),
            policy: None,
            level: "debug",
            environment: Vec::new(),
            in_memory: false,
            snapshotter: None,
        }
    }

    /// Has one more snapshotter, on a file system of its own where it needs one.
    #[must_use]
    pub fn snapshotter(mut self, snapshotter: Snapshotter) -> Self {
        self.snapshotter = Some(snapshotter);
        self
    }

    /// Keeps the daemon's content and database in memory: it waits for no disk then.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// Switches the CRI plugin on, with a bridge network.
    #[must_use]
    pub fn cri(mut self) -> Self {
        self.cri = true;
        self
    }

    /// Adds lines to lacre's configuration file.
    #[must_use]
    pub fn lacre(mut self, yaml: &str) -> Self {
        self.lacre.push_str(yaml);
        self
    }

    /// Has lacre decide by this policy, in a file of the node's own.
    #[must_use]
    pub fn policy(mut self, yaml: &str) -> Self {
        self.policy = Some(yaml.to_owned());
        self
    }

    /// Sets how much the daemon and its shims log; `debug` if not said.
    #[must_use]
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.level = level;
        self
    }

    /// Sets a variable in the daemon's environment, and so in its shims'.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}
