//! The end of what a guard that died has left, where nobody else comes to end it.

use std::time::Duration;

use lacre_types::{Mode, Source};

use super::charter::Charter;
use super::charters::Charters;
use super::damaged_charter;
use super::dead_guard::DeadGuard;
use super::end::{self, Stands};
use super::processes::{NoProcess, Processes};
use super::remains::Remains;
use crate::config::Config;
use crate::guard::Exempt;
use crate::inner::client;
use crate::inner::sockets::remove_dead;
use crate::node::run_dir::Place;

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

fn held_back(place: &Place) -> Vec<Charter> {
    let mut all = DeadGuard::of(place, &place.noted()).charters;
    all.retain(is_held_back);
    all
}

/// Whether a guard has a container that must not run unguarded, or one that may be waiting for
/// an answer of its.
pub(crate) fn is_needed(place: &Place) -> bool {
    let waits = |charter: &Charter| {
        let about = charter.body.as_ref().and_then(|body| body.about.as_ref());
        about.is_some_and(|about| about.sources.contains(&Source::Fanotify))
    };
    let all = DeadGuard::of(place, &place.noted()).charters;
    all.iter().any(|charter| is_held_back(charter) || waits(charter))
}

/// Kills the containers of a dead guard that must not run unguarded, and waits until they are
/// gone.
pub(crate) fn end_held_back(place: &Place) {
    damaged_charter::note_down(place);
    let all: Vec<_> = held_back(place).iter().map(processes).collect();
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
    let Ok(lock) = place.lock(|| DeadGuard::is_left(place)) else { return Swept::NotYet };
    let Some(_lock) = lock else { return Swept::Done };
    let noted = place.noted();
    if noted.living().is_some() {
        return Swept::Done;
    }
    damaged_charter::note_down(place);
    let dead = DeadGuard::of(place, &noted);
    if dead.charters.iter().any(|charter| nobody(charter).is_none()) {
        return Swept::NotYet;
    }
    // Nothing new comes once it has gone, and it removes nothing itself.
    if !dead.inners.iter().all(|inner| inner.kill(GOING)) {
        return Swept::NotYet;
    }
    if !dead.others_sockets.is_empty() {
        for Charter { head, .. } in &dead.charters {
            client::forget(&dead.others_sockets, &head.namespace, &[&head.id], None);
        }
    }
    let charters = Charters::of(place);
    let left = dead.charters.iter().filter(|charter| !settle(charter, &charters)).count();
    if left > 0 {
        return Swept::NotYet;
    }
    place.clear();
    dead.sockets.iter().for_each(|socket| remove_dead(socket));
    Swept::Done
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
