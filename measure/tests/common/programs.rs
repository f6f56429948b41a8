//! The programs of `tests/programs`, compiled.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles one of them to `to`: of a file (`victim.c`), or of all the files of a folder (`t`).
pub fn compile(name: &str, to: &Path, arguments: &[&str]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name);
    let built = Command::new("clang")
        .args(["-O1", "-o"])
        .arg(to)
        .args(arguments)
        .args(files(source))
        .status();
    assert!(built.unwrap().success(), "{name}");
}

fn files(source: PathBuf) -> Vec<PathBuf> {
    if !source.is_dir() {
        return vec![source];
    }
    let entries = source.read_dir().unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "c")).collect()
}
