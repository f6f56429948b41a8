//! Word of changed attributes and names, in directories and of files: fanotify(7) by file
//! handles, which no process waits for. Linux 5.9.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::native::u32_at;

/// A file or a directory by what its file system calls it (name_to_handle_at(2)).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Handle {
    kind: i32,
    bytes: Vec<u8>,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub dir: Handle,
    /// The name, without a slash.
    pub name: Vec<u8>,
}

/// What was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Something of a name came into a directory, or the owner, mode, times, links or a name of a
    /// file changed.
    Changed {
        /// The name by which it was changed, where there was one.
        at: Option<Place>,
        /// Which file it is, whatever name it was changed by.
        file: Option<Handle>,
    },
    /// Events were lost.
    Overflow,
}

/// What one read takes: some 50 events.
const BUFFER: usize = 4096;
/// What follows an event: `struct fanotify_event_info_header`, and a
/// `struct fanotify_event_info_fid` up to its handle.
const HEADER: usize = 4;
const INFO: usize = HEADER + 8;
const METADATA: usize = size_of::<libc::fanotify_event_metadata>();

const IN_DIRECTORY: u64 = libc::FAN_ATTRIB
    | libc::FAN_CREATE
    | libc::FAN_MOVED_TO
    | libc::FAN_ONDIR
    | libc::FAN_EVENT_ON_CHILD;
/// A link that is made or removed is a changed attribute.
const OF_FILE: u64 = libc::FAN_ATTRIB | libc::FAN_MOVE_SELF;

/// A group that is told of directories and of files.
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
            | libc::FAN_REPORT_FID
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
        self.mark(libc::FAN_MARK_ADD, IN_DIRECTORY, dir)
    }

    /// Of this directory no more.
    ///
    /// # Errors
    /// `ENOENT` when it was not told of it.
    pub fn unwatch(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        self.mark(libc::FAN_MARK_REMOVE, IN_DIRECTORY, dir)
    }

    /// Of this file, by whatever name it is changed, until its last name is gone. What comes is
    /// told by the handle that this gives.
    ///
    /// # Errors
    /// `EOPNOTSUPP` or `ENODEV` where the file system tells no handles.
    pub fn watch_file(&self, file: BorrowedFd<'_>) -> io::Result<Handle> {
        let handle = Handle::of(file)?;
        self.mark(libc::FAN_MARK_ADD, OF_FILE, file)?;
        Ok(handle)
    }

    /// Of this file no more.
    ///
    /// # Errors
    /// `ENOENT` when it was not told of it.
    pub fn unwatch_file(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.mark(libc::FAN_MARK_REMOVE, OF_FILE, file)
    }

    fn mark(&self, what: libc::c_uint, mask: u64, at: BorrowedFd<'_>) -> io::Result<()> {
        // The descriptor may be O_PATH: only a path reaches it.
        let link = format!("/proc/self/fd/{}\0", at.as_raw_fd());
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
    // An event without any is of a file that is gone.
    let mut infos = event.get(METADATA..)?;
    let (mut at, mut file) = (None, None);
    while !infos.is_empty() {
        let length = u16::from_ne_bytes(infos.get(2..4)?.try_into().ok()?).into();
        let (info, others) = infos.split_at_checked(length).filter(|_| length >= HEADER)?;
        match *info.first()? {
            libc::FAN_EVENT_INFO_TYPE_DFID_NAME => at = place(info)?,
            libc::FAN_EVENT_INFO_TYPE_FID => file = Some(handle(info)?.0),
            _ => {}
        }
        infos = others;
    }
    let told = at.is_some() || file.is_some();
    Some((told.then_some(Told::Changed { at, file }), rest))
}

/// The handle in an event's information, and what follows it.
fn handle(info: &[u8]) -> Option<(Handle, &[u8])> {
    let handle = info.get(INFO..)?;
    let (head, rest) = handle.split_at_checked(8)?;
    let (bytes, rest) = rest.split_at_checked(usize::try_from(u32_at(head, 0)?).ok()?)?;
    Some((Handle { kind: u32_at(head, 4)?.cast_signed(), bytes: bytes.to_vec() }, rest))
}

/// A name in a directory; none where it is the directory itself.
fn place(info: &[u8]) -> Option<Option<Place>> {
    let (dir, rest) = handle(info)?;
    let name = rest.split(|byte| *byte == 0).next()?.to_vec();
    let is_itself = name.is_empty() || name == b"." || name.contains(&b'/');
    Some((!is_itself).then_some(Place { dir, name }))
}

const MOST: usize = 128; // MAX_HANDLE_SZ

/// `struct file_handle`.
#[repr(C)]
struct Raw {
    length: u32,
    kind: i32,
    bytes: [u8; MOST],
}

impl Handle {
    /// Of what is open, `O_PATH` too.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the file system has none.
    pub fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        let mut raw = Raw { length: MOST as u32, kind: 0, bytes: [0; MOST] };
        let mut mount: libc::c_int = 0;
        // SAFETY: `raw` is a struct file_handle with room for as many bytes as it says, the path
        // is empty, and all outlive the call.
        let named = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                file.as_raw_fd(),
                c"".as_ptr(),
                &raw mut raw,
                &raw mut mount,
                libc::AT_EMPTY_PATH,
            )
        };
        if named < 0 {
            return Err(io::Error::last_os_error());
        }
        let length = usize::try_from(raw.length).unwrap_or(MOST);
        let bytes = raw.bytes.get(..length).ok_or(io::ErrorKind::InvalidData)?.to_vec();
        Ok(Self { kind: raw.kind, bytes })
    }

    /// Opens it as `O_PATH`, on the file system of `at`.
    ///
    /// # Errors
    /// `ESTALE` when there is none there, `EPERM` without `CAP_DAC_READ_SEARCH`.
    pub fn open(&self, at: BorrowedFd<'_>) -> io::Result<OwnedFd> {
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
            if let super::Told::Changed { at: Some(super::Place { name, .. }), .. } = told {
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
            let told = attributes.read().unwrap().into_iter().filter_map(|told| match told {
                Told::Changed { at: Some(Place { dir: handle, name }), .. } => {
                    let found = handle.open(at.as_fd()).unwrap();
                    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
                    assert_eq!(std::fs::read_link(link).unwrap(), dir.path());
                    Some(String::from_utf8(name).unwrap())
                }
                Told::Changed { at: None, .. } => None,
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

    #[test]
    fn a_file_is_told_of_by_whatever_name_it_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("f"), dir.path().join("g"));
        std::fs::write(&path, "x").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let attributes = Attributes::new().unwrap();
        let handle = attributes.watch_file(file.as_fd()).unwrap();
        let told = || {
            let told = attributes.read().unwrap();
            let its = |told: &Told| match told {
                Told::Changed { file, .. } => file.as_ref() == Some(&handle),
                Told::Overflow => false,
            };
            assert!(told.iter().all(its), "{told:?}");
            !told.is_empty()
        };
        std::fs::write(&path, "y").unwrap();
        assert!(!told(), "its content");
        std::fs::hard_link(&path, &other).unwrap();
        assert!(told(), "a link");
        std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(told(), "by another name");
        std::fs::rename(&other, dir.path().join("h")).unwrap();
        assert!(told(), "another name");
        std::fs::remove_file(dir.path().join("h")).unwrap();
        assert!(told(), "a link that went");
        let found = handle.open(file.as_fd()).unwrap();
        attributes.unwatch_file(found.as_fd()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!told(), "no more");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz::fuzz_events(&data);
        }
    }
}
