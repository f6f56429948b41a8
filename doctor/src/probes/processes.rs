//! The daemons that run here.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A process that is a daemon of this node.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: BTreeMap<OsString, OsString>,
}

/// The processes of that name that are the node's: in the mount namespace that this process is
/// in, and of a program that only root could have put there. A container's process may be called
/// anything, and what it runs is not to be run here.
pub(super) fn named(name: &str) -> Vec<Process> {
    let Ok(own) = fs::read_link("/proc/self/ns/mnt") else { return Vec::new() };
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<_> = pids.filter_map(|pid| look(pid, name, &own)).collect();
    all.sort_by_key(|process| process.pid);
    all
}

fn look(pid: u32, name: &str, own: &Path) -> Option<Process> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    if fs::read_to_string(folder.join("comm")).ok()?.trim_end() != name
        || fs::read_link(folder.join("ns/mnt")).ok()? != own
    {
        return None;
    }
    let mut program = fs::read_link(folder.join("exe")).ok()?;
    // It was upgraded since: what has its place now is what the next one will be.
    if let Some(path) = program.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        program = OsStr::from_bytes(path).into();
    }
    is_roots(&program).then_some(())?;
    let words = |name: &str| {
        let bytes = fs::read(folder.join(name)).unwrap_or_default();
        let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        words.map(|word| OsString::from_vec(word.to_vec())).collect::<Vec<_>>()
    };
    let pair = |word: OsString| {
        let at = word.as_bytes().iter().position(|byte| *byte == b'=')?;
        let (name, value) = word.as_bytes().split_at(at);
        Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(&value[1..]).to_owned()))
    };
    let environment = words("environ").into_iter().filter_map(pair).collect();
    Some(Process { pid, program, arguments: words("cmdline"), environment })
}

/// Whether nobody but root could have written it.
pub(super) fn is_roots(program: &Path) -> bool {
    program
        .metadata()
        .is_ok_and(|found| found.is_file() && found.uid() == 0 && found.mode() & 0o022 == 0)
}

impl Process {
    /// The value of an option, in either form.
    pub(super) fn option(&self, names: &[&str]) -> Option<PathBuf> {
        let mut words = self.arguments.iter().skip(1);
        while let Some(word) = words.next() {
            for name in names {
                if word == name {
                    return words.next().map(PathBuf::from);
                }
                let rest = word.as_bytes().strip_prefix(name.as_bytes());
                if let Some(value) = rest.and_then(|rest| rest.strip_prefix(b"=")) {
                    return Some(OsStr::from_bytes(value).into());
                }
            }
        }
        None
    }

    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.get(OsStr::new(name)).map(OsString::as_os_str)
    }
}
