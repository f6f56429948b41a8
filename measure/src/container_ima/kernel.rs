use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use lacre_attest::container::Secret;
use lacre_types::Source;

use super::failed;
use crate::SourceError;
use crate::process::Held;

/// The name of a container's list: `namespace/id`, with what the kernel takes. containerd's
/// names never hold two dashes in a row, so that no two containers share one
/// (pkg/identifiers).
#[must_use]
pub fn list_id(container: &str) -> String {
    container.replace('/', "--")
}

/// `<securityfs>/ima/containers`.
#[derive(Debug, Clone)]
pub(super) struct Containers {
    folder: PathBuf,
}

impl Containers {
    pub(super) fn at(folder: &Path) -> Result<Self, SourceError> {
        match folder.join("create").metadata() {
            Ok(_) => Ok(Self { folder: folder.to_owned() }),
            Err(why) => Err(SourceError::Unavailable {
                source_name: Source::ContainerIma,
                needs: "a kernel with container-IMA, booted with ima_container=on \
                        (docs/kernel.md), and securityfs mounted"
                    .to_owned(),
                source: Some(why),
            }),
        }
    }

    /// Makes the list of the container whose first process waits to be started.
    pub(super) fn create(
        &self,
        id: &str,
        init: u32,
        secret: &Secret,
        limit: Option<u32>,
    ) -> Result<List, SourceError> {
        let init = Held::open(init).map_err(|why| failed(format!("opening process {init}"), why))?;
        let mut line = format!("id={id} pidfd={} secret=", init.as_fd().as_raw_fd());
        line.extend(secret.as_bytes().iter().map(|byte| format!("{byte:02x}")));
        if let Some(limit) = limit {
            line.push_str(&format!(" limit={limit}"));
        }
        self.write("create", &line)
            .map_err(|why| failed(format!("making the list of {id}"), why))?;
        List::open(self.folder.join(id)).map_err(|why| {
            self.release(id);
            failed(format!("opening the list of {id}"), why)
        })
    }

    /// The kernel keeps the list while the container has tasks.
    pub(super) fn release(&self, id: &str) {
        // There may be none; then there is nothing to let go of.
        let _ = self.write("release", id);
    }

    fn write(&self, name: &str, line: &str) -> io::Result<()> {
        // One write(2) is one request.
        let mut file = OpenOptions::new().write(true).open(self.folder.join(name))?;
        let written = file.write(line.as_bytes())?;
        if written == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// How much the kernel has written down, and how much not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) lines: u64,
    pub(super) lost: u64,
}

/// One container's list, read from its first line on.
#[derive(Debug)]
pub(super) struct List {
    file: File,
    info: File,
}

impl List {
    fn open(folder: PathBuf) -> io::Result<Self> {
        Ok(Self {
            file: File::open(folder.join("binary_runtime_measurements"))?,
            info: File::open(folder.join("info"))?,
        })
    }

    pub(super) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }

    pub(super) fn counts(&self) -> io::Result<Counts> {
        use std::os::unix::fs::FileExt as _;
        let mut bytes = [0; 4096];
        let count = self.info.read_at(&mut bytes, 0)?;
        counts(&bytes[..count])
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "info lacks lines or lost"))
    }
}

impl AsFd for List {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// `key value` a line; other keys are ignored.
fn counts(info: &[u8]) -> Option<Counts> {
    let text = std::str::from_utf8(info).ok()?;
    let value = |key: &str| {
        text.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == key)
    };
    Some(Counts { lines: value("lines")?.1.parse().ok()?, lost: value("lost")?.1.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_named_after_namespace_and_container() {
        assert_eq!(list_id("k8s.io/0a1b"), "k8s.io--0a1b");
    }

    #[test]
    fn what_info_does_not_tell_is_not_zero() {
        let whole = b"id a\nlines 7\nnew-key x\nlost 2\n";
        assert_eq!(counts(whole), Some(Counts { lines: 7, lost: 2 }));
        for cut in [&b"lines 7\n"[..], b"lines x\nlost 0\n", b"\xff", b""] {
            assert_eq!(counts(cut), None);
        }
    }

    #[test]
    fn a_stock_kernel_is_told_what_is_missing() {
        let error = Containers::at(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("docs/kernel.md"), "{error}");
    }
}
