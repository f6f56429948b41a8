//! Standing in for a guard that has died.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::container::sweep::{self, Swept};
use crate::node::process::Process;
use crate::node::run_dir::Place;

/// How long containerd's own `delete` may take to come and go; it has five seconds, and may be
/// killed and finished.
const DELETE: Duration = Duration::from_secs(12);
/// Between two looks at whether it has, and between two tries at what could not be taken out.
const LOOK: Duration = Duration::from_millis(250);
const AGAIN: Duration = Duration::from_secs(5);

/// Does it on a thread of its own: one for each guard that has died, and there are no more of
/// these than there were shims.
pub(super) fn begin(work: &Arc<AtomicUsize>, stand_in: impl FnOnce() + Send + 'static) {
    work.fetch_add(1, Ordering::AcqRel);
    let counted = Counted(Arc::clone(work));
    // What can't be stood in for now is found by the next watchdog, or by `delete`.
    let _ = thread::Builder::new().spawn(move || {
        let _counted = counted;
        stand_in();
    });
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Stands in for every guard that died while there was no watchdog.
pub(super) fn for_the_dead(run: &Path, work: &Arc<AtomicUsize>) {
    for place in Place::all_below(run) {
        let dead = place.state().ok().flatten().is_some_and(|state| !state.guard.is_alive());
        if dead {
            begin(work, move || of(&place, None, Vec::new()));
        }
    }
    let run = run.to_owned();
    begin(work, move || sweep::unclaimed(&run));
}

/// Stands in for the guard `dead` of that place, or whichever it had. `groups` are let go of
/// once nobody is left whom they hold back.
pub(super) fn of(place: &Place, dead: Option<Process>, groups: Vec<OwnedFd>) {
    match place.state() {
        // It has left in good order, or another has the place by now.
        Ok(None) => return,
        Ok(Some(state)) if dead.is_some_and(|dead| dead != state.guard) => return,
        // What it has noted down can't be read: its containers are there all the same.
        Ok(Some(_)) | Err(_) => {}
    }
    sweep::end_held_back(place);
    drop(groups);
    let until = Instant::now() + DELETE;
    while Instant::now() < until {
        if place.state().is_ok_and(|state| state.is_none()) {
            return;
        }
        thread::sleep(LOOK);
    }
    while sweep::take_out(place) == Swept::NotYet {
        thread::sleep(AGAIN);
    }
}
