//! What a node's configuration says of actions.

use std::path::PathBuf;
use std::time::Duration;

use crate::backoff::Backoff;

/// What the node's configuration says of actions.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Between SIGTERM and SIGKILL of a STOP.
    pub grace: Duration,
    /// How soon, and how often, a container may come back.
    pub backoff: Backoff,
    /// lacre's run directory, `/run/lacre`.
    pub run: PathBuf,
    /// How this program starts itself to act without a shim.
    pub helper: Helper,
    /// What the helper's `tell` needs to put an outcome on record, in the caller's own words.
    pub teller: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
            backoff: Backoff::default(),
            run: "/run/lacre".into(),
            helper: Helper::default(),
            teller: String::new(),
        }
    }
}

/// How this program calls itself to act when the shim is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; its `main` must call [`detached_main`](crate::detached_main) on them.
    /// Namespace and id follow, for who reads the list of processes.
    pub args: Vec<String>,
}

impl Default for Helper {
    /// This very program, also when its file was replaced since, with `--act`.
    fn default() -> Self {
        Self { program: "/proc/self/exe".into(), args: vec!["--act".into()] }
    }
}
