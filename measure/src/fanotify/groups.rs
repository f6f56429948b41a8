//! The fanotify groups of one shim, and the containers that share them.
//!
//! The kernel allows a user 128 groups (`fs.fanotify.max_user_groups`), counted by the
//! effective user of who makes one, and a container whose root is the node's can take all
//! of root's. So a shim has at most two, whatever number of containers it has: one that
//! asks, and one that tells, which only changes of attributes need; and each is made under a
//! user that is drawn at random from two thousand million that nobody is ([`draw`]).
//!
//! Each container has a [`Seat`] at the group that asks. Whoever reads a question hands it
//! to the container whose process asks; an open by anybody else's process is allowed at
//! once, and is nobody's violation: what a scanner reads below a guarded root harms nobody.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use lacre_sys::as_user::as_user;
use lacre_sys::attributes::Attributes;
use lacre_sys::fanotify::{Group, Mask, Permission, Response};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::rand::{GetRandomFlags, getrandom};

use super::failure::Failure;
use super::notification_group::Telling;
use super::opener::Belongs;
use super::seat::{Seat, lock};
use crate::unlinked::Unlinked;

/// Users of no distribution, no container engine's and no kubelet's ranges: those end below
/// 2³¹, which old programs take for negative numbers.
const NOBODY: std::ops::Range<u32> = 0x8000_0000..0xffff_0000;

/// How often another user is drawn when one has no group left. More than one failure in a
/// row means that it is not the user's groups that are used up.
const DRAWS: usize = 4;

/// Told after a group that asks was made or closed.
type Changed = Box<dyn Fn() + Send + Sync>;

/// The groups of one shim, and a handle to them: made with its first container, closed with its
/// last.
#[derive(Clone, Default)]
pub struct Groups {
    /// Two only where the roots of two containers lie on one file system (no overlays): an
    /// ignore mark that one of them is sure of must not hold for the other.
    asking: Arc<Mutex<Vec<Weak<Asking>>>>,
    telling: Arc<Mutex<Weak<Telling>>>,
    changed: Arc<OnceLock<Changed>>,
    /// What the one that tells has told of, for the one that asks.
    unlinked: Arc<Unlinked>,
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups").field("asking", &self.asking).finish_non_exhaustive()
    }
}

impl Groups {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn unlinked(&self) -> Arc<Unlinked> {
        Arc::clone(&self.unlinked)
    }

    /// Has `changed` called each time after what [`Groups::copies`] gives has changed, on
    /// whichever thread changed it. Only the first call counts.
    pub fn on_change(&self, changed: impl Fn() + Send + Sync + 'static) {
        let _ = self.changed.set(Box::new(changed));
    }

    /// A descriptor of each group that asks. As long as another process holds one, whoever
    /// asks goes on waiting when this process dies, and does not pass.
    ///
    /// # Errors
    /// When this process has no descriptor left.
    pub fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        let groups = lock(&self.asking);
        let open = groups.iter().filter_map(Weak::upgrade);
        // Not one that its last container is closing.
        let copy = |group: Arc<Asking>| {
            let seats = lock(&group.seats);
            seats.as_ref().map(|_| group.group.as_fd().try_clone_to_owned())
        };
        open.filter_map(copy).collect()
    }

    /// Whether a container's questions wait for a responder that has not looked at any since
    /// the last call. A responder that has much to do may be met so once; one that is met so
    /// again and again hangs.
    #[must_use]
    pub fn stand_still(&self) -> bool {
        let groups: Vec<_> = lock(&self.asking).iter().filter_map(Weak::upgrade).collect();
        // Each is looked at: a look is what the next one is compared with.
        groups.iter().filter(|group| group.stands_still()).count() > 0
    }

    /// The group that asks, for a container whose root is on that device.
    fn asking(&self, device: u64) -> io::Result<Arc<Asking>> {
        let mut groups = lock(&self.asking);
        groups.retain(|group| group.upgrade().is_some_and(|group| lock(&group.seats).is_some()));
        let fits = |group: &Arc<Asking>| group.seats().iter().all(|seat| seat.device != device);
        if let Some(group) = groups.iter().filter_map(Weak::upgrade).find(fits) {
            return Ok(group);
        }
        let group = Arc::new(make(Group::new, draw)?);
        let (seats, changed) = (Mutex::new(Some(Vec::new())), Arc::clone(&self.changed));
        let to_forget = AtomicBool::new(false);
        let group = Arc::new(Asking { group, seats, to_forget, changed });
        groups.push(Arc::downgrade(&group));
        Ok(group)
    }

    /// The group that asks, with that seat at it.
    pub(super) fn sit(&self, seat: &Arc<Seat>) -> io::Result<Arc<Asking>> {
        loop {
            let asking = self.asking(seat.device)?;
            // Its last container may leave as this one comes.
            let first = match lock(&asking.seats).as_mut() {
                None => continue,
                Some(seats) => {
                    seats.push(Arc::clone(seat));
                    seats.len() == 1
                }
            };
            if first {
                asking.changed();
            }
            return Ok(asking);
        }
    }

    /// The group that tells what changes in directories: one for all containers, for as long
    /// as somebody holds it.
    ///
    /// # Errors
    /// As [`Attributes::new`], and when no user has a group left.
    pub(crate) fn telling(&self) -> io::Result<Arc<Telling>> {
        let mut telling = lock(&self.telling);
        if let Some(group) = telling.upgrade() {
            return Ok(group);
        }
        let group = Arc::new(Telling::of(make(Attributes::new, draw)?));
        *telling = Arc::downgrade(&group);
        Ok(group)
    }
}

