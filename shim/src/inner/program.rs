//! The shim that lacre wraps: where its program is, and running it as containerd would.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use lacre_sys::bound_child::bind;
use rustix::fs::{MemfdFlags, memfd_create};
use sha2::{Digest as _, Sha256};

use crate::node::process::Process;

/// The runtime that is wrapped unless another is named.
pub const RUNC: &str = "io.containerd.runc.v2";

/// An answer is a line; a description of the runtime, some pages.
const OUTPUT_MAX: u64 = 1 << 20;

/// How long a call of the inner shim may take that is not to be waited for without end: six
/// times what containerd gives it. What it was to do is then not done, and that is told.
const HANGS: Duration = Duration::from_secs(30);

/// Why the inner shim can't be run.
#[derive(Debug, thiserror::Error)]
pub enum InnerError {
    /// Its name is not one.
    #[error("`{0}` is neither an absolute path nor a runtime's name, such as {RUNC}")]
    Name(String),
    /// It would be lacre itself.
    #[error("the inner shim is lacre itself; name another under `inner.shim`")]
    Itself,
    /// It is not there.
    #[error("{name} is neither on PATH nor beside {}; install it, or name its path under `inner.shim`", .beside.display())]
    Missing {
        /// The program.
        name: String,
        /// Where else was looked.
        beside: PathBuf,
    },
    /// It does not run.
    #[error("running {}", .program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The program of a runtime, by containerd's rule: the last two parts of the name.
///
/// # Errors
/// When it is not a runtime's name.
pub fn binary_name(runtime: &str) -> Result<String, InnerError> {
    let wrong = || InnerError::Name(runtime.to_owned());
    let parts: Vec<_> = runtime.split('.').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty() || part.contains('/')) {
        return Err(wrong());
    }
    let [.., name, version] = parts.as_slice() else { return Err(wrong()) };
    if runtime.starts_with("io.containerd.") && *name == "lacre" {
        return Err(InnerError::Itself);
    }
    // `runc` alone, or a file's name, would read as a runtime of two parts.
    if !runtime.starts_with("io.containerd.") && parts.len() < 3 {
        return Err(wrong());
    }
    Ok(format!("containerd-shim-{name}-{version}"))
}

/// Finds the program: an absolute path as it stands, else on `PATH`, else beside containerd.
///
/// # Errors
/// When there is none.
pub fn find(runtime: &str, path: Option<&OsStr>, containerd: &Path) -> Result<PathBuf, InnerError> {
    if runtime.starts_with('/') {
        return Ok(runtime.into());
    }
    let name = binary_name(runtime)?;
    let beside = containerd.parent().unwrap_or(Path::new("/")).to_owned();
    let runs = |program: &PathBuf| {
        program
            .metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    path.into_iter()
        .flat_map(std::env::split_paths)
        .filter(|dir| dir.is_absolute())
        .chain([beside.clone()])
        .map(|dir| dir.join(&name))
        .find(runs)
        .ok_or(InnerError::Missing { name, beside })
}

/// The debug socket beside the socket of a shim of containerd's own making, which a shim
/// that is killed leaves behind: both names are digests of containerd's address, the
/// namespace and the id (containerd, pkg/shim/util_unix.go, `SocketAddress`). None where
/// the first name is made otherwise.
#[must_use]
pub fn debug_socket(socket: &Path, address: &Path, namespace: &str, id: &str) -> Option<PathBuf> {
    let name = |path: &Path| -> String {
        let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let of = address.join(namespace).join(id);
    (socket.file_name()? == name(&of).as_str())
        .then(|| socket.with_file_name(name(&of.join("debug"))))
}

/// What a run of the inner shim gave.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: Vec<u8>,
}

/// A run of the inner shim.
#[derive(Debug)]
pub struct Run {
    program: PathBuf,
    child: Child,
    stdout: File,
    stderr: File,
}

impl Run {
    /// Starts `program` with `arguments` in `dir`, the environment as it is here.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn(
        program: &Path,
        arguments: impl IntoIterator<Item = OsString>,
        dir: &Path,
        stdin: &[u8],
    ) -> Result<Self, InnerError> {
        Self::try_spawn(Command::new(program).args(arguments).current_dir(dir), stdin)
            .map_err(|source| InnerError::Run { program: program.to_owned(), source })
    }

    /// The same with nothing on its standard input, and not longer than who called: a `delete`
    /// that hangs would stay behind when containerd kills the one that runs it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn_bound(
        program: &Path,
        arguments: impl IntoIterator<Item = OsString>,
        dir: &Path,
    ) -> Result<Self, InnerError> {
        let mut command = Command::new(program);
        Self::try_spawn(bind(command.args(arguments).current_dir(dir)), b"")
            .map_err(|source| InnerError::Run { program: program.to_owned(), source })
    }

    fn try_spawn(command: &mut Command, stdin: &[u8]) -> io::Result<Self> {
        // Files in memory, not pipes: whoever the inner shim leaves running may hold them
        // for ever, and nobody waits for that.
        let (stdout, stderr) = (memory("stdout")?, memory("stderr")?);
        let stdin = if stdin.is_empty() {
            Stdio::null()
        } else {
            let mut file = memory("stdin")?;
            file.write_all(stdin)?;
            file.rewind()?;
            file.into()
        };
        command.stdin(stdin).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        let child = command.spawn()?;
        Ok(Self { program: command.get_program().into(), child, stdout, stderr })
    }

    /// Waits for its end, and calls `late` as often as it has not come within `limit`. One that
    /// does not end in `HANGS` is killed.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn finish_or(self, limit: Duration, late: impl FnMut()) -> Result<Output, InnerError> {
        self.finish_before(HANGS, limit, late)
    }

    fn finish_before(
        mut self,
        hangs: Duration,
        limit: Duration,
        mut late: impl FnMut(),
    ) -> Result<Output, InnerError> {
        let began = Instant::now();
        let process = Process::by_pid(self.child.id());
        while process.is_some_and(|process| !process.wait(limit)) {
            late();
            if began.elapsed() > hangs {
                let _ = self.child.kill();
            }
        }
        self.finish()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn finish(mut self) -> Result<Output, InnerError> {
        let failed = |source| InnerError::Run { program: self.program.clone(), source };
        let status = self.child.wait().map_err(failed)?;
        let stdout = contents(self.stdout).map_err(failed)?;
        let stderr = contents(self.stderr).map_err(failed)?;
        Ok(Output { status, stdout, stderr })
    }
}

