//! `delete`, as containerd runs it, with an inner shim whose own `delete` fails and which
//! leaves none of the files that runc's leaves.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lacre_shim::bundle::{Bundle, note_create};

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
        Command::new(env!("CARGO_BIN_EXE_containerd-shim-lacre-v1"))
            .args(["-namespace", "lacre-test", "-id", "one", "-address", "/nonexistent"])
            .args(["-publish-binary", "/nonexistent/containerd", "-bundle"])
            .arg(self.bundle())
            .arg("delete")
            .current_dir(self.bundle())
            .env("LACRE_CONFIG", self.dir.path().join("config.yaml"))
            .output()
            .unwrap()
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
    note_create(&rig.bundle()).unwrap();
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
    note_create(&rig.bundle()).unwrap();
    assert!(rig.delete().status.success());
    fs::write(rig.bundle().join("runtime"), "").unwrap();
    fails_as_the_inner_does(&rig.delete());
}
