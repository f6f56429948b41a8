//! The end of what a guard that died has left, where nobody else comes to end it.

use std::path::Path;
use std::time::Duration;

use lacre_types::Mode;

use super::charter::{Charter, Charters, boot};
use super::end::{self, Stands};
use super::processes::{NoProcess, Processes};
use super::remains::Remains;
use crate::config::Config;
use crate::guard::Exempt;
use crate::inner::client;
use crate::inner::sockets::remove_dead;
use crate::node::run_dir::{Place, State};

/// How long a process that was killed may take to go.
const GOING: Duration = Duration::from_secs(10);

/// What has come of taking out what a dead guard has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swept {
    /// Nothing is left, or somebody else has taken it out.
    Done,
    /// A process of it is there, or not all could be accounted for.
    NotYet,
}

/// The charters of the containers of a guard that are of this boot. One that an older lacre
/// had has none, and is `delete`'s.
fn charters(place: &Place, state: &State) -> Vec<Charter> {
    let named = state.containers.iter().filter_map(|container| container.generation.as_ref());
    let read = named.filter_map(|generation| Charters::of(place).read(generation).ok().flatten());
    read.filter(is_of_this_boot).collect()
}

fn is_of_this_boot(charter: &Charter) -> bool {
    charter.head.boot == boot()
}

/// Whether a container must not run unguarded. Of one whose rules another version wrote, nobody
/// knows that it may.
fn is_held_back(Charter { head, body }: &Charter) -> bool {
    body.as_ref().is_none_or(|body| {
        let exempt = Exempt::by_config(&body.config, &head.namespace, &head.bundle);
        body.mode == Mode::Enforce && exempt.is_none()
    })
}

fn processes(charter: &Charter) -> Processes {
    let mode = charter.body.as_ref().map_or(Mode::Enforce, |body| body.mode);
    Processes::of(&charter.head, mode)
}

/// Whether a guard has a container that must not run unguarded.
pub(crate) fn holds_back(place: &Place) -> bool {
    let state = place.state().ok().flatten();
    state.is_some_and(|state| charters(place, &state).iter().any(is_held_back))
}

/// Kills the containers of a dead guard that must not run unguarded, and waits until they are
/// gone.
pub(crate) fn end_held_back(place: &Place) {
    let Ok(Some(state)) = place.state() else { return };
    let mut all = charters(place, &state);
    all.retain(is_held_back);
    let all: Vec<_> = all.iter().map(processes).collect();
    // All at once: one that takes long to go must not leave others running.
    all.iter().for_each(Processes::kill);
    for processes in &all {
        let _ = processes.wait(Some(GOING));
    }
}

/// Takes out what a dead guard has left, once no process of it is left; in enforce mode kills
/// those that are.
pub(crate) fn take_out(place: &Place) -> Swept {
    // A `delete` may be at work: what it leaves is looked at after it.
    let Ok(lock) = place.lock() else { return Swept::NotYet };
    let Some(_lock) = lock else { return Swept::Done };
    let Ok(Some(state)) = place.state() else { return Swept::Done };
    if state.guard.is_alive() {
        return Swept::Done;
    }
    let all = charters(place, &state);
    if all.iter().any(|charter| nobody(charter).is_none()) {
        return Swept::NotYet;
    }
    // Nothing new comes once it has gone, and it removes nothing itself.
    if let Some(inner) = state.own_inner()
        && !inner.kill(GOING)
    {
        return Swept::NotYet;
    }
    if state.inner_is_others {
        for Charter { head, .. } in &all {
            client::forget(&state.inner_sockets, &head.namespace, &[&head.id], None);
        }
    }
    let charters = Charters::of(place);
    let left = all.iter().filter(|charter| !settle(charter, &charters)).count();
    if left > 0 {
        return Swept::NotYet;
    }
    place.clear();
    state.own_inner_sockets().iter().for_each(|socket| remove_dead(socket));
    Swept::Done
}

/// Takes out what belongs to no guard at all: its own has gone, and not all was accounted for.
pub(crate) fn unclaimed(run: &Path) {
    let charters = Charters::below(run);
    for charter in charters.all().into_iter().filter(is_of_this_boot) {
        let guard = Place::at(charter.head.guard.clone());
        // Absent, and not merely unreadable.
        if guard.state().is_ok_and(|state| state.is_none()) && nobody(&charter).is_some() {
            // What can't be now is tried again by the next watchdog.
            let _ = settle(&charter, &charters);
        }
    }
}

fn nobody(charter: &Charter) -> Option<NoProcess> {
    let processes = processes(charter);
    let limit = if is_held_back(charter) {
        processes.kill();
        GOING
    } else {
        Duration::ZERO
    };
    processes.wait(Some(limit))
}

fn settle(charter: &Charter, charters: &Charters) -> bool {
    // The inner shim may have made another process of it before it was killed.
    let Some(none) = nobody(charter) else { return false };
    let address = charter.body.as_ref().map(|body| body.containerd.clone()).unwrap_or_default();
    let left = Remains::of(charter, &Config::default(), &address);
    let stands = Stands::Remains(Box::new(left));
    let (rests, accounted) = end::end(&charter.head, stands, charters, &none);
    rests.into_iter().for_each(|rest| rest());
    accounted.is_ok()
}
