use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lacre_attest::container::Secret;
use lacre_sys::ima_container;
use lacre_types::Source;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::secret::Earlier;
use crate::held_process::Held;
use crate::{SourceError, ima};

/// What the kernel takes for a name, in bytes (`kernel/INTERFACE.md`, create).
const NAME_MAX: usize = 200;
/// The most that a list may take, in MiB: some 18,700 lines of 224 bytes, of the 4,194,304 that the
/// kernel anchors until it is booted again (`ima.container_events_max`). With its own bound of 64
/// fourteen lists would take them all, and no container's would be anchored any more.
const LIST_MIB: u32 = 4;
/// For an earlier container of the same name to be freed: its tasks have been killed, and
/// the kernel waits for the last of them and for RCU.
const PREDECESSOR: Duration = Duration::from_secs(5);
/// Between two looks at whether it is empty, which nothing tells of.
const LOOK: Duration = Duration::from_millis(50);

/// Why a container can have no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// What is not one of containerd's names could come to be the name of another's list.
    #[error(
        "{0:?} is not NAMESPACE/ID with letters, digits and single . _ - between them \
         (containerd's identifiers), so its list can't be told from others"
    )]
    Grammar(String),
    /// The kernel takes no such name.
    #[error("{0}--{1} has more than the {NAME_MAX} bytes that the kernel takes; use a shorter id")]
    Long(String, String),
}

/// The name of a container's list, given `namespace/id`: `namespace--id`. containerd's names
/// never hold two dashes in a row, so that no two containers share one (pkg/identifiers).
///
/// # Errors
/// When the names are others than containerd makes, or too long.
pub fn list_id(container: &str) -> Result<String, NameError> {
    let plain = |name: &str| {
        let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = name.as_bytes();
        alphanumeric(bytes.first())
            && alphanumeric(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
            && bytes.windows(2).all(|two| two.iter().any(u8::is_ascii_alphanumeric))
    };
    let (namespace, id) = container
        .split_once('/')
        .filter(|(namespace, id)| plain(namespace) && plain(id))
        .ok_or_else(|| NameError::Grammar(container.to_owned()))?;
    let name = format!("{namespace}--{id}");
    if name.len() > NAME_MAX {
        return Err(NameError::Long(namespace.to_owned(), id.to_owned()));
    }
    Ok(name)
}

/// `<securityfs>/ima/containers`.
#[derive(Debug, Clone)]
pub(super) struct Containers {
    folder: PathBuf,
}

impl Containers {
    pub(super) fn at(folder: &Path) -> Result<Self, SourceError> {
        match folder.join("control").metadata() {
            Ok(_) => Ok(Self { folder: folder.to_owned() }),
            Err(why) => Err(SourceError::Unavailable {
                source_name: Source::ContainerIma,
                needs: "a kernel with container-IMA of interface 2, booted with \
                        ima_container=on (docs/kernel.md), and securityfs mounted"
                    .to_owned(),
                source: Some(why),
            }),
        }
    }

    /// How many lines the host's list has.
    pub(super) fn host_lines(&self) -> io::Result<u64> {
        ima::list::number(&File::open(self.folder.join("../runtime_measurements_count"))?)
    }

    /// Makes the list of the container whose first process waits to be started, after an
    /// `earlier` one of that name.
    pub(super) fn create(
        &self,
        id: &str,
        init: u32,
        secret: &Secret,
        earlier: &Earlier,
    ) -> Result<List, SourceError> {
        let init =
            Held::open(init).map_err(|why| failed(format!("opening process {init}"), why))?;
        let made =
            match self.create_after_predecessor(id, init.as_fd(), (secret, LIST_MIB), earlier) {
                // The node's own limit of a list is a lower one (`ima.container_list_mib`).
                Err(why) if why.kind() == io::ErrorKind::InvalidInput => {
                    self.create_after_predecessor(id, init.as_fd(), (secret, 0), earlier)
                }
                made => made,
            };
        made.map_err(|why| failed(format!("making the list of {id}"), why))?;
        self.list(id).map_err(|why| {
            self.release(id);
            failed(format!("opening the list of {id}"), why)
        })
    }

    pub(super) fn list(&self, id: &str) -> io::Result<List> {
        List::open(&self.folder.join(id))
    }

    /// A container's list as it is anchored, by its SHA-256 digests.
    pub(super) fn anchored(&self, id: &str) -> io::Result<(List, Info)> {
        let list = List::of(&self.folder.join(id), "binary_runtime_measurements_sha256")?;
        let info = list.info()?;
        Ok((list, info))
    }

    /// A container of that name may have ended a moment ago, or have been left by a shim
    /// that died: its list must be gone before there can be another.
    fn create_after_predecessor(
        &self,
        id: &str,
        init: BorrowedFd<'_>,
        (secret, limit_mib): (&Secret, u32),
        earlier: &Earlier,
    ) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            if !self.folder.join(id).exists() {
                earlier.remove();
            }
            let control = self.control()?;
            match ima_container::create(control.as_fd(), id, init, (secret.as_bytes(), limit_mib)) {
                Err(why)
                    if why.kind() == io::ErrorKind::AlreadyExists
                        && begun.elapsed() < PREDECESSOR =>
                {
                    let list = match List::open(&self.folder.join(id)) {
                        Ok(list) => list,
                        Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                        Err(why) => return Err(why),
                    };
                    if list.info()?.is_empty() {
                        self.release(id);
                    }
                    list.wait_for_end(LOOK)?;
                }
                done => return done,
            }
        }
    }

    /// The kernel keeps the list while the container has tasks.
    pub(super) fn release(&self, id: &str) {
        // There may be none; then there is nothing to let go of.
        let _ = self.control().and_then(|file| ima_container::release(file.as_fd(), id));
    }

    fn control(&self) -> io::Result<File> {
        File::open(self.folder.join("control"))
    }
}

