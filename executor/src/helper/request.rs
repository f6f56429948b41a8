//! What a helper is asked, which it must be able to do without the shim that asked.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use lacre_types::Action;
use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::container::Container;
use crate::run_dir::{RunDirError, file_name};
use crate::settings::Settings;

/// The greatest request or record that is read.
pub(super) const JSON_MAX: u64 = 64 << 10;

/// What a helper is asked: it travels to its standard input as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// DELETE or RESTART.
    pub action: Action,
    /// containerd's socket.
    pub address: String,
    /// containerd's namespace.
    pub namespace: String,
    /// The container's id.
    pub container: String,
    /// Why, for the outcome.
    pub cause: String,
    /// How soon it may come back.
    pub backoff: Backoff,
    /// lacre's run directory: outcomes and locks lie there.
    pub run: PathBuf,
    /// Where the outcome goes: a path that no other request has, which names the process that
    /// waits for it.
    pub outcome: PathBuf,
    /// For the `tell` of [`detached_main`](crate::detached_main); nothing here reads it.
    pub teller: String,
}

impl Request {
    /// What to do with a container, and why.
    ///
    /// # Errors
    /// When namespace or id can't be part of a file's name.
    pub fn new(
        action: Action,
        container: &Container,
        settings: &Settings,
        cause: String,
    ) -> Result<Self, RunDirError> {
        let Container { namespace, id, address, .. } = container;
        Ok(Self {
            action,
            address: address.clone(),
            namespace: namespace.clone(),
            container: id.clone(),
            cause,
            backoff: settings.backoff,
            run: settings.run.clone(),
            outcome: outcome_path(&settings.run, namespace, id)?,
            teller: settings.teller.clone(),
        })
    }
}

fn outcome_path(run: &Path, namespace: &str, container: &str) -> Result<PathBuf, RunDirError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = file_name(namespace, container)?;
    Ok(run.join(format!("outcomes/{name}.{}.{number}.json", std::process::id())))
}
