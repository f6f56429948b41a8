//! The end of what a guard that died has left, where nobody else comes to end it.

use std::time::Duration;

use lacre_types::{Mode, Source};

use super::accounting::Remains;
use super::charter::Charter;
use super::charter_stand_in;
use super::charters::Charters;
use super::dead_guard::DeadGuard;
use super::processes::{NoProcess, Processes, end_all};
use super::takedown::{self, Stands};
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
    charter_stand_in::note_down(place);
    let all: Vec<_> = held_back(place).iter().map(processes).collect();
    let _ = end_all(&all, GOING);
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
    charter_stand_in::note_down(place);
    let dead = DeadGuard::of(place, &noted);
    let (held_back, others): (Vec<_>, Vec<_>) =
        dead.charters.iter().partition(|it| is_held_back(it));
    if others.is_empty() {
        // Nobody has a use for them any more, and nothing new comes once they have gone.
        end_inners(&dead);
    }
    // Each as soon as nobody of it is left, whoever else's processes do not end.
    let all: Vec<_> = held_back.iter().map(|charter| processes(charter)).collect();
    let ended = held_back.into_iter().zip(end_all(&all, GOING));
    let left = ended.filter(|(charter, gone)| !is_settled(&dead, place, charter, gone.as_ref()));
    if left.count() > 0 || others.iter().any(|charter| gone(charter).is_none()) {
        return Swept::NotYet;
    }
    if !end_inners(&dead) {
        return Swept::NotYet;
    }
    // The inner shim may have made another process of one before it was killed.
    let is_left = |charter: &&&Charter| !is_settled(&dead, place, charter, gone(charter).as_ref());
    if others.iter().filter(is_left).count() > 0 {
        return Swept::NotYet;
    }
    place.clear();
    dead.sockets.iter().for_each(|socket| remove_dead(socket));
    Swept::Done
}

/// Ends the inner shims that are to go with a guard, which remove nothing themselves; whether
/// they have gone.
fn end_inners(dead: &DeadGuard) -> bool {
    dead.inners.iter().filter(|inner| !inner.kill(GOING)).count() == 0
}

/// That nobody of a container is left now.
fn gone(charter: &Charter) -> Option<NoProcess> {
    processes(charter).wait(Some(Duration::ZERO))
}

/// Takes out what stands for a container of which nobody is left; whether that is done, and all
/// of it accounted for.
fn is_settled(
    dead: &DeadGuard,
    place: &Place,
    charter: &Charter,
    gone: Option<&NoProcess>,
) -> bool {
    let Some(none) = gone else { return false };
    let Charter { head, body } = charter;
    if !dead.others_sockets.is_empty() {
        client::forget(&dead.others_sockets, &head.namespace, &[&head.id], None);
    }
    let address = body.as_ref().map(|body| body.containerd.clone()).unwrap_or_default();
    let left = Remains::of(charter, &Config::default(), &address);
    let stands = Stands::Remains(Box::new(left));
    let (rests, accounted) = takedown::end(head, stands, &Charters::of(place), none);
    rests.into_iter().for_each(|rest| rest());
    accounted.is_ok()
}
