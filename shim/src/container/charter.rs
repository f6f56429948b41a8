//! What is written down of a container for whoever ends it when its guard can't: how it was
//! guarded, by which rules, and what stands in the kernel for it.
//!
//! `RUN/containers/GENERATION.json`, root's alone, replaced whole. The bundle, which goes with
//! `delete`, holds the generation and nothing else. Everything that lacre keeps of a container
//! goes by its generation: namespace and id are not enough, since two daemons of a node may
//! have the same, and an id comes again while what had it before still ends.

use std::fs;
use std::path::{Path, PathBuf};

use lacre_measure::Target;
use lacre_policy::Effective;
use lacre_types::{Mode, Source};
use serde::{Deserialize, Serialize};

use super::generation::Generation;
use crate::config::Config;
use crate::node::json_file::{self, FileError};
use crate::node::pid_namespace::PidNamespace;
use crate::node::process::Process;
use crate::node::run_dir::{self, Place};

/// What [`Head::version`] says today.
const VERSION: u32 = 1;

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

#[derive(Serialize)]
struct Written<'a> {
    head: &'a Head,
    body: Option<&'a Body>,
}

#[derive(Deserialize)]
struct Read {
    head: Head,
    body: serde_json::Value,
}

impl Charter {
    /// What is known before Create is handed on. `mode` is the node's.
    #[must_use]
    pub fn begin(head: Head, containerd: &Path, config: &Config) -> Self {
        let body = Body {
            lacre: env!("CARGO_PKG_VERSION").to_owned(),
            containerd: containerd.to_owned(),
            config: config.clone(),
            mode: config.mode,
            about: None,
        };
        Self { head, body: Some(body) }
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
    pub(crate) fn of(identity: &impl Serialize, policy: &Effective, target: &Target) -> Self {
        Self {
            identity: serde_json::to_value(identity).unwrap_or_default(),
            policy: json(policy),
            root: target.rootfs.clone(),
            upper: target.upper.clone(),
            lower: target.lower.clone(),
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
pub(super) fn boot() -> String {
    let read = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// The folder of a run directory's charters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charters(PathBuf);

impl Charters {
    /// Those beneath `run`.
    #[must_use]
    pub fn below(run: &Path) -> Self {
        Self(run_dir::charters(run))
    }

    /// Those of the containers that a guard, and others beside it, have.
    pub(crate) fn of(place: &Place) -> Self {
        Self::below(place.run())
    }

    #[cfg(test)]
    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    fn path(&self, generation: &Generation) -> PathBuf {
        self.0.join(generation.as_str()).with_extension("json")
    }

    /// Writes it down, in the place of what was there: whole or not at all.
    ///
    /// # Errors
    /// When it can't be.
    pub fn write(&self, charter: &Charter) -> Result<(), FileError> {
        let path = self.path(&charter.head.generation);
        let written = Written { head: &charter.head, body: charter.body.as_ref() };
        json_file::write(&path, &written)
    }

    /// Reads one; `None` when there is none.
    ///
    /// # Errors
    /// When it can't be read, or others could have written it.
    pub fn read(&self, generation: &Generation) -> Result<Option<Charter>, FileError> {
        let path = self.path(generation);
        let Some(read) = json_file::read_own::<Read>(&path)? else { return Ok(None) };
        let known = read.head.version == VERSION;
        let body = known.then(|| serde_json::from_value(read.body).ok()).flatten();
        Ok(Some(Charter { head: read.head, body }))
    }

    /// Every one that can be read.
    pub(crate) fn all(&self) -> Vec<Charter> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let names = entries.flatten().map(|entry| entry.path());
        let named = names.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
        let stems = named.filter_map(|path| path.file_stem()?.to_str().map(str::to_owned));
        let generations = stems.filter_map(|stem| Generation::try_from(stem).ok());
        generations.filter_map(|generation| self.read(&generation).ok().flatten()).collect()
    }

    /// Removes it. There may be none.
    pub fn remove(&self, generation: &Generation) {
        json_file::remove(&self.path(generation));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    fn rig() -> (tempfile::TempDir, Charters, Charter) {
        let dir = tempfile::tempdir().unwrap();
        let charters = Charters::below(dir.path());
        fs::create_dir(charters.folder()).unwrap();
        let generation = Generation::draw().unwrap();
        let head = Head::new(generation, "n", "c", Path::new("/b"), Path::new("/run/s/0a"));
        let config = Config::parse("mode: enforce\nsources: [exec-trace]").unwrap();
        let charter = Charter::begin(head, Path::new("/run/c.sock"), &config);
        (dir, charters, charter)
    }

    #[test]
    fn what_is_written_reads_back_and_is_roots_alone() {
        let (_dir, charters, mut charter) = rig();
        let generation = charter.head.generation.clone();
        assert_eq!(charters.read(&generation).unwrap(), None);
        charters.write(&charter).unwrap();
        assert_eq!(charters.read(&generation).unwrap(), Some(charter.clone()));
        charter.head.init = Some(Process { pid: 7, began: 9 });
        charters.write(&charter).unwrap();
        assert_eq!(charters.read(&generation).unwrap(), Some(charter));
        let mode = fs::metadata(charters.path(&generation)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(charters.folder()).unwrap().count(), 1, "nothing half-done");
        charters.remove(&generation);
        assert_eq!(charters.read(&generation).unwrap(), None);
    }

    #[test]
    fn another_versions_head_is_enough_to_end_a_container() {
        let (_dir, charters, charter) = rig();
        let mut head = serde_json::to_value(&charter.head).unwrap();
        head["version"] = 99.into();
        head["news"] = "nobody knows today".into();
        let text = serde_json::json!({"head": head, "body": {"quite": "another"}}).to_string();
        fs::write(charters.path(&charter.head.generation), text).unwrap();
        let read = charters.read(&charter.head.generation).unwrap().unwrap();
        assert_eq!((read.head.id.as_str(), read.body), ("c", None));
    }

    #[test]
    fn neither_a_link_nor_what_others_could_write_is_a_charter() {
        let (dir, charters, charter) = rig();
        let generation = charter.head.generation.clone();
        charters.write(&charter).unwrap();
        let path = charters.path(&generation);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(charters.read(&generation).is_err(), "a group may write it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(charters.read(&generation).is_err(), "a link");
        // Nor is one written through: the link itself is replaced.
        charters.write(&charter).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(charters.read(&generation).is_err(), "a FIFO, and nobody waits for its writer");
    }
}