/// A group that asks, as shims make them.
pub(super) fn one() -> io::Result<Group> {
    make(Group::new, draw)
}

/// Makes a group under a user that `draw` gives; under our own only where we may be nobody
/// else, or our namespace has no such user.
fn make<T: Send>(
    new: impl Fn() -> io::Result<T> + Sync,
    draw: impl Fn() -> io::Result<u32>,
) -> io::Result<T> {
    let mut last = None;
    for _ in 0..DRAWS {
        match as_user(draw()?, &new) {
            Ok(group) => return Ok(group),
            Err(error) if is(&error, rustix::io::Errno::MFILE) => last = Some(error),
            Err(error) => {
                last = Some(error);
                break;
            }
        }
    }
    // Our own user's tells what is wrong, if it is not the users.
    new().map_err(|error| {
        let full = is(&error, rustix::io::Errno::MFILE);
        last.filter(|_| full).unwrap_or(error)
    })
}

fn is(error: &io::Error, errno: rustix::io::Errno) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(errno)
}

/// A user that nobody is. Nothing tells a container which.
fn draw() -> io::Result<u32> {
    let mut bytes = [0; 4];
    let got = getrandom(&mut bytes, GetRandomFlags::empty())?;
    if got != bytes.len() {
        return Err(io::Error::other("the kernel gave no random number"));
    }
    Ok(NOBODY.start + u32::from_ne_bytes(bytes) % (NOBODY.end - NOBODY.start))
}

/// The group that asks, and who sits at it.
pub(super) struct Asking {
    pub(super) group: Arc<Group>,
    /// `None` once the last has left: a group that nobody reads would hold whom it asks about.
    seats: Mutex<Option<Vec<Arc<Seat>>>>,
    /// What is data to one of its containers, is so no more.
    to_forget: AtomicBool,
    changed: Arc<OnceLock<Changed>>,
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking").field("group", &self.group).finish_non_exhaustive()
    }
}

/// Whose question it is.
pub(super) enum Asker {
    /// The container's that read it, and what came of nobody else.
    Own(Permission),
    /// Somebody else's, and dealt with.
    Other,
}

impl Asking {
    fn seats(&self) -> Vec<Arc<Seat>> {
        lock(&self.seats).clone().unwrap_or_default()
    }

    /// No question goes there any more: those that nobody has looked at are dropped, and the
    /// last that leaves closes the group.
    pub(super) fn leave(&self, seat: &Arc<Seat>) {
        let mut closed = false;
        let mut seats = lock(&self.seats);
        if let Some(others) = seats.as_mut() {
            others.retain(|other| !Arc::ptr_eq(other, seat));
            if others.is_empty() {
                *seats = None;
                let _ = self.group.close();
                closed = true;
            }
        }
        drop(seats);
        if closed {
            self.changed();
        }
        let left = lock(&seat.questions).take();
        drop(left);
    }

    /// Has every inode's mark taken back, as soon as each container asks about opens by its
    /// mounts' marks: the inodes' are one group's, and some ask.
    pub(super) fn forget_inodes(&self) {
        self.to_forget.store(true, Ordering::Release);
        for seat in self.seats() {
            if !seat.asks_opens.load(Ordering::Acquire) {
                seat.to_widen.store(true, Ordering::Release);
                seat.wake();
            }
        }
    }

    /// Takes them back if that is due, and may be done: whether it could be.
    pub(super) fn forget_if_due(&self) -> Result<(), Failure> {
        let ask = |seat: &Arc<Seat>| seat.asks_opens.load(Ordering::Acquire);
        if !self.to_forget.load(Ordering::Acquire) || !self.seats().iter().all(ask) {
            return Ok(());
        }
        self.to_forget.store(false, Ordering::Release);
        self.group.forget_inodes().map_err(|_| Failure::Unheeded)
    }

