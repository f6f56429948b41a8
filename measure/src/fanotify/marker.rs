//! Who marks a container's mounts, and is not waited for.
//!
//! The way to a mount leads over the file systems that it lies on, and one of them may be a
//! server's or a process's (FUSE, NFS) that never answers, or an overlay over such. Who walks
//! there stands still for good, kill or no kill. So a thread of its own does, which is left alone
//! once it stands still before a mount; another goes on with the mounts that lie elsewhere. What
//! can't be reached is not marked until the server answers, and of its files nothing is believed
//! (`root.rs`).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lacre_sys::fanotify::Mask;

use super::declared::below;
use super::failure::Failure;
use super::groups::Asking;
use super::limits::{REACH, STACK, UNREACHED};
use super::marks::{Marks, Plan};
use super::seat::{Seat, lock};

/// Marks, from any thread. Dropping it leaves to itself who stands still.
pub(super) struct Marker(Arc<Shared>);

struct Shared {
    marks: Marks,
    asking: Arc<Asking>,
    seat: Arc<Seat>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mask: Mask,
    wanted: Option<Pass>,
    /// The walk that is under way, and who walks: another's number is that of one that was left.
    walk: Option<Pass>,
    number: u64,
    /// The mount that is walked to, and since when. Nought is the table itself.
    at: Option<(u64, Vec<u8>, Instant)>,
    /// The mounts that somebody stands still before.
    unreached: BTreeMap<u64, Vec<u8>>,
    outcome: Option<io::Result<()>>,
    /// Nothing is marked any more.
    over: bool,
}

/// What is done with every mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// `later`: processes of the container run.
    Mark {
        later: bool,
    },
    Unmark,
}

impl Marker {
    pub(super) fn new(marks: Marks, asking: &Arc<Asking>, seat: &Arc<Seat>, mask: Mask) -> Self {
        Self(Arc::new(Shared {
            marks,
            asking: Arc::clone(asking),
            seat: Arc::clone(seat),
            state: Mutex::new(State {
                mask,
                wanted: None,
                walk: None,
                number: 0,
                at: None,
                unreached: BTreeMap::new(),
                outcome: None,
                over: false,
            }),
            changed: Condvar::new(),
        }))
    }

