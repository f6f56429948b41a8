//! A containerd of one's own.

mod builder;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

pub use self::builder::Builder;
use crate::config;
use crate::cri::Cri;
use crate::image::Image;
use crate::leaks::{Leak, Snapshot};
use crate::output::{Output, wait_for};
use crate::paths::search_path;
use crate::process::Process;
pub use crate::runtime::Runtime;
use crate::sandbox::Node;
pub use crate::snapshotter::Snapshotter;
pub use crate::version::Version;

/// Longer than any daemon takes to come up or go on a busy machine.
const READY: Duration = Duration::from_secs(30);
/// How long shims may take to go, once their last container has.
const REST: Duration = Duration::from_secs(10);

impl Builder {
    /// Starts it, and returns when it answers.
    ///
    /// # Errors
    /// When it does not come up; the error holds the end of its log.
    pub fn start(self) -> Result<Containerd> {
        let root = self.version.root()?;
        let node = Node::start()?;
        let folder = node.folder();
        for name in ["cni", "lacre"] {
            fs::create_dir(folder.join(name))?;
        }
        fs::write(folder.join("cni/10-lacre.conflist"), config::cni(folder))?;
        let mut lacre = self.lacre.clone();
        if let Some(policy) = &self.policy {
            let path = folder.join("lacre/policy.yaml");
            fs::write(&path, policy)?;
            lacre = format!("policy: {}\n{lacre}", path.display());
        }
        fs::write(folder.join("lacre/config.yaml"), config::lacre(folder, &lacre))?;
        let settings =
            config::containerd(self.version, folder, self.cri, self.level, self.snapshotter);
        fs::write(folder.join("config.toml"), settings)?;
        if let Some(snapshotter) = self.snapshotter {
            snapshotter.prepare(&node)?;
        }
        if self.in_memory {
            fs::create_dir(folder.join("root"))?;
            let mount = ["-t", "tmpfs", "-o", "mode=0711", "tmpfs"];
            Output::of(node.command("mount").args(mount).arg(folder.join("root")))?.ok()?;
        }
        let before = Snapshot::default();
        let mut daemon =
            Containerd { root, builder: self, child: None, before, abandoned: false, node };
        daemon.up()?;
        daemon.rebase();
        Ok(daemon)
    }
}

/// A containerd, with a [`Node`] of its own.
///
/// Dropping it removes every container, stops the daemon, and panics if anything that the
/// containers brought is then left.
#[derive(Debug)]
pub struct Containerd {
    root: PathBuf,
    builder: Builder,
    child: Option<Child>,
    before: Snapshot,
    abandoned: bool,
    node: Node,
}

