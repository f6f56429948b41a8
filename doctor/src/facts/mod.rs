//! What was seen of a node.

mod daemons;
mod seen;

use std::path::PathBuf;

use lacre_types::{Mode, Source};
use serde::Serialize;

pub use daemons::{Daemon, Docker, Handler, Settings};
pub use seen::{Offer, Seen};

/// What the kernel gives to see by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Offers {
    /// Permission events.
    pub fanotify: Offer,
    /// Tracepoints with BTF.
    pub exec_trace: Offer,
    /// Of these, that at the first fetch of a page's instructions.
    pub fetch: Offer,
    /// Perf events of mappings.
    pub exec_map: Offer,
    /// Lists of containers.
    pub container_ima: Offer,
    /// The node's own list.
    pub ima: Offer,
    /// BPF programs at the hooks of security modules.
    pub bpf_lsm: Offer,
    /// BPF programs at functions.
    pub trampolines: Offer,
}

impl Offers {
    /// What is known of a source.
    #[must_use]
    pub const fn of(&self, source: Source) -> Option<&Offer> {
        Some(match source {
            Source::Fanotify => &self.fanotify,
            Source::ExecTrace => &self.exec_trace,
            Source::ExecMap => &self.exec_map,
            Source::ContainerIma => &self.container_ima,
            Source::Ima => &self.ima,
            // No release has it yet, and the other one is no source of a node.
            Source::Bpf | Source::Attestation => return None,
        })
    }
}

/// The kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kernel {
    /// Such as `6.12.43`.
    pub release: String,
    /// Such as `x86_64`.
    pub machine: String,
    /// The security modules, in their order.
    pub modules: Seen<Vec<String>>,
    /// Whether there is `/sys/kernel/btf/vmlinux`.
    pub btf: bool,
    /// Whether there is a bpffs at `/sys/fs/bpf`.
    pub bpffs: bool,
    /// Whether overlayfs is known to it now.
    pub overlay: bool,
}

/// IMA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ima {
    /// Whether the kernel has it, and securityfs is mounted.
    pub is_there: bool,
    /// How many lines its list has; one is the boot's.
    pub lines: Option<u64>,
}

/// The TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tpm {
    /// `/dev/tpmrm0`.
    pub device: bool,
    /// Its version, as the kernel says it.
    pub version: Option<String>,
}

/// What fanotify allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FanotifyLimits {
    /// `fs.fanotify.max_user_groups`.
    pub groups: Option<u64>,
    /// Whether groups can be made under users that nobody is.
    pub other_users: bool,
}

/// The cgroup tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cgroups {
    /// Version 1 alone.
    V1,
    /// Both.
    Hybrid,
    /// Version 2 alone.
    V2,
    /// None is mounted where it belongs.
    None,
}

/// The sources that a configuration wants, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// The list; `None`: `auto`.
    pub only: Option<Vec<Source>>,
    /// Whether `exec-trace` is to look at the file behind each page.
    pub fetch: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { only: None, fetch: true }
    }
}

/// A configuration file of lacre's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigFile {
    /// The file.
    pub path: PathBuf,
    /// Who names it.
    pub named_by: String,
    /// Whether it must be there.
    pub required: bool,
    /// Whether it is there.
    pub is_there: bool,
    /// Whether it is good; what is wrong with it, where it can't be used.
    pub read: Seen<Result<(), String>>,
    /// The mode that it sets.
    pub mode: Mode,
    /// The sources that it wants.
    pub wanted: Wanted,
    /// What runc's shim is told of systemd's cgroups.
    pub systemd_cgroup: bool,
    /// Its policy.
    pub policy: PolicyFile,
    /// Its server.
    pub server: Option<Server>,
    /// The inner shim.
    pub inner: Inner,
    /// Where it keeps things.
    pub disks: Vec<Disk>,
    /// The watchdog of its run directory.
    pub watchdog: Watchdog,
    /// dockerd's socket.
    pub docker: PathBuf,
}

/// A policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyFile {
    /// The file.
    pub path: PathBuf,
    /// Whether it is the one that may be absent.
    pub is_standard: bool,
    /// How many rules it has; `None`: it is not there. What is wrong where it can't be used.
    pub rules: Seen<Result<Option<usize>, String>>,
    /// How many warnings it draws.
    pub warnings: usize,
}

/// A policy server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Where it is.
    pub address: String,
    /// Its policy's version, where it answered; why it did not.
    pub answer: Seen<Result<String, String>>,
    /// Why its policy file is not in force.
    pub error: Option<String>,
    /// The certificates, for TLS.
    pub tls: Option<Tls>,
}

/// The certificates of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Whether certificate, key and CA can be used together; why not.
    pub usable: Seen<Result<(), String>>,
    /// Each of them.
    pub certificates: Vec<Certificate>,
    /// The key, where others than its owner may read it.
    pub exposed_key: Option<PathBuf>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The file.
    pub file: PathBuf,
    /// What it is.
    pub what: &'static str,
    /// When it ends.
    pub expiry: Seen<Expiry>,
}

/// When a certificate holds, of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Expiry {
    /// Not for so many days yet.
    Begins(i64),
    /// For so many days more.
    Left(i64),
    /// Since so many days no more.
    Ended(i64),
}

/// A program that a container needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Where it is; why it can't be found.
    pub place: Result<PathBuf, String>,
    /// Whether the node lists it: `None`, there is no list; why not.
    pub listed: Option<Result<(), String>>,
}

/// The inner shim and what it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inner {
    /// The shim.
    pub shim: Program,
    /// The runtime, where the shim is runc's.
    pub runtime: Option<Program>,
}

/// A directory, and the disk that it is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// What is kept there.
    pub what: &'static str,
    /// The directory, or the nearest one above that is there.
    pub path: PathBuf,
    /// Bytes, of all and free.
    pub space: Seen<(u64, u64)>,
    /// Whether it is read-only.
    pub read_only: bool,
}

/// The watchdog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Watchdog {
    /// Where it listens.
    pub socket: PathBuf,
    /// Whether it does.
    pub listens: Seen<bool>,
    /// Whether a unit keeps it: the file, where systemd has it.
    pub unit: Option<PathBuf>,
}

/// All that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Whether it was root who looked.
    pub root: bool,
    /// Whether this is the first user namespace.
    pub first_user_namespace: bool,
    /// The kernel.
    pub kernel: Seen<Kernel>,
    /// What it gives to see by.
    pub offers: Offers,
    /// IMA.
    pub ima: Seen<Ima>,
    /// The TPM.
    pub tpm: Seen<Tpm>,
    /// fanotify's limits.
    pub fanotify: Seen<FanotifyLimits>,
    /// The cgroup tree.
    pub cgroups: Seen<Cgroups>,
    /// Each containerd.
    pub daemons: Seen<Vec<Daemon>>,
    /// Where dockerd was looked for.
    pub docker_socket: PathBuf,
    /// dockerd; `None`: there is none.
    pub docker: Seen<Option<Docker>>,
    /// Each configuration of lacre's that a container may come to have.
    pub configs: Seen<Vec<ConfigFile>>,
}
