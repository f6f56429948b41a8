//! Word of changed attributes and names in directories: fanotify(7) by file handles, which
//! no process waits for. Linux 5.9.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A directory by what its file system calls it (name_to_handle_at(2)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    kind: i32,
    bytes: Vec<u8>,
}

/// What was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Something of that name came into a directory, or its owner, mode, times or links
    /// changed.
    Changed {
        /// The directory.
        dir: Handle,
        /// The name, without a slash.
        name: Vec<u8>,
    },
    /// Events were lost.
    Overflow,
}

/// What one read takes: some 50 events.
const BUFFER: usize = 4096;
/// What follows an event: `struct fanotify_event_info_fid` up to its handle.
const INFO: usize = 4 + 8;
const METADATA: usize = size_of::<libc::fanotify_event_metadata>();

/// A group that is told of directories.
#[derive(Debug)]
pub struct Attributes(OwnedFd);

impl Attributes {
    /// Of none yet. Its queue holds 16,384 events; its marks have no limit but the caller's,
    /// since a user's are shared by whoever makes groups under it.
    ///
    /// # Errors
    /// `EMFILE` when `fs.fanotify.max_user_groups` are in use; `EINVAL` before Linux 5.9.
    pub fn new() -> io::Result<Self> {
        let flags = libc::FAN_CLASS_NOTIF
            | libc::FAN_REPORT_DFID_NAME
            | libc::FAN_UNLIMITED_MARKS
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK;
        // SAFETY: takes two integers.
        let fd = unsafe { libc::fanotify_init(flags, libc::O_RDONLY.cast_unsigned()) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Of what is in this directory, and comes into it.
    ///
    /// # Errors
    /// `EOPNOTSUPP` or `ENODEV` where the file system tells no handles.
    pub fn watch(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        self.mark(libc::FAN_MARK_ADD, dir)
    }

    /// Of this directory no more.
    ///
    /// # Errors
    /// `ENOENT` when it was not told of it.
    pub fn unwatch(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        self.mark(libc::FAN_MARK_REMOVE, dir)
    }

    fn mark(&self, what: libc::c_uint, dir: BorrowedFd<'_>) -> io::Result<()> {
        let mask = libc::FAN_ATTRIB
            | libc::FAN_CREATE
            | libc::FAN_MOVED_TO
            | libc::FAN_ONDIR
            | libc::FAN_EVENT_ON_CHILD;
        // The descriptor may be O_PATH: only a path reaches it.
        let link = format!("/proc/self/fd/{}\0", dir.as_raw_fd());
        // SAFETY: `link` ends with a NUL and outlives the call.
        let marked = unsafe {
            libc::fanotify_mark(
                self.0.as_raw_fd(),
                what,
                mask,
                libc::AT_FDCWD,
                link.as_ptr().cast(),
            )
        };
        if marked < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// What is queued; nothing queued is no error.
    ///
    /// # Errors
    /// None that the kernel documents for these arguments.
    pub fn read(&self) -> io::Result<Vec<Told>> {
        let mut buffer = [0_u8; BUFFER];
        // SAFETY: the kernel writes at most as many bytes as the buffer has.
        let got = unsafe { libc::read(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), BUFFER) };
        let Ok(got) = usize::try_from(got) else {
            let error = io::Error::last_os_error();
            let nothing = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR));
            return if nothing { Ok(Vec::new()) } else { Err(error) };
        };
        Ok(parse(buffer.get(..got).unwrap_or_default()))
    }
}

impl AsFd for Attributes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Events in what a read gave; what has no known form is an overflow.
fn parse(mut bytes: &[u8]) -> Vec<Told> {
    let mut told = Vec::new();
    while !bytes.is_empty() {
        let Some((event, rest)) = event(bytes) else {
            told.push(Told::Overflow);
            break;
        };
        told.extend(event);
        bytes = rest;
    }
    told
}

