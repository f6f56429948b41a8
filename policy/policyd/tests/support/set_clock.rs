//! A clock that a test sets, for one process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub(crate) struct SetClock {
    dir: TempDir,
}

impl SetClock {
    pub(crate) fn new() -> Self {
        let this = Self { dir: tempfile::tempdir().unwrap() };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/set_clock.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(this.library()).arg(source);
        let made = compiler.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        this.set(0);
        this
    }

    fn library(&self) -> PathBuf {
        self.dir.path().join("clock.so")
    }

    /// It is so many seconds ahead from now on.
    pub(crate) fn set(&self, ahead: i64) {
        let fresh = self.dir.path().join("fresh");
        fs::write(&fresh, ahead.to_string()).unwrap();
        fs::rename(fresh, self.dir.path().join("ahead")).unwrap();
    }

    /// What a process needs to go by it.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        let path = |path: PathBuf| path.display().to_string();
        let ahead = path(self.dir.path().join("ahead"));
        [("LD_PRELOAD", path(self.library())), ("LACRE_TEST_CLOCK", ahead)]
    }
}
