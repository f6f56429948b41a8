//! What was found of containerd and Docker: their versions, settings and handlers.

use std::path::PathBuf;

use serde::Serialize;

use super::seen::Seen;

/// A handler of pods, in containerd's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Handler {
    /// Its name.
    pub name: String,
    /// `runtime_type`.
    pub runtime: String,
    /// `runtime_path`.
    pub path: Option<PathBuf>,
    /// Whether that is there, where it is named.
    pub is_there: bool,
    /// `options.ConfigPath`.
    pub config: Option<PathBuf>,
    /// `options.SystemdCgroup`.
    pub systemd_cgroup: bool,
}

impl Handler {
    /// Whether it runs lacre.
    #[must_use]
    pub fn is_lacre(&self) -> bool {
        let by_path = self
            .path
            .as_ref()
            .and_then(|path| path.file_name())
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"containerd-shim-lacre-"));
        by_path || (self.path.is_none() && self.runtime.starts_with("io.containerd.lacre"))
    }
}

/// A containerd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Daemon {
    /// Its process, where it runs.
    pub pid: Option<u32>,
    /// Its program.
    pub program: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its socket.
    pub socket: Option<PathBuf>,
    /// Its version, in its own words.
    pub version: Seen<String>,
    /// What `config dump` gives.
    pub settings: Seen<Settings>,
    /// Where it finds lacre's shim, by its own `PATH`.
    pub shim: Seen<Option<PathBuf>>,
    /// What `LACRE_CONFIG` names in its environment.
    pub lacre_config: Option<PathBuf>,
    /// Its `PATH`.
    #[serde(skip)]
    pub search_path: Option<std::ffi::OsString>,
}

/// What matters of containerd's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The version of its form.
    pub version: i64,
    /// The files that it imports.
    pub imports: Vec<PathBuf>,
    /// Those of them that have a CRI section, as the main file has: before 2.0 it replaces that.
    pub replacing: Vec<PathBuf>,
    /// Whether the CRI plugin is on.
    pub cri: bool,
    /// The handlers of pods.
    pub handlers: Vec<Handler>,
}

/// dockerd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Docker {
    /// Its socket.
    pub socket: PathBuf,
    /// Its version.
    pub version: String,
    /// Whether it was set up with a runtime that is lacre.
    pub has_lacre: bool,
    /// Whether its default runtime is lacre.
    pub is_default: bool,
    /// Whether it is root only in a user namespace of its own.
    pub rootless: bool,
}
