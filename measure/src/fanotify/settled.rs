//! Files that need no second look: an ignore mark each, kept true by a read lease.
//!
//! The kernel drops an ignore mark when the file is written to, but not for a store to a
//! shared mapping, and overlayfs keeps the inode, mark and all, when it copies a file up.
//! Either way the file must first be opened for writing, and a lease makes that open
//! wait, before the copy-up, until the mark is gone. So a mark is only set under a lease,
//! and only where the lease sees every writer ([`Root::lease_holds`]).

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use lacre_sys::fanotify::{Group, Mask};
use lacre_sys::lease::{Broken, Leases, is_breaking};

use super::failure::Failure;
use super::subject::{Facts, State};

pub(super) struct Settled {
    leases: Leases,
    group: Arc<Group>,
    /// The oldest first.
    files: VecDeque<File>,
    most: usize,
}

struct File {
    fd: OwnedFd,
    ino: u64,
    mask: Mask,
}

impl Settled {
    pub(super) fn new(leases: Leases, group: Arc<Group>, most: usize) -> Self {
        Self { leases, group, files: VecDeque::new(), most }
    }

    /// Readable when a writer waits.
    pub(super) fn writers(&self) -> BorrowedFd<'_> {
        self.leases.as_fd()
    }

    /// Asks no more about the file while it stays in this state. Where that can't be
    /// kept true, nothing happens, and every use is asked about.
    pub(super) fn add(&mut self, file: OwnedFd, state: &State, mask: Mask) -> Result<(), Failure> {
        // A new question about a settled file: the kernel dropped the mark, or it holds
        // for less than is asked now.
        if let Some(at) = self.files.iter().position(|old| old.ino == state.ino) {
            self.forget(at)?;
        }
        if self.most == 0 || self.leases.take(file.as_fd()).is_err() {
            return Ok(());
        }
        if !Facts::of(&file).is_ok_and(|facts| facts.state == *state) {
            return Ok(());
        }
        if self.files.len() >= self.most {
            self.forget(0)?;
        }
        if self.group.ignore(mask, file.as_fd()).is_ok() {
            self.files.push_back(File { fd: file, ino: state.ino, mask });
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

    /// Forgets every file, and so holds on to no mount.
    pub(super) fn end(&mut self) {
        self.most = 0;
        while !self.files.is_empty() {
            let _ = self.forget(0);
        }
    }

    fn forget(&mut self, at: usize) -> Result<(), Failure> {
        let Some(file) = self.files.remove(at) else { return Ok(()) };
        match self.group.heed(file.mask, file.fd.as_fd()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::Unheeded),
            _ => Ok(()),
        }
    }
}
