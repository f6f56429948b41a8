//! A list that the kernel refuses while another program has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub(crate) struct HeldList {
    dir: TempDir,
    list: PathBuf,
}

impl HeldList {
    pub(crate) fn new(list: &Path) -> Self {
        let this = Self { dir: tempfile::tempdir().unwrap(), list: list.to_owned() };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/held_list.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(this.library()).arg(source);
        let made = compiler.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        this
    }

    fn library(&self) -> PathBuf {
        self.dir.path().join("held.so")
    }

    fn held(&self) -> PathBuf {
        self.dir.path().join("held")
    }

    pub(crate) fn hold(&self) {
        fs::write(self.held(), "").unwrap();
    }

    pub(crate) fn let_go(&self) {
        fs::remove_file(self.held()).unwrap();
    }

    /// Whether somebody was refused since it is held.
    pub(crate) fn has_refused(&self) -> bool {
        fs::metadata(self.held()).unwrap().len() > 0
    }

    /// What a process needs to be refused.
    pub(crate) fn environment(&self) -> [(&'static str, String); 3] {
        let path = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD", path(&self.library())),
            ("LACRE_TEST_LIST", path(&self.list)),
            ("LACRE_TEST_HELD", path(&self.held())),
        ]
    }
}
