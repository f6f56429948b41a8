//! `delete`, as containerd runs it, with an inner shim whose own `delete` fails and which
//! leaves none of the files that runc's leaves.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use lacre_shim::container::bundle::{Bundle, note_create, note_deleted};
use lacre_shim::container::generation::Generation;

struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bundle")).unwrap();
        Self { dir }
    }

    fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    /// An inner shim that can do nothing but fail to delete.
    fn inner(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, "#!/bin/sh\necho 'it is still there' >&2\nexit 3\n").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    fn started(&self, inner: &Path) {
        Bundle { inner: inner.to_owned(), socket: None }.write(&self.bundle()).unwrap();
    }

    fn delete(&self) -> Output {
        self.command().output().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_containerd-shim-lacre-v1"));
        command
            .args(["-namespace", "lacre-test", "-id", "one", "-address", "/nonexistent"])
            .args(["-publish-binary", "/nonexistent/containerd", "-bundle"])
            .arg(self.bundle())
            .arg("delete")
            .current_dir(self.bundle())
            .env("LACRE_CONFIG", self.dir.path().join("config.yaml"));
        command
    }
}

fn fails_as_the_inner_does(output: &Output) {
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(output.stderr, b"it is still there\n");
}

#[test]
fn what_may_have_been_created_is_not_gone_because_a_file_of_runcs_is_missing() {
    let rig = Rig::new();
    rig.started(&rig.inner("containerd-shim-other-v1"));
    note_create(&rig.bundle(), &Generation::draw().unwrap()).unwrap();
    fails_as_the_inner_does(&rig.delete());
}

#[test]
fn what_was_never_created_is_gone() {
    let rig = Rig::new();
    rig.started(&rig.inner("containerd-shim-other-v1"));
    let output = rig.delete();
    assert!(output.status.success(), "{output:?}");
    // `DeleteResponse`: exit status 137, field 2.
    assert_eq!(output.stdout[..3], [2 << 3, 137, 1]);
}

#[test]
fn what_runc_had_not_begun_is_gone_and_what_it_had_is_not() {
    let rig = Rig::new();
    rig.started(&rig.inner("containerd-shim-runc-v2"));
    note_create(&rig.bundle(), &Generation::draw().unwrap()).unwrap();
    assert!(rig.delete().status.success());
    fs::write(rig.bundle().join("runtime"), "").unwrap();
    fails_as_the_inner_does(&rig.delete());
}

/// containerd runs `delete` for each container, and mostly its shim has deleted it already.
#[test]
fn the_shim_of_runc_is_not_run_to_delete_what_it_has_deleted() {
    let rig = Rig::new();
    let inner = rig.inner("containerd-shim-runc-v2");
    let generation = Generation::draw().unwrap();
    note_create(&rig.bundle(), &generation).unwrap();
    fs::write(rig.bundle().join("runtime"), "").unwrap();
    fs::write(rig.bundle().join("init.pid"), "5").unwrap();
    // Without a guard, and with one that has gone in good order.
    let places = [None, Some(rig.dir.path().join("run/s/0a"))];
    let started = |inner: &Path, socket: &Option<PathBuf>| {
        let note = Bundle { inner: inner.to_owned(), socket: socket.clone() };
        note.write(&rig.bundle()).unwrap();
    };
    for socket in &places {
        started(&inner, socket);
        fails_as_the_inner_does(&rig.delete());
    }
    note_deleted(&rig.bundle(), &generation);
    for socket in &places {
        started(&inner, socket);
        let output = rig.delete();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        // `DeleteResponse`: the process, field 1; exit status 137, field 2.
        assert_eq!(output.stdout[..5], [1 << 3, 5, 2 << 3, 137, 1]);
    }
    let other = rig.inner("containerd-shim-other-v1");
    for socket in &places {
        started(&other, socket);
        fails_as_the_inner_does(&rig.delete());
    }
}

/// Waits for what must come, and fails if it does not.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what} does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The process that would finish the `delete` of this bundle.
fn finisher(bundle: &Path) -> Option<u32> {
    let mut all = fs::read_dir("/proc").unwrap().flatten();
    all.find_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let ours = line.contains("\0--finish\0") && line.contains(bundle.to_str()?);
        ours.then(|| entry.file_name().to_str()?.parse().ok()).flatten()
    })
}

/// As containerd does after five seconds.
#[test]
fn what_is_killed_half_way_is_finished_by_another() {
    let rig = Rig::new();
    let inner = rig.inner("containerd-shim-slow-v1");
    let first = rig.dir.path().join("first");
    let script = format!(
        "#!/bin/sh\nif mkdir {0} 2>/dev/null; then echo $$ >{0}/pid; exec sleep 1000; fi\n",
        first.display()
    );
    fs::write(&inner, script).unwrap();
    rig.started(&inner);
    note_create(&rig.bundle(), &Generation::draw().unwrap()).unwrap();
    fs::create_dir(rig.bundle().join("rootfs")).unwrap();
    let mut delete = rig.command().spawn().unwrap();
    wait_for("who finishes", || finisher(&rig.bundle()));
    delete.kill().unwrap();
    delete.wait().unwrap();
    wait_for("the bundle going", || (!rig.bundle().exists()).then_some(()));
    wait_for("its end", || finisher(&rig.bundle()).is_none().then_some(()));
    let hung = fs::read_to_string(first.join("pid")).unwrap();
    let line = Path::new("/proc").join(hung.trim()).join("cmdline");
    let lives = || fs::read(&line).is_ok_and(|line| !line.is_empty());
    wait_for("the first one's going", || (!lives()).then_some(()));
}

/// As when the answer comes as containerd's patience ends: it takes it for none.
#[test]
fn what_is_late_is_removed_if_it_went_well_and_only_then() {
    for (exit, goes) in [(0, true), (3, false)] {
        let rig = Rig::new();
        let inner = rig.inner("containerd-shim-slow-v1");
        let go = rig.dir.path().join("go");
        assert!(Command::new("mkfifo").arg(&go).status().unwrap().success());
        fs::write(&inner, format!("#!/bin/sh\ncat {}\nexit {exit}\n", go.display())).unwrap();
        rig.started(&inner);
        note_create(&rig.bundle(), &Generation::draw().unwrap()).unwrap();
        let mut delete = rig.command().spawn().unwrap();
        wait_for("who would finish", || finisher(&rig.bundle()));
        fs::write(&go, "").unwrap();
        assert_eq!(delete.wait().unwrap().code(), Some(exit));
        wait_for("its end", || finisher(&rig.bundle()).is_none().then_some(()));
        assert_eq!(rig.bundle().exists(), !goes);
    }
}
