//! Files that need no second look: an ignore mark each, kept true by a read lease.
//!
//! The kernel drops an ignore mark when the file is written to, but not for a store to a
//! shared mapping, and overlayfs keeps the inode, mark and all, when it copies a file up.
//! Either way the file must first be opened for writing, and a lease makes that open
//! wait, before the copy-up, until the mark is gone. So a mark is only set under a lease,
//! and only when nobody can write who came before the lease (`Root::still`).
//!
//! Who opens such a file for writing with `O_NONBLOCK` gets `EWOULDBLOCK` the first time.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacre_sys::fanotify::{Group, Mask};
use lacre_sys::lease::{Broken, Leases, is_breaking};

use super::failure::Failure;
use super::limits::Limits;
use super::subject::{Facts, State};

pub(super) struct Settled {
    leases: Leases,
    group: Arc<Group>,
    /// The oldest first.
    files: VecDeque<File>,
    most: usize,
    sweep: Duration,
    swept: Instant,
}

struct File {
    fd: OwnedFd,
    ino: u64,
    mask: Mask,
    /// Deleting it would free its space, if we let go.
    owned: bool,
}

impl Settled {
    pub(super) fn new(leases: Leases, group: Arc<Group>, limits: &Limits) -> Self {
        let Limits { settled: most, sweep, .. } = *limits;
        Self { leases, group, files: VecDeque::new(), most, sweep, swept: Instant::now() }
    }

    /// Readable when a writer waits.
    pub(super) fn writers(&self) -> BorrowedFd<'_> {
        self.leases.as_fd()
    }

    /// Asks no more about the file while it stays in this state. Where that can't be
    /// kept true, nothing happens, and every use is asked about. `alone` tells, under the
    /// lease, whether all who could write before are gone.
    pub(super) fn add(
        &mut self,
        file: OwnedFd,
        state: &State,
        (mask, owned): (Mask, bool),
        alone: impl FnOnce() -> bool,
    ) -> Result<(), Failure> {
        // A new question about a settled file: the kernel dropped the mark, or it holds
        // for less than is asked now.
        if let Some(at) = self.files.iter().position(|old| old.ino == state.ino) {
            self.forget(at)?;
        }
        if self.most == 0 || self.leases.take(file.as_fd()).is_err() {
            return Ok(());
        }
        if !alone() || !Facts::of(&file).is_ok_and(|facts| facts.state == *state) {
            return Ok(());
        }
        if self.files.len() >= self.most {
            self.forget(0)?;
        }
        if self.group.ignore(mask, file.as_fd()).is_ok() {
            self.files.push_back(File { fd: file, ino: state.ino, mask, owned });
        }
        Ok(())
    }

    /// Lets the writers in that wait, their files' marks gone.
    pub(super) fn let_writers_in(&mut self) -> Result<(), Failure> {
        let broken = self.leases.broken().unwrap_or(Broken::Unknown);
        let breaks = |file: &File| match &broken {
            Broken::These(fds) => fds.contains(&file.fd.as_raw_fd()),
            Broken::Unknown => is_breaking(file.fd.as_fd()),
        };
        while let Some(at) = self.files.iter().position(breaks) {
            self.forget(at)?;
        }
        Ok(())
    }

    /// When to look for deleted files, if one of them can be.
    pub(super) fn next_sweep(&self) -> Option<Instant> {
        self.files.iter().any(|file| file.owned).then(|| self.swept + self.sweep)
    }

    /// Forgets the files that were deleted.
    pub(super) fn sweep(&mut self) -> Result<(), Failure> {
        if self.next_sweep().is_none_or(|at| at > Instant::now()) {
            return Ok(());
        }
        self.swept = Instant::now();
        let gone =
            |file: &File| file.owned && !Facts::of(&file.fd).is_ok_and(|facts| !facts.nameless);
        while let Some(at) = self.files.iter().position(gone) {
            self.forget(at)?;
        }
        Ok(())
    }

    /// Forgets every file: one may be known by another name now.
    pub(super) fn reset(&mut self) -> Result<(), Failure> {
        while !self.files.is_empty() {
            self.forget(0)?;
        }
        Ok(())
    }

    /// Forgets every file for good, and so holds on to no mount.
    pub(super) fn end(&mut self) {
        self.most = 0;
        let _ = self.reset();
    }

    fn forget(&mut self, at: usize) -> Result<(), Failure> {
        let Some(file) = self.files.remove(at) else { return Ok(()) };
        match self.group.heed(file.mask, file.fd.as_fd()) {
            // NotFound: a write took the mark first.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::Unheeded),
            _ => Ok(()),
        }
    }
}