fn memory(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

fn contents(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(OUTPUT_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_become_programs_by_containerds_rule() {
        assert_eq!(binary_name(RUNC).unwrap(), "containerd-shim-runc-v2");
        assert_eq!(binary_name("org.example.x.v3").unwrap(), "containerd-shim-x-v3");
        for wrong in ["", "runc", "runc.v2", "io..v2", "io.containerd.lacre.v1", "io.a/b.v2"] {
            assert!(binary_name(wrong).is_err(), "{wrong}");
        }
    }

    /// As seen with containerd 2.1.9: address `/tmp/lacre-10904-0/containerd.sock`.
    #[test]
    fn a_debug_socket_is_told_by_its_neighbour() {
        let socket = "/run/containerd/s/\
                      ff97bad28a1dd598971f175c1ea9765e6e1dc7952665f5a6fbeccedb4eb9ff5d";
        let address = Path::new("/tmp/lacre-10904-0/containerd.sock");
        let debug = debug_socket(Path::new(socket), address, "lacre-10904-0", "orphan").unwrap();
        let expected = "/run/containerd/s/\
                        cc10f8f4bf5ebe99222b0e42b5b27427622d6c29c1f38f194292e57f2f9311db";
        assert_eq!(debug, Path::new(expected));
        assert_eq!(debug_socket(Path::new("/run/x"), address, "n", "i"), None);
    }

    #[test]
    fn looks_on_path_and_then_beside_containerd() {
        let dir = tempfile::tempdir().unwrap();
        let (bin, beside) = (dir.path().join("bin"), dir.path().join("beside"));
        for dir in [&bin, &beside] {
            fs::create_dir(dir).unwrap();
        }
        let program = beside.join("containerd-shim-runc-v2");
        let containerd = beside.join("containerd");
        let find = || find(RUNC, Some(bin.as_os_str()), &containerd);
        assert!(matches!(find(), Err(InnerError::Missing { .. })));
        fs::copy("/bin/true", &program).unwrap();
        assert_eq!(find().unwrap(), program);
        let first = bin.join("containerd-shim-runc-v2");
        fs::write(&first, "").unwrap();
        assert_eq!(find().unwrap(), program, "what does not run is passed over");
        fs::copy("/bin/true", &first).unwrap();
        assert_eq!(find().unwrap(), first);
    }

    #[test]
    fn what_it_leaves_running_is_not_waited_for() {
        let script = "cat; echo oops >&2; sleep 1000 & echo $!; exit 3";
        let run = Run::spawn(
            Path::new("/bin/sh"),
            ["-c", script].map(OsString::from),
            Path::new("/"),
            b"in ",
        );
        let output = run.unwrap().finish().unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stderr, b"oops\n");
        let text = String::from_utf8(output.stdout).unwrap();
        let pid = text.strip_prefix("in ").unwrap().trim().parse().unwrap();
        assert!(Process::by_pid(pid).unwrap().kill(Duration::from_secs(9)));
    }

    #[test]
    fn what_hangs_is_killed_in_the_end() {
        let run = Run::spawn_bound(Path::new("/bin/sleep"), ["1000".into()], Path::new("/"));
        let moment = Duration::from_millis(1);
        let mut late = 0;
        let output = run.unwrap().finish_before(moment * 20, moment, || late += 1).unwrap();
        assert!(!output.status.success() && late > 1, "{output:?}");
    }
}
