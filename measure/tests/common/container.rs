//! A container of real namespaces on a real overlay.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use lacre_measure::{Block, Target};
use lacre_types::Mode;
use tempfile::TempDir;

use super::{Files, Image, copy};

/// A container whose init waits for its command.
pub struct Container {
    pub dir: TempDir,
    pub init_pid: u32,
    helper: PathBuf,
    shell: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: BufReader<ChildStdout>,
}

impl Container {
    pub fn new(image: &Image) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["upper", "work", "merged"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        // What the image has as it came may be mapped: this is the container's own.
        fs::create_dir(dir.path().join("upper/opt")).unwrap();
        copy(image.lower().join("opt/evil.so"), dir.path().join("upper/opt/evil.so"));
        // A copy that is not the image's, as runc is not the container's.
        let helper = dir.path().join("runc");
        copy(image.helper(), &helper);
        let mut shell = Command::new(&helper)
            .arg("init")
            .arg(image.lower())
            .args(["upper", "work", "merged"].map(|folder| dir.path().join(folder)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(shell.stdout.take().unwrap());
        let mut pid = String::new();
        stdout.read_line(&mut pid).unwrap();
        let init_pid = pid.trim().parse().expect("the container's init did not come up");
        let stdin = shell.stdin.take();
        Self { dir, init_pid, helper, shell, stdin, stdout }
    }

    pub fn target(&self, image: &Image, mode: Mode) -> Target {
        Target {
            container: format!("test/{}", self.init_pid),
            init_pid: self.init_pid,
            rootfs: self.dir.path().join("merged"),
            upper: Some(self.dir.path().join("upper")),
            lower: vec![image.lower()],
            mode,
            block: Block::default(),
            known: Arc::new(Files(image.allowed.clone())),
        }
    }

    /// Keeps it, and what it will fork, on the last processor.
    pub fn pin(&self) {
        let mut cpus = rustix::thread::CpuSet::new();
        cpus.set(std::thread::available_parallelism().unwrap().get() - 1);
        let pid = rustix::process::Pid::from_raw(self.init_pid as i32);
        rustix::thread::sched_setaffinity(pid, &cpus).unwrap();
    }

    /// A path of its upper directory.
    pub fn upper(&self, path: &str) -> PathBuf {
        self.dir.path().join("upper").join(&path[1..])
    }

    /// Starts the container's program; it reads what `stdin` still brings.
    pub fn start(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Starts it and waits for its end: its status, 128 and the signal if it was killed.
    pub fn run(&mut self, line: &str) -> i32 {
        self.start(line);
        self.finish()
    }

    pub fn finish(&mut self) -> i32 {
        self.stdin = None;
        self.shell.wait().unwrap().code().unwrap()
    }

    /// A line from its program.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// For a container started as `/bin/t each`: the status of one more command.
    pub fn each(&mut self, line: &str) -> i32 {
        self.start(line);
        self.line().parse().unwrap()
    }

    /// Enters from outside, and waits for [`Entering::go`] before it is in.
    pub fn enter_when_told(&self, line: &str) -> Entering {
        let mut child = Command::new(&self.helper)
            .arg("enter-when-told")
            .arg(self.init_pid.to_string())
            .args(line.split(' '))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Entering { child, stdin }
    }

    /// Enters from outside, as `runc exec` does.
    pub fn enter(&self, line: &str) -> i32 {
        let status = Command::new(&self.helper)
            .arg("enter")
            .arg(self.init_pid.to_string())
            .args(line.split(' '))
            .status();
        status.unwrap().code().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.stdin = None;
        if let Ok(None) = self.shell.try_wait() {
            // The end of its init is the end of all that is in it.
            if let Some(pid) = rustix::process::Pid::from_raw(self.init_pid as i32) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            let _ = self.shell.wait();
        }
    }
}

/// A process that waits to enter a container.
pub struct Entering {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Entering {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it enter; the status of what it ran.
    pub fn go(&mut self) -> i32 {
        self.stdin = None;
        self.child.wait().unwrap().code().unwrap()
    }
}

/// A file that is there, as a sign that a program's instructions ran.
pub fn ran(container: &Container, mark: &str) -> bool {
    container.upper(mark).exists()
}
