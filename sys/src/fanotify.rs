//! fanotify(7), for permission events: a group, its marks, its events, their answers.
//!
//! A process of the container stands still until its event is answered, so an answer
//! can't be forgotten: a [`Permission`] that is dropped answers what it was told to.

mod record;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[doc(hidden)]
pub use record::fuzz;
use record::{METADATA, records};
use rustix::fs::{Mode, OFlags};

/// What to be asked about (linux/fanotify.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask(u64);

impl Mask {
    /// Every open.
    pub const OPEN: Self = Self(libc::FAN_OPEN_PERM);
    /// Opens that are going to execute, Linux 5.0.
    pub const EXEC: Self = Self(libc::FAN_OPEN_EXEC_PERM);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has every bit of the other.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a mark holds on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// One mount.
    Mount,
    /// A file system, through every mount of it in every namespace.
    Filesystem,
}

/// What the kernel is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// The open goes on.
    Allow,
    /// It fails with `EPERM`.
    Deny,
}

impl Response {
    const fn raw(self) -> u32 {
        match self {
            Self::Allow => libc::FAN_ALLOW,
            Self::Deny => libc::FAN_DENY,
        }
    }
}

/// A group of permission marks. Events that nobody has answered when it closes are
/// allowed by the kernel.
#[derive(Debug)]
pub struct Group {
    fd: OwnedFd,
    /// `/dev/null`, put in the group's place by [`Group::close`].
    tombstone: File,
    /// `/proc/self/fd`, by which a descriptor is reached that is `O_PATH`: the way there from the
    /// root is a third of such a mark.
    descriptors: Option<OwnedFd>,
}

/// `FAN_REPORT_FD_ERROR` (linux/fanotify.h, 6.13, and 6.12.4, 6.6.66: fanotify_init(2)).
const REPORT_FD_ERROR: libc::c_uint = 0x2000;

/// The most events that one [`Group::read`] takes: each holds a descriptor open.
pub const EVENTS_PER_READ: usize = 64;

