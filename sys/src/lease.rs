//! Read leases (fcntl(2), `F_SETLEASE`): who opens the file for writing waits until we
//! let go. On overlayfs that wait comes before the copy-up.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

// fcntl.h and asm-generic/fcntl.h; the libc crate has no F_SETOWN_EX for every target.
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;
const F_OWNER_TID: libc::c_int = 0;

#[repr(C)]
struct Owner {
    kind: libc::c_int,
    tid: libc::pid_t,
}

/// The leases of one thread, and word of those that somebody waits for. It stays on
/// the thread that made it, which from then on has `SIGIO` and `SIGRTMIN` blocked.
#[derive(Debug)]
pub struct Leases {
    signals: OwnedFd,
    tid: libc::pid_t,
    stays: PhantomData<*const ()>,
}

/// Which leases are waited for.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    /// These, by descriptor number.
    These(Vec<RawFd>),
    /// More than the kernel could queue signals for: ask each with [`is_breaking`].
    Unknown,
}

impl Leases {
    /// Makes this thread the one that hears of its leases.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn here() -> io::Result<Self> {
        let set = block()?;
        // SAFETY: `set` is initialised and outlives the call.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let signals = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { signals, tid: tid(), stays: PhantomData })
    }

    /// Takes a read lease on a file that is open to read.
    ///
    /// # Errors
    /// `EAGAIN` when somebody has it open for writing, or mapped shared and writable.
    pub fn take(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        own(file, self.tid)?;
        fcntl(file, F_SETSIG, libc::SIGRTMIN())?;
        fcntl(file, libc::F_SETLEASE, libc::F_RDLCK)
    }

    /// Takes over the lease of a file that is kept still already, so that no writer comes in
    /// between; `None` when somebody waits for it, who is let in.
    ///
    /// # Errors
    /// None that fcntl(2) documents for a file with a lease.
    pub fn adopt<F: AsFd>(&self, still: Still<F>) -> io::Result<Option<F>> {
        own(still.as_fd(), self.tid)?;
        fcntl(still.as_fd(), F_SETSIG, libc::SIGRTMIN())?;
        // Who came before that was told of to another thread.
        if is_breaking(still.as_fd()) {
            return Ok(None);
        }
        let Still { mut lease, file } = still;
        lease.0 = None;
        Ok(Some(file))
    }

    /// The leases that somebody waits for since the last call.
    ///
    /// # Errors
    /// None that signalfd(2) documents for these arguments.
    pub fn broken(&self) -> io::Result<Broken> {
        let mut fds = Vec::new();
        let mut unknown = false;
        loop {
            // SAFETY: signalfd_siginfo is plain data, for which zeroes are a value.
            let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
            let length = size_of_val(&info);
            // SAFETY: the kernel writes at most `length` bytes into `info`.
            let got = unsafe {
                libc::read(self.signals.as_raw_fd(), std::ptr::from_mut(&mut info).cast(), length)
            };
            if got < 0 {
                let error = io::Error::last_os_error();
                if error.raw_os_error() != Some(libc::EAGAIN) {
                    return Err(error);
                }
                return Ok(if unknown { Broken::Unknown } else { Broken::These(fds) });
            }
            // A queue of signals that is full falls back to a bare SIGIO.
            if info.ssi_signo == libc::SIGIO.cast_unsigned() {
                unknown = true;
            } else {
                fds.push(info.ssi_fd);
            }
        }
    }
}

impl AsFd for Leases {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

/// Whether somebody waits for the lease on this file, or there is none.
#[must_use]
pub fn is_breaking(file: BorrowedFd<'_>) -> bool {
    // SAFETY: takes no argument beyond the command.
    let lease = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) };
    lease != libc::F_RDLCK
}

/// Keeps writers out of one file for as long as it lives.
#[derive(Debug)]
pub struct Still<F: AsFd> {
    // Before the file, whose number may be another's after it.
    lease: Lease,
    file: F,
}

