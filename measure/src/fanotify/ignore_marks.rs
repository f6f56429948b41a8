//! Files that need no second look: an ignore mark each.
//!
//! Code has one that is kept true by a read lease. The kernel drops an ignore mark when the
//! file is written to, but not for a store to a shared mapping, and overlayfs keeps the inode,
//! mark and all, when it copies a file up. Either way the file must first be opened for
//! writing, and a lease makes that open wait, before the copy-up, until the mark is gone. So
//! the mark is only set under a lease, and only when nobody can write who came before it
//! ([`Verified`]). Who opens it for writing with `O_NONBLOCK` gets `EWOULDBLOCK` the first time.
//!
//! Data that came with the image has one that goes when the kernel forgets the inode
//! ([`ignore_data`]): it needs no lease and holds on to nothing, so that there may be any number.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacre_sys::fanotify::{Group, Mask};
use lacre_sys::lease::{Broken, Leases, is_breaking};
use lacre_types::{CanonicalPath, Digest};

use super::event_file::{Facts, State};
use super::failure::Failure;
use super::limits::Limits;
use crate::{Judge, Leased, Verified};

pub(super) struct Settled {
    leases: Leases,
    group: Arc<Group>,
    judge: Arc<dyn Judge>,
    files: Vec<File>,
    /// Where in `files` each is, by device and inode.
    places: HashMap<(u64, u64), usize>,
    /// How many of them a deletion can free.
    owned: usize,
    /// Chooses which goes when one more comes.
    lot: usize,
    most: usize,
    sweep: Duration,
    swept: Instant,
    /// Files that are asked about again, and are kept still for [`GRACE`].
    leaving: VecDeque<(Instant, File)>,
    /// How many leases there are on each file, those of `leaving` included.
    held: HashMap<(u64, u64), usize>,
}

/// How long a file's lease outlives its mark. Who was not asked, since he opened it before the
/// mark went, executes or maps it as the content that is known, though its attributes may have
/// changed; a writer waits so much longer, for the first time.
const GRACE: Duration = Duration::from_millis(20);

struct File {
    fd: OwnedFd,
    id: (u64, u64),
    mask: Mask,
    /// Deleting it would free its space, if we let go.
    owned: bool,
}

/// What is settled: a file in a state, what it holds, under which name.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) state: &'a State,
    pub(super) digest: &'a Digest,
    pub(super) path: Option<&'a CanonicalPath>,
}

impl Settled {
    /// `judge` is told of each lease.
    pub(super) fn new(
        leases: Leases,
        group: Arc<Group>,
        judge: Arc<dyn Judge>,
        limits: &Limits,
    ) -> Self {
        let Limits { settled: most, sweep, .. } = *limits;
        let (files, places, leaving, held) = <_>::default();
        let (owned, lot, swept) = (0, 1, Instant::now());
        Self { leases, group, judge, files, places, owned, lot, most, sweep, swept, leaving, held }
    }

