//! The end of what a guard that died has left, where nobody else comes to end it.

use std::path::Path;
use std::time::Duration;

use lacre_types::Mode;

use super::bundle::Bundle;
use super::charter::{Charter, Charters, Head, boot};
use super::damaged_charter::charters_of;
use super::end::{self, Stands};
use super::processes::{NoProcess, Processes};
use super::remains::Remains;
use crate::config::Config;
use crate::guard::Exempt;
use crate::inner::client;
use crate::inner::sockets::remove_dead;
use crate::node::process::{self, Process};
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
fn charters(place: &Place, state: Option<&State>) -> Vec<Charter> {
    let mut all = charters_of(place, state);
    all.retain(is_of_this_boot);
    all
}

/// What a guard has noted down of itself; without anything, it has gone in good order. What
/// can't be read is nothing that anybody knows, and its containers are there all the same.
fn state(place: &Place) -> Option<Option<State>> {
    place.state().map_or(Some(None), |state| state.map(Some))
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
    state(place).is_some_and(|state| charters(place, state.as_ref()).iter().any(is_held_back))
}

/// Kills the containers of a dead guard that must not run unguarded, and waits until they are
/// gone.
pub(crate) fn end_held_back(place: &Place) {
    let Some(state) = state(place) else { return };
    let mut all = charters(place, state.as_ref());
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
    let Some(state) = state(place) else { return Swept::Done };
    let state = state.as_ref();
    if state.is_some_and(|state| state.guard.is_alive()) {
        return Swept::Done;
    }
    let all = charters(place, state);
    if all.iter().any(|charter| nobody(charter).is_none()) {
        return Swept::NotYet;
    }
    // Nothing new comes once it has gone, and it removes nothing itself.
    let (inners, sockets): (Vec<_>, Vec<_>) = match state {
        Some(state) => {
            (state.own_inner().into_iter().collect(), state.own_inner_sockets().to_vec())
        }
        None => {
            let inners: Vec<_> = all.iter().flat_map(|charter| inners_of(&charter.head)).collect();
            let listens_on = inners.iter().flat_map(|inner| process::listens_on(inner.pid));
            let sockets = listens_on.collect();
            (inners, sockets)
        }
    };
    if !inners.iter().all(|inner| inner.kill(GOING)) {
        return Swept::NotYet;
    }
    if let Some(state) = state.filter(|state| state.inner_is_others) {
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
    sockets.iter().for_each(|socket| remove_dead(socket));
    Swept::Done
}

/// The inner shims that were started for a container.
fn inners_of(head: &Head) -> Vec<Process> {
    let Ok(Some(note)) = Bundle::read(&head.bundle) else { return Vec::new() };
    let arguments = [["-namespace", &head.namespace], ["-id", &head.id]];
    process::find(&note.inner, &arguments)
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