/// A lease that ends with this, unless somebody else keeps it.
#[derive(Debug)]
struct Lease(Option<RawFd>);

impl<F: AsFd> Still<F> {
    /// Takes a read lease for a short while. A writer that comes waits for its end; the
    /// signal that tells of it stays blocked in this thread.
    ///
    /// # Errors
    /// `EAGAIN` when somebody has the file open for writing, or mapped shared and
    /// writable; the file comes back with any error.
    pub fn new(file: F) -> Result<Self, (F, io::Error)> {
        let taken = block().and_then(|_| {
            own(file.as_fd(), tid())?;
            fcntl(file.as_fd(), F_SETSIG, 0)?;
            fcntl(file.as_fd(), libc::F_SETLEASE, libc::F_RDLCK)
        });
        match taken {
            Ok(()) => Ok(Self { lease: Lease(Some(file.as_fd().as_raw_fd())), file }),
            Err(error) => Err((file, error)),
        }
    }
}

impl<F: AsFd> AsFd for Still<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(fd) = self.0 {
            // SAFETY: the file that it is of is dropped after it; F_UNLCK takes no pointer.
            unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
        }
    }
}

fn block() -> io::Result<libc::sigset_t> {
    // SAFETY: sigset_t is plain data, and sigemptyset gives it its first value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is ours, and the signals exist.
    let error = unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGIO);
        libc::sigaddset(&raw mut set, libc::SIGRTMIN());
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())
    };
    if error == 0 { Ok(set) } else { Err(io::Error::from_raw_os_error(error)) }
}

fn tid() -> libc::pid_t {
    // SAFETY: takes nothing, and can't fail.
    unsafe { libc::gettid() }
}

fn own(file: BorrowedFd<'_>, tid: libc::pid_t) -> io::Result<()> {
    let owner = Owner { kind: F_OWNER_TID, tid };
    // SAFETY: struct f_owner_ex is two ints, and outlives the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), F_SETOWN_EX, &raw const owner) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn fcntl(file: BorrowedFd<'_>, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: each command used here takes an int.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};
    use std::os::unix::fs::OpenOptionsExt as _;

    #[test]
    fn a_writer_waits_for_the_lease_and_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "x").unwrap();
        let leases = Leases::here().unwrap();
        let file = File::open(&path).unwrap();
        leases.take(file.as_fd()).unwrap();
        assert!(!is_breaking(file.as_fd()));
        let writer = std::thread::spawn(move || OpenOptions::new().write(true).open(path).is_ok());
        while !is_breaking(file.as_fd()) {
            std::thread::yield_now();
        }
        assert!(!writer.is_finished());
        assert_eq!(leases.broken().unwrap(), Broken::These(vec![file.as_raw_fd()]));
        drop(file);
        assert!(writer.join().unwrap());
    }

    #[test]
    fn a_lease_that_is_taken_over_lets_nobody_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "x").unwrap();
        let still = Still::new(File::open(&path).unwrap()).unwrap();
        let leases = Leases::here().unwrap();
        let file = leases.adopt(still).unwrap().unwrap();
        assert!(!is_breaking(file.as_fd()));
        let open = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
        assert_eq!(open.unwrap_err().raw_os_error(), Some(libc::EWOULDBLOCK));
        assert_eq!(leases.broken().unwrap(), Broken::These(vec![file.as_raw_fd()]));
        drop(file);
        // One that is waited for already is not taken over.
        let still = Still::new(File::open(&path).unwrap()).unwrap();
        let open = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
        assert!(open.is_err());
        assert!(leases.adopt(still).unwrap().is_none());
        assert!(OpenOptions::new().write(true).open(&path).is_ok());
    }

    #[test]
    fn a_file_that_is_written_to_cannot_be_kept_still() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let writer = File::create(&path).unwrap();
        let (file, error) = Still::new(File::open(&path).unwrap()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        drop(writer);
        let still = Still::new(file).unwrap();
        drop(still);
        assert!(OpenOptions::new().write(true).open(&path).is_ok());
    }
}
