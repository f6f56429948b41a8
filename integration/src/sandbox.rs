//! A folder and namespaces of one's own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use lacre_types::proc_pid::stat_field;

use crate::process::Process;

/// A place for one daemon: a folder, whose `run` stands in for `/run`, a mount namespace
/// with its own `/sys/fs/bpf`, and a network namespace with only a loopback.
///
/// Dropping it ends all that runs in it, also when the test itself was killed: the holder
/// of the namespaces sees its input close.
#[derive(Debug)]
pub struct Node {
    folder: PathBuf,
    tag: String,
    holder: Child,
    leash: Option<ChildStdin>,
}

impl Node {
    /// Makes the folder and the namespaces.
    ///
    /// # Errors
    /// When not root, or the machine has no such namespaces.
    pub fn start() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let tag = format!("lacre-{}-{number}", std::process::id());
        // Short, since the paths of sockets (108 bytes) begin with it.
        let folder = PathBuf::from(format!("/tmp/{tag}"));
        fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let mut holder = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "slave", "sh", "-c"])
            .args([include_str!("node.sh"), "sh"])
            .arg(&folder)
            .arg(&tag)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("starting unshare")?;
        let mut line = String::new();
        if let Some(out) = holder.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        if line.trim() != "ready" {
            let mut said = String::new();
            if let Some(mut err) = holder.stderr.take() {
                err.read_to_string(&mut said)?;
            }
            holder.wait()?;
            fs::remove_dir_all(&folder)?;
            bail!("no namespaces (the tests need root): {said}");
        }
        let leash = holder.stdin.take();
        Ok(Self { folder, tag, holder, leash })
    }

    /// The folder; inside the namespace, its `run` is `/run`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A word that no other node has: name of the containerd namespace and of the cgroup.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The process that holds the namespaces.
    #[must_use]
    pub fn holder(&self) -> i32 {
        i32::try_from(self.holder.id()).unwrap_or(i32::MAX)
    }

    /// A command that will run in the node's namespaces, under its own process id (so that
    /// the child's id is the program's).
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let holder = self.holder();
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{holder}/ns/mnt"))
            .arg(format!("--net=/proc/{holder}/ns/net"))
            .arg("--")
            .arg(program.as_ref())
            .process_group(0);
        command
    }

    /// Where a path of the node's own file system view is seen from outside.
    #[must_use]
    pub fn view(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/{}", self.holder(), path.trim_start_matches('/')))
    }

    /// Every process of the node: in its mount namespace, or beneath its cgroup.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let holder = self.holder();
        let own = Process::by_pid(holder).and_then(|process| process.namespace("mnt"));
        let beneath = format!("/{}/", self.tag);
        let of_holder = |pid: i32| pid == holder || parent(pid) == Some(holder);
        Process::all()
            .into_iter()
            .filter(|process| !of_holder(process.pid))
            .filter(|process| {
                (own.is_some() && process.namespace("mnt") == own)
                    || process.cgroups().contains(&beneath)
            })
            .collect()
    }
}

fn parent(pid: i32) -> Option<i32> {
    stat_field(&fs::read(format!("/proc/{pid}/stat")).ok()?, 4)
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.leash.take());
        let _ = self.holder.wait();
    }
}