    /// Polls as exceptional when the mount table has changed.
    pub(super) fn table(&self) -> BorrowedFd<'_> {
        self.0.marks.table()
    }

    /// Has more asked about from the next [`Self::begin`] on.
    pub(super) fn widen(&self, mask: Mask) {
        let mut state = lock(&self.0.state);
        state.mask = state.mask.and(mask);
    }

    /// Marks all that is mounted now, and wakes the seat when that is done. What is marked already
    /// stays so.
    pub(super) fn begin(&self) {
        self.0.begin(lock(&self.0.state), Pass::Mark { later: true });
    }

    /// The same before any process of the container runs, waited for: so long at most as the
    /// mounts take that may be out of reach.
    pub(super) fn first(&self) -> io::Result<()> {
        self.0.begin(lock(&self.0.state), Pass::Mark { later: false });
        loop {
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            let state = lock(&self.0.state);
            if state.outcome.is_none() {
                let waited = self.0.changed.wait_timeout(state, REACH);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Takes the marks off, but for those that another container needs. What can't be unmarked
    /// goes with its mount, and until then what is opened there is nobody's.
    pub(super) fn remove(&self) {
        let until = Instant::now() + REACH;
        let mut state = lock(&self.0.state);
        // Whoever marks, marks no more.
        (state.walk, state.over) = (None, true);
        self.0.begin(state, Pass::Unmark);
        let mut state = lock(&self.0.state);
        while state.outcome.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// When it is to be asked how far it has come.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = lock(&self.0.state);
        let since = state.at.as_ref().map_or_else(Instant::now, |(_, _, since)| *since);
        // Who has only just been sent comes to a mount in the next moment.
        state.walk.map(|_| since + REACH)
    }

    /// What came of it, once all is done that was begun.
    pub(super) fn outcome(&self) -> Option<io::Result<()>> {
        self.0.expire();
        lock(&self.0.state).outcome.take()
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.number += 1;
        (state.walk, state.wanted, state.over) = (None, None, true);
    }
}

impl Shared {
    fn begin(self: &Arc<Self>, mut state: MutexGuard<'_, State>, pass: Pass) {
        state.outcome = None;
        state.wanted = Some(pass);
        if state.walk.is_none() {
            self.start(state);
        }
    }

    /// Has another thread do what is wanted.
    fn start(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        state.number += 1;
        let (number, its) = (state.number, Arc::clone(self));
        state.walk = state.wanted;
        state.at = None;
        let thread = std::thread::Builder::new().name("fanotify-marks".to_owned());
        if let Err(error) = thread.stack_size(STACK).spawn(move || its.walk(number)) {
            (state.walk, state.wanted) = (None, None);
            self.ends(state, Err(error));
        }
    }

    fn ends(&self, mut state: MutexGuard<'_, State>, outcome: io::Result<()>) {
        state.outcome = Some(outcome);
        drop(state);
        self.changed.notify_all();
        self.seat.wake();
    }

    /// Leaves one alone that stands still, and has another go on, up to a number of them.
    fn expire(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        let stands = state.at.take_if(|(_, _, since)| since.elapsed() >= REACH);
        let Some((id, point, _)) = stands else { return };
        self.seat.note(Failure::Unreached);
        state.unreached.insert(id, point);
        // What was wanted meanwhile takes its place.
        state.wanted = state.wanted.or(state.walk);
        if state.unreached.len() <= UNREACHED {
            self.start(state);
            return;
        }
        state.number += 1;
        (state.walk, state.wanted) = (None, None);
        let why = "file systems of the container's do not answer, and hold all who may look";
        self.ends(state, Err(io::Error::new(io::ErrorKind::TimedOut, why)));
    }

    fn walk(self: Arc<Self>, mut number: u64) {
        loop {
            let pass = {
                let mut state = lock(&self.state);
                if state.number != number {
                    return;
                }
                match state.wanted.take() {
                    Some(pass) => {
                        state.walk = Some(pass);
                        pass
                    }
                    None => return,
                }
            };
            let outcome = self.pass(number, pass);
            let mut state = lock(&self.state);
            if state.number == number {
                state.at = None;
                if state.wanted.is_none() {
                    state.walk = None;
                    self.ends(state, outcome);
                    return;
                }
            } else if state.walk.is_none() && state.wanted.is_some() {
                // It was left, and what it stood before is reached: others may be now.
                state.number += 1;
                number = state.number;
            } else {
                return;
            }
        }
    }

    fn pass(&self, number: u64, pass: Pass) -> io::Result<()> {
        let Some(state) = self.stands_before(number, 0, b"") else { return Ok(()) };
        let mask = state.mask;
        drop(state);
        let (container, host) = self.marks.tables()?;
        let later = pass != Pass::Mark { later: false };
        for Plan { mount, reach } in self.marks.plans(&container, &host, later) {
            let Some(state) = self.stands_before(number, mount.id, &mount.point) else {
                return Ok(());
            };
            let is_beneath = |point: &Vec<u8>| {
                let over = container.iter().filter(|over| {
                    over.point.len() > 1
                        && over.point != *point
                        && below(point, &over.point).is_some()
                });
                let over = over.map(|over| &over.point).max_by_key(|over| over.len());
                below(&mount.point, over.unwrap_or(point)).is_some()
            };
            let skipped = state.unreached.contains_key(&mount.id)
                || state.unreached.iter().any(|(id, point)| *id != 0 && is_beneath(point));
            drop(state);
            if skipped {
                continue;
            }
            let done = match pass {
                Pass::Mark { .. } => {
                    self.marks.mark((mount, reach), mask, &self.asking, &self.seat)
                }
                Pass::Unmark => {
                    self.marks.unmark((mount, reach), mask, &self.asking, &self.seat);
                    Ok(())
                }
            };
            let mut state = lock(&self.state);
            if state.number != number {
                // Left alone before it, and there after all.
                let is_new = state.unreached.remove(&mount.id).is_some() && !state.over;
                if is_new && state.wanted.is_none() {
                    state.wanted = Some(Pass::Mark { later: true });
                }
                return Ok(());
            }
            drop(state);
            done?;
        }
        Ok(())
    }

    /// Notes down what one is about to walk to; `None` where he was left.
    fn stands_before(&self, number: u64, id: u64, point: &[u8]) -> Option<MutexGuard<'_, State>> {
        let mut state = lock(&self.state);
        if state.number != number {
            return None;
        }
        state.at = Some((id, point.to_vec(), Instant::now()));
        Some(state)
    }
}