/// What the kernel says of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Info {
    /// The number of this creation, which no other has in this boot.
    pub(super) seq: u64,
    /// How many lines it has written down.
    pub(super) lines: u64,
    /// How many it has not.
    pub(super) lost: u64,
    state: String,
}

impl Info {
    /// `key value` a line; other keys are ignored.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let value = |key: &str| {
            let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        let number = |key| value(key)?.parse().ok();
        Some(Self {
            seq: number("seq")?,
            lines: number("lines")?,
            lost: number("lost")?,
            state: value("state")?.to_owned(),
        })
    }

    /// Whether nobody is in it, and nobody has let go of it.
    fn is_empty(&self) -> bool {
        self.state == "empty"
    }
}

/// One container's list, read from its first line on.
#[derive(Debug)]
pub(super) struct List {
    file: File,
    info: File,
}

impl List {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        Self::of(folder, "binary_runtime_measurements")
    }

    fn of(folder: &Path, name: &str) -> io::Result<Self> {
        Ok(Self { file: File::open(folder.join(name))?, info: File::open(folder.join("info"))? })
    }

    pub(super) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }

    pub(super) fn info(&self) -> io::Result<Info> {
        use std::os::unix::fs::FileExt as _;
        // Its keys and numbers, and an id of 200 bytes.
        let mut bytes = [0; 1024];
        let count = self.info.read_at(&mut bytes, 0)?;
        Info::parse(&bytes[..count])
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "info is not as expected"))
    }

    /// Waits until it is final, no longer than so. Whether it is.
    pub(super) fn wait_for_end(&self, limit: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.file, PollFlags::empty())];
        let limit = Timespec::try_from(limit).unwrap_or_default();
        match poll(&mut fds, Some(&limit)) {
            Ok(_) => Ok(fds[0].revents().contains(PollFlags::HUP)),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(why) => Err(why.into()),
        }
    }
}

impl From<List> for File {
    fn from(list: List) -> Self {
        list.file
    }
}

impl AsFd for List {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

pub(super) fn failed(doing: String, source: io::Error) -> SourceError {
    SourceError::Failed { source_name: Source::ContainerIma, doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_named_after_namespace_and_container() {
        assert_eq!(list_id("k8s.io/0a1b").unwrap(), "k8s.io--0a1b");
        assert_eq!(list_id("default/my-app_1").unwrap(), "default--my-app_1");
    }

    #[test]
    fn no_two_containers_share_a_list() {
        for name in
            ["a/b/c", "a", "/b", "a/", "a-/b", "a/-b", "a--b/c", "a/b c", "a/.b", "a/\u{e9}"]
        {
            assert!(matches!(list_id(name), Err(NameError::Grammar(_))), "{name}");
        }
    }

    #[test]
    fn what_the_kernel_would_not_take_is_told() {
        let long = format!("n/{}", "x".repeat(197));
        assert_eq!(list_id(&long).unwrap().len(), NAME_MAX);
        let error = list_id(&format!("{long}x")).unwrap_err().to_string();
        assert!(error.contains("shorter"), "{error}");
    }

    #[test]
    fn what_info_does_not_tell_is_not_zero() {
        let whole = b"id a\nseq 3\nstate empty\nlines 7\nnew-key x\nlost 2\n";
        let told = Info::parse(whole).unwrap();
        assert_eq!((told.seq, told.lines, told.lost, told.is_empty()), (3, 7, 2, true));
        for cut in [&b"seq 3\nstate running\nlines 7\n"[..], b"lines x\nlost 0\n", b"\xff", b""] {
            assert_eq!(Info::parse(cut), None);
        }
    }

    #[test]
    fn a_stock_kernel_is_told_what_is_missing() {
        let error = Containers::at(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("docs/kernel.md"), "{error}");
    }
}