impl Containerd {
    /// Starts one with the defaults.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start(version: Version) -> Result<Self> {
        Self::builder(version).start()
    }

    /// What may be set before the start.
    #[must_use]
    pub fn builder(version: Version) -> Builder {
        Builder::new(version)
    }

    /// Which generation it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.builder.version
    }

    /// The folder and namespaces it runs in.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The absolute path of its gRPC socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.node.folder().join("containerd.sock")
    }

    /// The containerd namespace that [`Self::ctr`] works in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.node.tag()
    }

    /// The daemon's process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    /// The daemon's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.node.folder().join("containerd.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// A command in the daemon's namespaces, with the daemon's `PATH`.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.node.command(program);
        command.env("PATH", search_path(&self.root));
        command
    }

    /// Starts the daemon, if it does not run, and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up; the error holds the end of its log.
    pub fn up(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let folder = self.node.folder().to_owned();
        let log = File::options().create(true).append(true).open(folder.join("containerd.log"))?;
        let child = self
            .command("containerd")
            .arg("--config")
            .arg(folder.join("config.toml"))
            .env("LACRE_CONFIG", folder.join("lacre/config.yaml"))
            .env("TMPDIR", &folder)
            .envs(self.builder.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting containerd")?;
        self.child = Some(child);
        let ready = wait_for("containerd answering", READY, || {
            Ok((self.socket().exists() && self.ctr(&["version"])?.code == 0).then_some(()))
        });
        ready.with_context(|| tail(&self.log()))
    }

    /// Ends the daemon with `signal`; containers and shims stay.
    ///
    /// # Errors
    /// When it does not go.
    pub fn down(&mut self, signal: Signal) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(process) = i32::try_from(child.id()).ok().and_then(Process::by_pid) {
            process.signal(signal);
        }
        wait_for("containerd going", READY, || Ok(child.try_wait()?.map(drop)))
    }

    /// Stops the daemon in good order and starts it again.
    ///
    /// # Errors
    /// When it does not go, or come back.
    pub fn restart(&mut self) -> Result<()> {
        self.down(Signal::SIGTERM)?;
        self.up()
    }

    /// Runs `ctr`, in the daemon's own containerd namespace.
    ///
    /// # Errors
    /// When it cannot be started; its own failure is in the output.
    pub fn ctr(&self, arguments: &[&str]) -> Result<Output> {
        self.ctr_in(self.namespace(), arguments)
    }

    /// Runs `ctr` in another containerd namespace (`k8s.io`, `moby`).
    ///
    /// # Errors
    /// As [`Self::ctr`].
    pub fn ctr_in(&self, namespace: &str, arguments: &[&str]) -> Result<Output> {
        Output::of(self.ctr_command(namespace).args(arguments))
    }

    /// A `ctr` that is still to be given its arguments.
    ///
    /// It goes before others, since on a busy machine it loses what a process said: of runc alone,
    /// three of 2,600. Why is not known for certain, nor that this is enough.
    #[must_use]
    pub fn ctr_command(&self, namespace: &str) -> Command {
        let mut command = self.command("nice");
        command
            .args(["-n", "-12", "ctr", "-a"])
            .arg(self.socket())
            .args(["-n", namespace])
            .stdin(Stdio::null());
        command
    }

    /// Imports an image into the daemon's own containerd namespace.
    ///
    /// # Errors
    /// When it cannot be made or imported.
    pub fn import(&self, image: &Image) -> Result<()> {
        self.import_in(self.namespace(), image)
    }

    /// Imports an image into another containerd namespace.
    ///
    /// # Errors
    /// As [`Self::import`].
    pub fn import_in(&self, namespace: &str, image: &Image) -> Result<()> {
        let file = tempfile::NamedTempFile::new_in(self.node.folder())?;
        image.write(file.path())?;
        let path = file.path().display().to_string();
        let snapshotter = self.builder.snapshotter.map_or("overlayfs", Snapshotter::name);
        let mut import = vec!["images", "import", "--snapshotter", snapshotter];
        // The transfer service unpacks for one snapshotter alone.
        if self.version() == Version::V2_1 && snapshotter != "overlayfs" {
            import.push("--local");
        }
        import.push(&path);
        let said = self.ctr_in(namespace, &import)?;
        said.ok().map(drop).with_context(|| format!("importing {}", image.name()))
    }

    /// Removes every pod, and every container of every containerd namespace.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn clear(&self) -> Result<()> {
        if self.builder.cri {
            Cri::connect(&self.socket(), self.node.tag())?.clear()?;
        }
        for namespace in self.ctr(&["namespaces", "ls", "-q"])?.ok()?.lines() {
            let ctr = |arguments: &[&str]| self.ctr_in(namespace, arguments);
            for id in ctr(&["tasks", "ls", "-q"])?.ok()?.lines() {
                ctr(&["tasks", "rm", "-f", id])?;
            }
            for id in ctr(&["containers", "ls", "-q"])?.ok()?.lines() {
                ctr(&["containers", "rm", id])?;
            }
        }
        Ok(())
    }

    /// What there is of the node now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.node, self.pid().as_slice())
    }

    /// What is left since `before`, once at rest.
    #[must_use]
    pub fn leaks_since(&self, before: &Snapshot) -> Vec<Leak> {
        before.settle(&self.node, self.pid().as_slice(), REST)
    }

    /// Removes the FIFOs of clients: a `ctr` whose daemon dies under it forgets its own.
    ///
    /// # Errors
    /// When the folder cannot be emptied.
    pub fn forget_client_fifos(&self) -> Result<()> {
        let folder = self.node.folder().join("run/containerd/fifo");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
            fs::create_dir(&folder)?;
        }
        Ok(())
    }

    /// Runs a test's `steps`. If they fail, that is what is told, with the log, and not what
    /// the half-done test left behind.
    ///
    /// # Errors
    /// As `steps`.
    pub fn check(mut self, steps: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let outcome = steps(&mut self);
        if outcome.is_err() {
            eprintln!("{}", tail(&self.log()));
            self.abandon();
        }
        outcome
    }

    /// Ends the test's hold of the node without any tidying, as a kill would.
    pub fn abandon(mut self) {
        self.abandoned = true;
    }

    /// Counts what is there now as no leftover.
    pub(crate) fn rebase(&mut self) {
        self.before = self.snapshot();
    }

    /// Removes every container and says what they leave behind; the daemon runs on.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn leftovers(&mut self) -> Result<Vec<Leak>> {
        self.up()?;
        self.clear()?;
        Ok(self.leaks_since(&self.before))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if self.abandoned {
            return;
        }
        let left = self.leftovers();
        let down = self.down(Signal::SIGTERM);
        if std::thread::panicking() {
            eprintln!("{}", tail(&self.log()));
            return;
        }
        let failed = match (&left, &down) {
            (Ok(left), Ok(())) if left.is_empty() => return,
            (Ok(left), Ok(())) => {
                let lines: Vec<_> = left.iter().map(ToString::to_string).collect();
                format!("left behind:\n{}", lines.join("\n"))
            }
            (Err(error), _) | (_, Err(error)) => format!("tidying: {error:#}"),
        };
        panic!("{failed}\n{}", tail(&self.log()));
    }
}

/// The last lines of a log, without the chatter.
pub(crate) fn tail(log: &str) -> String {
    let chatter = ["level=debug", "loading plugin"];
    let telling = |line: &&str| !chatter.iter().any(|word| line.contains(word));
    let lines: Vec<_> = log.lines().filter(telling).collect();
    let from = lines.len().saturating_sub(40);
    format!("the end of the daemon's log:\n{}", lines[from..].join("\n"))
}
