//! Standing in for a guard that has died.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::link::Held;
use crate::container::charter_stand_in;
use crate::container::charters::Charters;
use crate::container::dead_guard::DeadGuard;
use crate::container::dead_guard_end::{self, Swept};
use crate::node::guard_state::Noted;
use crate::node::process::Process;
use crate::node::run_dir::Place;

/// How long containerd's own `delete` may take to come and go; it has five seconds, and may be
/// killed and finished.
const DELETE: Duration = Duration::from_secs(12);
/// Between two looks at whether it has, and between two tries at what could not be taken out.
const LOOK: Duration = Duration::from_millis(250);
const AGAIN: Duration = Duration::from_secs(5);

/// Does it on a thread of its own: one for each guard that has died or hangs, and there are no
/// more of these than there were shims.
///
/// # Errors
/// What it was to be done to, where no thread can be had: it is to be tried again.
pub(super) fn begin<T: Send + 'static>(
    work: &Arc<AtomicUsize>,
    to: T,
    act: impl FnOnce(T) + Send + 'static,
) -> Result<(), T> {
    work.fetch_add(1, Ordering::AcqRel);
    let counted = Counted(Arc::clone(work));
    // A thread that is not begun drops what it was given.
    let given = Arc::new(Mutex::new(Some(to)));
    let take =
        |given: &Mutex<Option<T>>| given.lock().unwrap_or_else(PoisonError::into_inner).take();
    let begun = thread::Builder::new().spawn({
        let given = Arc::clone(&given);
        move || {
            let _counted = counted;
            if let Some(to) = take(&given) {
                act(to);
            }
        }
    });
    match begun {
        Ok(_) => Ok(()),
        Err(_) => take(&given).map_or(Ok(()), Err),
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Every place of which anything is known, be it that of a container alone.
pub(super) fn places(run: &Path) -> Vec<Place> {
    let mut all = Place::all_below(run);
    for (place, _) in Charters::below(run).all() {
        if !all.contains(&place) {
            all.push(place);
        }
    }
    all
}

/// The guard of a place, if it lives.
pub(super) fn guard_of(place: &Place) -> Option<Process> {
    match place.noted() {
        Noted::State(state) => Some(state.guard).filter(|guard| guard.is_alive()),
        Noted::Nothing | Noted::Unreadable(_) => place.listener(),
    }
}

/// Stands in for the guard `dead` of that place, or whichever it had. `groups` are let go of
/// once nobody is left whom they hold back.
pub(super) fn of(place: &Place, dead: Option<Process>, groups: Held) {
    let noted = place.noted();
    let is_anothers = match (noted.state(), dead) {
        (Some(state), Some(dead)) => dead != state.guard,
        _ => guard_of(place).is_some(),
    };
    if is_anothers {
        return;
    }
    charter_stand_in::note_down(place);
    // It has left in good order.
    if !DeadGuard::is_left(place) {
        return;
    }
    // What it has noted down can't be read, or is gone: its containers are there all the same.
    dead_guard_end::end_held_back(place);
    drop(groups);
    let until = Instant::now() + DELETE;
    while Instant::now() < until {
        if !DeadGuard::is_left(place) {
            return;
        }
        thread::sleep(LOOK);
    }
    while dead_guard_end::take_out(place) == Swept::NotYet {
        thread::sleep(AGAIN);
    }
}