fn event(bytes: &[u8]) -> Option<(Option<Told>, &[u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    if *bytes.get(4)? != libc::FANOTIFY_METADATA_VERSION || length < METADATA {
        return None;
    }
    let (event, rest) = bytes.split_at_checked(length)?;
    let mask = u64::from(u32_at(event, 8)?);
    if mask & libc::FAN_Q_OVERFLOW != 0 {
        return Some((Some(Told::Overflow), rest));
    }
    // An event without a handle is of a file that is gone.
    let info = event.get(METADATA..)?;
    let Some(handle) = info.get(INFO..) else { return Some((None, rest)) };
    let size = usize::try_from(u32_at(handle, 0)?).ok()?;
    let kind = u32_at(handle, 4)?.cast_signed();
    let end = 8_usize.checked_add(size)?;
    let dir = Handle { kind, bytes: handle.get(8..end)?.to_vec() };
    let name = handle.get(end..)?.split(|byte| *byte == 0).next()?.to_vec();
    // The directory itself has no name in it.
    let told = !(name.is_empty() || name == b"." || name.contains(&b'/'));
    Some((told.then_some(Told::Changed { dir, name }), rest))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

impl Handle {
    /// Opens it as `O_PATH`, on the file system of `at`.
    ///
    /// # Errors
    /// `ESTALE` when there is none there, `EPERM` without `CAP_DAC_READ_SEARCH`.
    pub fn open(&self, at: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        const MOST: usize = 128; // MAX_HANDLE_SZ
        #[repr(C)]
        struct Raw {
            length: u32,
            kind: i32,
            bytes: [u8; MOST],
        }
        let length = self.bytes.len();
        let mut raw = Raw { length: 0, kind: self.kind, bytes: [0; MOST] };
        let room = raw.bytes.get_mut(..length).ok_or(io::ErrorKind::InvalidInput)?;
        room.copy_from_slice(&self.bytes);
        raw.length = u32::try_from(length).unwrap_or(0);
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        // SAFETY: `raw` is a struct file_handle with as many bytes as it says, and outlives
        // the call.
        let fd = unsafe {
            libc::syscall(libc::SYS_open_by_handle_at, at.as_raw_fd(), &raw const raw, flags)
        };
        let fd = i32::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Entry points for fuzzing.
#[doc(hidden)]
pub mod fuzz {
    /// Events from a group.
    pub fn fuzz_events(data: &[u8]) {
        let told = super::parse(data);
        assert!(told.len() <= data.len() / super::METADATA + 1, "it ends");
        for told in told {
            if let super::Told::Changed { name, .. } = told {
                assert!(!name.is_empty() && !name.contains(&b'/'));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_change_of_mode_or_name_is_told_and_a_write_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "x").unwrap();
        let at = std::fs::File::open(dir.path()).unwrap();
        let attributes = Attributes::new().unwrap();
        attributes.watch(at.as_fd()).unwrap();
        let told = || {
            let told = attributes.read().unwrap().into_iter().map(|told| match told {
                Told::Changed { dir: handle, name } => {
                    let found = handle.open(at.as_fd()).unwrap();
                    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
                    assert_eq!(std::fs::read_link(link).unwrap(), dir.path());
                    String::from_utf8(name).unwrap()
                }
                Told::Overflow => panic!("lost"),
            });
            told.collect::<Vec<_>>()
        };
        std::fs::write(&path, "y").unwrap();
        assert_eq!(told(), [""; 0]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(told(), ["f"]);
        std::fs::rename(&path, dir.path().join("g")).unwrap();
        assert_eq!(told(), ["g"]);
        std::fs::create_dir(dir.path().join("d")).unwrap();
        assert_eq!(told(), ["d"]);
        attributes.unwatch(at.as_fd()).unwrap();
        std::fs::create_dir(dir.path().join("e")).unwrap();
        assert_eq!(told(), [""; 0]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz::fuzz_events(&data);
        }
    }
}
