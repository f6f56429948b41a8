//! A container without a runtime: a root of its own in a mount namespace of its own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, OnceLock};

use lacre_integration::paths::cached;
use lacre_measure::{Block, Known, Target};
use lacre_types::Mode;
use tempfile::TempDir;

use crate::place;

/// `tool`, a file system that does not answer, and two programs that differ only in a string.
pub struct Programs {
    pub tool: PathBuf,
    pub hang: PathBuf,
    pub good: PathBuf,
    pub evil: PathBuf,
    _dir: TempDir,
}

pub fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let helpers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
        let build = |source: &str, name: &str, flags: &[&str]| {
            let out = dir.path().join(name);
            let built = Command::new("cc")
                .arg("-O1")
                .args(flags)
                .arg("-o")
                .arg(&out)
                .arg(helpers.join(source))
                .status()
                .unwrap();
            assert!(built.success(), "{source}");
            out
        };
        let tool = build("tool.c", "tool", &["-static", "-w"]);
        let hang = build("hang.c", "hang", &["-static"]);
        let good = build("prog.c", "good", &["-static", "-DNOTE=\"good\""]);
        let evil = build("prog.c", "evil", &["-static", "-DNOTE=\"evil\""]);
        Programs { tool, hang, good, evil, _dir: dir }
    })
}

pub fn compile(to: &Path, flags: &[&str]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/prog.c");
    let built = Command::new("cc").args(flags).arg("-o").arg(to).arg(source).status().unwrap();
    assert!(built.success());
}

fn only_child(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.trim().parse().unwrap()
}

pub struct Container {
    pub dir: TempDir,
    /// The root's device.
    pub dev: u64,
    init: Child,
    pid: u32,
    /// Whether it has a pid namespace of its own.
    isolated: bool,
}

impl Container {
    /// With `/bin/{tool,hang,good,busybox,sh}`, a volume at `/vol`, a tmpfs at `/dev/shm`;
    /// `more` adds to the image before it is mounted.
    pub fn start(more: impl FnOnce(&Path)) -> Self {
        Self::with(
            "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work root",
            more,
        )
    }

    /// With a root that `mount` mounts on `root`.
    pub fn with(mount: &str, more: impl FnOnce(&Path)) -> Self {
        Self::of(mount, false, more)
    }

    /// In a pid namespace of its own.
    pub fn isolated(more: impl FnOnce(&Path)) -> Self {
        let mount = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work root";
        Self::of(mount, true, more)
    }

    fn of(mount: &str, isolated: bool, more: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lower = dir.path().join("lower");
        for name in [
            "lower/bin",
            "lower/dev/shm",
            "lower/proc",
            "lower/vol",
            "lower/tmp",
            "lower/mnt",
            "lower/.old",
            "work",
            "root",
            "volume",
        ] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let Programs { tool, hang, good, .. } = programs();
        place::copy(tool, lower.join("bin/tool"));
        place::copy(hang, lower.join("bin/hang"));
        place::copy(good, lower.join("bin/good"));
        place::copy(cached("tools/bin/busybox").unwrap(), lower.join("bin/busybox"));
        std::fs::hard_link(lower.join("bin/busybox"), lower.join("bin/sh")).unwrap();
        std::fs::write(lower.join("data"), "only data\n").unwrap();
        more(&lower);
        std::fs::write(lower.join("last"), "").unwrap();
        // As with a snapshotter, the container's layer is younger than the image's, by
        // more than one tick of the clock that the kernel stamps files with.
        let upper = dir.path().join("upper");
        let image = std::fs::metadata(&lower).unwrap();
        loop {
            std::fs::create_dir(&upper).unwrap();
            let born = std::fs::metadata(&upper).unwrap();
            if (born.ctime(), born.ctime_nsec()) > (image.ctime(), image.ctime_nsec()) {
                break;
            }
            std::fs::remove_dir(&upper).unwrap();
        }
        let script = format!(
            "set -e; cd {dir}; {mount}; cd root
             mount -t tmpfs tmpfs dev/shm; mount -t proc proc proc; mount --bind ../volume vol
             pivot_root . .old; /bin/busybox umount -l /.old
             exec /bin/busybox sh -c 'echo ready; read never'",
            dir = dir.path().display()
        );
        let mut init = Command::new("unshare")
            .args(["-m", "--propagation", "private"])
            .args(isolated.then_some("-pf"))
            .args(["sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(init.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let pid = if isolated { only_child(init.id()) } else { init.id() };
        let root = std::fs::metadata(format!("/proc/{pid}/root")).unwrap();
        Self { dir, dev: std::os::unix::fs::MetadataExt::dev(&root), init, pid, isolated }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn lower(&self) -> PathBuf {
        self.dir.path().join("lower")
    }

    /// What the host puts at a path of the volume.
    pub fn volume(&self) -> PathBuf {
        self.dir.path().join("volume")
    }

    fn enter(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.pid().to_string(), "-m", "-r", "-w"])
            .args(self.isolated.then_some("-p"))
            .arg("--")
            .args(arguments);
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.enter(arguments).output().unwrap()
    }

    /// The status of a command in the container.
    pub fn run(&self, arguments: &[&str]) -> i32 {
        let status =
            self.enter(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// What `tool` says: 0, or an errno.
    pub fn tool(&self, arguments: &[&str]) -> i32 {
        self.run(&[&["/bin/tool"], arguments].concat())
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.enter(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Puts a file into the container, from within it.
    pub fn put(&self, from: &Path, to: &str) {
        let mut cat = self.spawn(&["/bin/sh", "-c", "cat > \"$0\"; chmod 755 \"$0\"", to]);
        cat.stdin.take().unwrap().write_all(&std::fs::read(from).unwrap()).unwrap();
        assert!(cat.wait().unwrap().success(), "{to}");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Container {
    /// What a source is armed on.
    pub fn target(&self, known: Arc<dyn Known>, mode: Mode, block: Block) -> Target {
        Target {
            container: "test".into(),
            init_pid: self.pid(),
            rootfs: self.dir.path().join("root"),
            upper: Some(self.dir.path().join("upper")),
            lower: vec![self.lower()],
            mode,
            block,
            known,
        }
    }

    pub fn kill(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.pid.cast_signed()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let _ = self.init.wait();
    }
}