    fn changed(&self) {
        if let Some(changed) = self.changed.get() {
            changed();
        }
    }

    fn stands_still(&self) -> bool {
        let mut fds = [PollFd::new(&*self.group, PollFlags::IN)];
        let asked = poll(&mut fds, Some(&Timespec::default())) == Ok(1);
        self.seats().iter().filter(|seat| seat.stands_still(asked)).count() > 0
    }

    /// Whether another container has marked that file system as a whole.
    pub(super) fn is_marked_by_another(&self, seat: &Arc<Seat>, dev: (u32, u32)) -> bool {
        self.seats()
            .iter()
            .any(|other| !Arc::ptr_eq(other, seat) && lock(&other.marked).contains(&dev))
    }

    /// Hands a question that `own` has read to whom it concerns.
    pub(super) fn hand(&self, own: &Arc<Seat>, mut ask: Permission) -> Asker {
        let Some(seat) = self.of(ask.pid()) else {
            // Nobody's of ours: what it reads is its own affair.
            let _ = ask.answer(Response::Allow);
            return Asker::Other;
        };
        if Arc::ptr_eq(&seat, own) {
            return Asker::Own(ask);
        }
        ask.unless_told(super::seat::raw(Failure::Unreadable.answer(seat.mode())));
        match seat.hand(ask) {
            Ok(()) => {}
            Err((ask, true)) => seat.refuse(&ask),
            // It has left: nobody watches there any more.
            Err((ask, false)) => {
                let _ = ask.answer(Response::Allow);
            }
        }
        Asker::Other
    }

    /// Tells whom it concerns that the kernel has denied what it could not open.
    pub(super) fn unopened(&self, mask: Mask, pid: u32) {
        if let Some(seat) = self.of(pid) {
            seat.unopened(mask, pid);
        }
    }

    /// Tells every container: of a queue that overflowed, nobody knows whose it was.
    pub(super) fn note(&self, failure: Failure) {
        self.seats().iter().for_each(|seat| seat.note(failure));
    }

    /// The container that the process is of.
    fn of(&self, pid: u32) -> Option<Arc<Seat>> {
        if pid == std::process::id() {
            return None;
        }
        let mut perhaps = None;
        for seat in lock(&self.seats).iter().flatten() {
            match seat.member.has(pid) {
                Belongs::Surely => return Some(Arc::clone(seat)),
                Belongs::Perhaps => perhaps = perhaps.or_else(|| Some(Arc::clone(seat))),
                Belongs::No => {}
            }
        }
        perhaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn limit() -> usize {
        let limit = std::fs::read_to_string("/proc/sys/fs/fanotify/max_user_groups").unwrap();
        limit.trim().parse().unwrap()
    }

    #[test]
    fn more_shims_than_one_user_has_groups_have_theirs() {
        let groups: Vec<_> = (0..limit() + 12).map(|_| make(Group::new, draw).unwrap()).collect();
        assert_eq!(groups.len(), limit() + 12);
    }

    #[test]
    fn a_user_whose_groups_somebody_took_is_left_alone() {
        const GREEDY: u32 = 0x8000_0001;
        let take = || as_user(GREEDY, Attributes::new);
        let taken: Vec<_> = std::iter::from_fn(|| take().ok()).take(limit() * 2).collect();
        assert_eq!(taken.len(), limit());
        let drawn = std::cell::Cell::new(0);
        let next = || {
            drawn.set(drawn.get() + 1);
            Ok(if drawn.get() == 1 { GREEDY } else { GREEDY + 1 })
        };
        assert!(make(Group::new, next).is_ok());
        assert_eq!(drawn.get(), 2);
        // Who can be nobody else is himself.
        assert!(make(Group::new, || Ok(u32::MAX)).is_ok());
    }

    #[test]
    fn users_are_drawn_from_those_that_nobody_is() {
        let drawn: BTreeSet<_> = (0..64).map(|_| draw().unwrap()).collect();
        assert!(drawn.len() > 60 && drawn.iter().all(|user| NOBODY.contains(user)));
    }

    #[test]
    fn a_shim_has_one_group_of_each_kind_for_as_long_as_it_is_used() {
        let groups = Groups::new();
        let one = groups.asking(1).unwrap();
        let other = groups.asking(2).unwrap();
        assert!(Arc::ptr_eq(&one, &other));
        let (one, other) = (groups.telling().unwrap(), groups.telling().unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        drop((one, other));
        assert_eq!(lock(&groups.telling).strong_count(), 0);
    }
}
