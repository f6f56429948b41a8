//! runc, as far as a shim needs it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// runc with the state of one containerd namespace.
#[derive(Debug, Clone)]
pub struct Runc {
    root: PathBuf,
}

/// Where a process reads from and writes to: FIFOs of the client's, a file (`file://…`), or
/// nothing.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    /// Its standard input.
    pub stdin: String,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Streams {
    fn open(name: &str) -> io::Result<Stdio> {
        let path = name.strip_prefix("file://").unwrap_or(name);
        if path.is_empty() {
            return Ok(Stdio::null());
        }
        // Both ways: whoever opens a FIFO for one waits until another opens it for the other.
        let file = File::options().create(true).read(true).append(true).open(path)?;
        Ok(file.into())
    }

    fn give(&self, command: &mut Command) -> io::Result<()> {
        command.stdin(Self::open(&self.stdin)?);
        command.stdout(Self::open(&self.stdout)?);
        command.stderr(Self::open(&self.stderr)?);
        Ok(())
    }
}

impl Runc {
    /// As runc's own shim keeps it.
    #[must_use]
    pub fn of(namespace: &str) -> Self {
        Self { root: Path::new("/run/containerd/runc").join(namespace) }
    }

    fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(&self.root).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs it to its end, and gives what it prints.
    ///
    /// # Errors
    /// What it complains of.
    pub fn run<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> io::Result<Vec<u8>> {
        let output = self.command(arguments).output()?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Runs a command that leaves a process behind, and gives its number. The process has the
    /// streams, and so nobody can read from runc what it complains of: that is in its log.
    ///
    /// # Errors
    /// When there is no process.
    pub fn spawn(
        &self,
        bundle: &Path,
        name: &str,
        arguments: &[&OsStr],
        streams: &Streams,
    ) -> io::Result<i32> {
        let (pid, log) = (bundle.join(format!("{name}.pid")), bundle.join(format!("{name}.log")));
        let mut command = self.command([OsStr::new("--log"), log.as_os_str()]);
        let (verb, rest) = arguments.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        command.arg(verb).arg("--pid-file").arg(&pid).args(rest);
        streams.give(&mut command)?;
        if !command.status()?.success() {
            return Err(io::Error::other(fs::read_to_string(log).unwrap_or_default()));
        }
        fs::read_to_string(pid)?.trim().parse().map_err(io::Error::other)
    }
}