impl Group {
    /// Makes a group whose event descriptors only read, and whose reads don't block.
    ///
    /// The queue has no limit: a permission event that doesn't fit in one is *allowed*
    /// by the kernel, and each stands for one waiting thread, so that the limit on
    /// threads bounds it. The marks have none, since one per user would be shared by
    /// every container of the node; the caller bounds its own.
    ///
    /// # Errors
    /// `ENOSYS` without fanotify, `EPERM` without `CAP_SYS_ADMIN`, `EMFILE` when
    /// `fs.fanotify.max_user_groups` are in use.
    pub fn new() -> io::Result<Self> {
        let tombstone = File::open("/dev/null")?;
        // Of a process with several threads, what the one that waits is doing tells.
        let flags = libc::FAN_CLASS_CONTENT
            | libc::FAN_REPORT_TID
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK
            | libc::FAN_UNLIMITED_QUEUE
            | libc::FAN_UNLIMITED_MARKS;
        // O_NONBLOCK: before 6.14 opening a FIFO is an event too, and the event's
        // descriptor is an open of its own, which would wait for a writer.
        let event_flags = libc::O_RDONLY
            | libc::O_LARGEFILE
            | libc::O_CLOEXEC
            | libc::O_NONBLOCK
            | libc::O_NOATIME;
        // SAFETY: takes two integers.
        let make = |flags| unsafe { libc::fanotify_init(flags, event_flags.cast_unsigned()) };
        // With it an event whose file the kernel can't open is told; without, it fails the read,
        // unless others were read with it.
        let mut fd = make(flags | REPORT_FD_ERROR);
        if fd < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
            fd = make(flags);
        }
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptors = rustix::fs::open("/proc/self/fd", path, Mode::empty()).ok();
        // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, tombstone, descriptors })
    }

    /// Marks what `at` names: the mount or the file system that it lies on.
    ///
    /// # Errors
    /// `EINVAL` where the kernel or the file system doesn't do such events.
    pub fn mark(&self, reach: Reach, mask: Mask, at: BorrowedFd<'_>) -> io::Result<()> {
        self.place(libc::FAN_MARK_ADD, reach, mask, at)
    }

    /// Takes back [`Group::mark`].
    ///
    /// # Errors
    /// `ENOENT` when there is nothing to take back.
    pub fn unmark(&self, reach: Reach, mask: Mask, at: BorrowedFd<'_>) -> io::Result<()> {
        self.place(libc::FAN_MARK_REMOVE, reach, mask, at)
    }

    fn place(&self, change: u32, reach: Reach, mask: Mask, at: BorrowedFd<'_>) -> io::Result<()> {
        let reach = match reach {
            Reach::Mount => libc::FAN_MARK_MOUNT,
            Reach::Filesystem => libc::FAN_MARK_FILESYSTEM,
        };
        self.mark_by_link(change | reach, mask, at)
    }

    /// Asks no more about this inode, until it is written to or [`Group::heed`] is called.
    ///
    /// # Errors
    /// `ENOSPC` when the kernel has no room for another mark.
    pub fn ignore(&self, mask: Mask, file: BorrowedFd<'_>) -> io::Result<()> {
        self.inode_mark(libc::FAN_MARK_ADD, mask, file)
    }

    /// The same, for as long as the kernel keeps the inode in its memory anyway, Linux 5.19;
    /// `file` may be `O_PATH`.
    ///
    /// # Errors
    /// `EINVAL` before.
    pub fn ignore_while_cached(&self, mask: Mask, file: BorrowedFd<'_>) -> io::Result<()> {
        /// `FAN_MARK_EVICTABLE` (linux/fanotify.h).
        const EVICTABLE: u32 = 0x200;
        self.inode_mark(libc::FAN_MARK_ADD | EVICTABLE, mask, file)
    }

    /// Takes back [`Group::ignore`] and [`Group::ignore_while_cached`]; `file` may be `O_PATH`.
    ///
    /// # Errors
    /// `ENOENT` when there is nothing to take back.
    pub fn heed(&self, mask: Mask, file: BorrowedFd<'_>) -> io::Result<()> {
        self.inode_mark(libc::FAN_MARK_REMOVE, mask, file)
    }

    /// Asks about this inode, whatever else is marked, and takes back [`Group::ignore`]; `at`
    /// may be `O_PATH`.
    ///
    /// # Errors
    /// `ENOSPC` when the kernel has no room for another mark.
    pub fn hold(&self, mask: Mask, at: BorrowedFd<'_>) -> io::Result<()> {
        self.mark_by_link(libc::FAN_MARK_ADD, mask, at)?;
        match self.mark_by_link(libc::FAN_MARK_REMOVE | libc::FAN_MARK_IGNORED_MASK, mask, at) {
            // It was not ignored.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Takes back [`Group::ignore`], [`Group::ignore_while_cached`] and [`Group::hold`] of every
    /// inode; marks of mounts and file systems stay.
    ///
    /// # Errors
    /// What the kernel says; none is known.
    pub fn forget_inodes(&self) -> io::Result<()> {
        // SAFETY: a null path is never looked at with this command.
        check(unsafe {
            libc::fanotify_mark(
                self.fd.as_raw_fd(),
                libc::FAN_MARK_FLUSH,
                0,
                libc::AT_FDCWD,
                std::ptr::null(),
            )
        })
    }

    fn inode_mark(&self, change: u32, mask: Mask, file: BorrowedFd<'_>) -> io::Result<()> {
        let flags = change | libc::FAN_MARK_IGNORED_MASK;
        // SAFETY: a null path means the file that the descriptor is open on.
        let marked = check(unsafe {
            libc::fanotify_mark(
                self.fd.as_raw_fd(),
                flags,
                mask.0,
                file.as_raw_fd(),
                std::ptr::null(),
            )
        });
        match marked {
            // It is O_PATH.
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
                self.mark_by_link(flags, mask, file)
            }
            other => other,
        }
    }

    /// Only a path reaches what a descriptor is that is `O_PATH`; the magic link is one that
    /// neither opens nor blocks.
    fn mark_by_link(&self, flags: u32, mask: Mask, at: BorrowedFd<'_>) -> io::Result<()> {
        let (from, link) = match &self.descriptors {
            Some(descriptors) => (descriptors.as_raw_fd(), format!("{}\0", at.as_raw_fd())),
            None => (libc::AT_FDCWD, format!("/proc/self/fd/{}\0", at.as_raw_fd())),
        };
        // SAFETY: `link` ends with a NUL and outlives the call.
        check(unsafe {
            libc::fanotify_mark(self.fd.as_raw_fd(), flags, mask.0, from, link.as_ptr().cast())
        })
    }

    /// Takes what is queued, up to [`EVENTS_PER_READ`], into `events`; each answers
    /// `unless_told` when it is dropped without an answer. Nothing queued is no error.
    ///
    /// # Errors
    /// When the kernel could not open the file of an event, it has denied it itself. Without
    /// `FAN_REPORT_FD_ERROR` (Linux 6.13) it tells the reason here, if at all; else see
    /// [`Event::Unopened`].
    pub fn read(
        self: &Arc<Self>,
        unless_told: Response,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        let mut buffer = [0_u8; EVENTS_PER_READ * METADATA];
        // SAFETY: the kernel writes at most as many bytes as the buffer has.
        let got =
            unsafe { libc::read(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        let Ok(got) = usize::try_from(got) else {
            let error = io::Error::last_os_error();
            let nothing = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR));
            return if nothing { Ok(()) } else { Err(error) };
        };
        for record in records(buffer.get(..got).unwrap_or_default()) {
            let record = record?;
            events.push(match record.fd {
                None if record.mask & libc::FAN_Q_OVERFLOW != 0 => Event::Overflow,
                None => Event::Unopened { mask: Mask(record.mask), pid: record.pid },
                Some(fd) => Event::Asked(Permission {
                    mask: Mask(record.mask),
                    pid: record.pid,
                    // SAFETY: the kernel opened it for this event, and only this record
                    // names it.
                    file: unsafe { OwnedFd::from_raw_fd(fd) },
                    group: Arc::clone(self),
                    unless_told,
                    answered: AtomicBool::new(false),
                }),
            });
        }
        Ok(())
    }

    /// Closes the group at once, whoever else still holds this value: all that wait go
    /// on, and later calls fail. Another file takes the number's place, so that no
    /// thread can meet a stranger behind it.
    ///
    /// # Errors
    /// None that the kernel documents for these arguments.
    pub fn close(&self) -> io::Result<()> {
        // SAFETY: both descriptors are ours and open; the number stays owned by `fd`.
        check(unsafe {
            libc::dup3(self.tombstone.as_raw_fd(), self.fd.as_raw_fd(), libc::O_CLOEXEC)
        })
    }

    fn respond(&self, event: RawFd, response: Response) -> io::Result<()> {
        let response = libc::fanotify_response { fd: event, response: response.raw() };
        let length = size_of_val(&response);
        // SAFETY: the struct is as long as we say, and has no padding.
        let wrote = unsafe {
            libc::write(self.fd.as_raw_fd(), std::ptr::from_ref(&response).cast(), length)
        };
        if wrote < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What the kernel tells.
#[derive(Debug)]
pub enum Event {
    /// A process waits for an answer.
    Asked(Permission),
    /// The kernel could not open the file for us, and has denied it: somebody has a write lease on
    /// it, or it is on a server that does not have it any more.
    Unopened {
        /// What the process was about to do.
        mask: Mask,
        /// The thread, as [`Permission::pid`] has it.
        pid: u32,
    },
    /// Events were lost.
    Overflow,
}

/// A process that waits. Dropped without an answer, it gives the one it was made with.
#[derive(Debug)]
pub struct Permission {
    mask: Mask,
    pid: u32,
    file: OwnedFd,
    group: Arc<Group>,
    unless_told: Response,
    answered: AtomicBool,
}

impl Permission {
    /// What it is about to do.
    #[must_use]
    pub const fn mask(&self) -> Mask {
        self.mask
    }

    /// What it answers when it is dropped without an answer.
    pub const fn unless_told(&mut self, response: Response) {
        self.unless_told = response;
    }

    /// The thread, in our pid namespace; 0 when it isn't in there.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// The file, open to read; reading it makes no event.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Answers. Only the first answer counts.
    ///
    /// # Errors
    /// When the kernel would not take it. That the process is gone, or the group closed,
    /// is no error.
    pub fn answer(&self, response: Response) -> io::Result<()> {
        if self.answered.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        match self.group.respond(self.file.as_raw_fd(), response) {
            // ENOENT: the opener was killed; EBADF: `close` put the tombstone there.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EBADF)) => {
                Ok(())
            }
            other => other,
        }
    }

    /// The file, beyond the answer.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn into_file(self) -> io::Result<OwnedFd> {
        self.file.try_clone()
    }
}

impl Drop for Permission {
    fn drop(&mut self) {
        let _ = self.answer(self.unless_told);
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