    /// Readable when a writer waits.
    pub(super) fn writers(&self) -> BorrowedFd<'_> {
        self.leases.as_fd()
    }

    /// Asks no more about a file that was verified. Its lease is taken over, so that there was
    /// no moment in which somebody could write to it.
    pub(super) fn add(
        &mut self,
        file: Verified,
        of: Of<'_>,
        (mask, owned): (Mask, bool),
    ) -> Result<(), Failure> {
        self.ask_again(of.state)?;
        if self.most == 0 {
            return Ok(());
        }
        // Without the lease every use is asked about.
        let Ok(Some(fd)) = file.keep(&self.leases) else { return Ok(()) };
        if self.ignore(File { fd, id: id(of.state), mask, owned }, of)? {
            return Ok(());
        }
        // Its content is what was read all the same.
        self.files.last().map_or(Ok(()), |file| self.heed(file))
    }

    /// The same of a file of the image in the state that it came in, which needs not be read.
    /// Whether it is in that state still.
    pub(super) fn add_known(
        &mut self,
        fd: OwnedFd,
        of: Of<'_>,
        (mask, owned): (Mask, bool),
    ) -> Result<bool, Failure> {
        self.ask_again(of.state)?;
        let is_same = |fd| Facts::of(fd).is_ok_and(|facts| facts.state == *of.state);
        if self.most == 0 || self.leases.take(fd.as_fd()).is_err() {
            return Ok(is_same(fd.as_fd()));
        }
        // Under the lease it is what it was: nobody has it open for writing, and nobody can
        // have mapped a file of a layer that was not copied up.
        if !is_same(fd.as_fd()) {
            return Ok(false);
        }
        if !self.ignore(File { fd, id: id(of.state), mask, owned }, of)? {
            self.files.last().map_or(Ok(()), |file| self.heed(file))?;
        }
        Ok(true)
    }

    /// A new question about a settled file: the kernel dropped the mark, or it holds for less
    /// than is asked now.
    fn ask_again(&mut self, state: &State) -> Result<(), Failure> {
        match self.places.get(&id(state)) {
            Some(&at) => self.forget(at),
            None => Ok(()),
        }
    }

    /// Keeps a file whose content is known, under its lease, and sets its mark. Whether the mark
    /// may stay: no lease keeps attributes as they are, and a change of them that came before it
    /// has no mark to take back (`Holder`).
    fn ignore(&mut self, file: File, of: Of<'_>) -> Result<bool, Failure> {
        if self.files.len() >= self.most {
            // Any: who reads more files than have room here, in the same order again and
            // again, would find none of them if it were always the oldest.
            self.lot = self.lot.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            self.forget((self.lot >> 8) % self.files.len())?;
        }
        let marked = self.group.ignore(file.mask, file.fd.as_fd()).is_ok();
        let same = Facts::of(&file.fd).is_ok_and(|facts| facts.state == *of.state);
        self.places.insert(file.id, self.files.len());
        self.owned += usize::from(file.owned);
        *self.held.entry(file.id).or_default() += 1;
        self.judge.leased(&Leased { ino: of.state.ino, digest: of.digest, path: of.path });
        self.files.push(file);
        Ok(same || !marked)
    }

    /// Lets the writers in that wait, their files' marks gone.
    pub(super) fn let_writers_in(&mut self) -> Result<(), Failure> {
        let broken = self.leases.broken().unwrap_or(Broken::Unknown);
        self.forget_all(|file| match &broken {
            Broken::These(fds) => fds.contains(&file.fd.as_raw_fd()),
            Broken::Unknown => is_breaking(file.fd.as_fd()),
        })
    }

    /// When to let files go, or to look for deleted ones, if one of them can be.
    pub(super) fn next_sweep(&self) -> Option<Instant> {
        let leaves = self.leaving.front().map(|(at, _)| *at);
        leaves.into_iter().chain(self.deleted_at()).min()
    }

    fn deleted_at(&self) -> Option<Instant> {
        (self.owned > 0).then(|| self.swept + self.sweep)
    }

    /// Lets the files go whose time is over, and forgets those that were deleted.
    pub(super) fn sweep(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        while let Some((_, file)) = self.leaving.pop_front_if(|(at, _)| *at <= now) {
            self.let_go(file);
        }
        if self.deleted_at().is_none_or(|at| at > now) {
            return Ok(());
        }
        self.swept = Instant::now();
        self.forget_all(|file| {
            file.owned && !Facts::of(&file.fd).is_ok_and(|facts| !facts.nameless)
        })
    }

    /// Forgets every file: one may be known by another name now.
    pub(super) fn reset(&mut self) -> Result<(), Failure> {
        self.forget_all(|_| true)
    }

    /// Forgets every file for good, and so holds on to no mount.
    pub(super) fn end(&mut self) {
        self.most = 0;
        let _ = self.reset();
        while let Some((_, file)) = self.leaving.pop_front() {
            self.let_go(file);
        }
    }

    /// Forgets those; all of them, whatever becomes of one.
    fn forget_all(&mut self, which: impl Fn(&File) -> bool) -> Result<(), Failure> {
        let mut all = Ok(());
        // From the last: what takes a place that became free was looked at before.
        for at in (0..self.files.len()).rev() {
            if self.files.get(at).is_some_and(&which) {
                all = self.forget(at).and(all);
            }
        }
        all
    }

    fn forget(&mut self, at: usize) -> Result<(), Failure> {
        if at >= self.files.len() {
            return Ok(());
        }
        let file = self.files.swap_remove(at);
        self.places.remove(&file.id);
        self.owned -= usize::from(file.owned);
        if let Some(moved) = self.files.get(at) {
            self.places.insert(moved.id, at);
        }
        let heeded = self.heed(&file);
        self.leaving.push_back((Instant::now() + GRACE, file));
        heeded
    }

    /// Ends a lease: the kernel's programs forget it first, unless there is another on the file.
    fn let_go(&mut self, file: File) {
        let left = self.held.remove(&file.id).unwrap_or(0).saturating_sub(1);
        if left > 0 {
            self.held.insert(file.id, left);
        } else {
            self.judge.lease_ends(file.id.1);
        }
        drop(file);
    }

    fn heed(&self, file: &File) -> Result<(), Failure> {
        match self.group.heed(file.mask, file.fd.as_fd()) {
            // NotFound: a write took the mark first.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::Unheeded),
            _ => Ok(()),
        }
    }
}

fn id(state: &State) -> (u64, u64) {
    (state.dev, state.ino)
}

/// Asks no more about the opens of a file that is data, and was in that state when it was looked
/// at, for as long as the kernel keeps its inode anyway, or until it is written to; `file` may be
/// `O_PATH`. Whether it is to be executed is asked all the same.
///
/// Where the kernel has no such marks (before Linux 5.19) every open is asked about. What is made
/// code by a store to a shared mapping is `exec-trace`'s to see.
///
/// # Errors
/// [`Failure::Unheeded`] when it was another already, and the mark can't be taken back.
pub(super) fn ignore_data(
    group: &Group,
    file: BorrowedFd<'_>,
    state: &State,
) -> Result<(), Failure> {
    if group.ignore_while_cached(Mask::OPEN, file).is_err() {
        return Ok(());
    }
    // After the mark: a write that came before it had none to take away.
    if Facts::of(file).is_ok_and(|facts| facts.state == *state) {
        return Ok(());
    }
    match group.heed(Mask::OPEN, file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::Unheeded),
        _ => Ok(()),
    }
}
