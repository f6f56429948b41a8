//! What a guard that died had: its containers, and the inner shim that is to be ended with it.

use std::path::{Path, PathBuf};

use super::bundle::Bundle;
use super::charter::{Charter, boot};
use super::charter_stand_in::charters_of;
use crate::node::guard_state::{Container, Noted, State};
use crate::node::process::{self, Process};
use crate::node::run_dir::Place;

/// What it had. Where nobody can read what it noted down, its containers' charters name them.
pub(crate) struct DeadGuard {
    /// Its containers; those that an older lacre had by their names alone.
    pub(crate) containers: Vec<Container>,
    /// Their charters, of this boot.
    pub(crate) charters: Vec<Charter>,
    /// The inner shims that are lacre's to end.
    pub(crate) inners: Vec<Process>,
    /// Their sockets.
    pub(crate) sockets: Vec<PathBuf>,
    /// The sockets of an inner shim that was there before lacre; it is asked to forget the
    /// containers.
    pub(crate) others_sockets: Vec<PathBuf>,
}

impl DeadGuard {
    /// What the guard of that place had.
    pub(crate) fn of(place: &Place, noted: &Noted) -> Self {
        let charters = of_this_boot(place, noted);
        let mut containers: Vec<Container> =
            noted.state().map(|state| state.containers.clone()).unwrap_or_default();
        for Charter { head, .. } in &charters {
            let is_its = |one: &Container| one.generation.as_ref() == Some(&head.generation);
            if !containers.iter().any(is_its) {
                let (id, bundle) = (head.id.clone(), head.bundle.clone());
                containers.push(Container {
                    id,
                    bundle,
                    generation: Some(head.generation.clone()),
                });
            }
        }
        let (mut inners, mut sockets, mut others_sockets) = (Vec::new(), Vec::new(), Vec::new());
        match noted.state() {
            Some(state) if state.inner_is_others => others_sockets.clone_from(&state.inner_sockets),
            Some(state) => {
                inners.extend(state.inner);
                sockets.clone_from(&state.inner_sockets);
            }
            None => charters.iter().for_each(|charter| inners.extend(inners_of(charter))),
        }
        if noted.state().is_none() {
            sockets.extend(inners.iter().flat_map(|inner| process::listens_on(inner.pid)));
            let bodies = charters.iter().filter_map(|charter| charter.body.as_ref());
            sockets.extend(bodies.flat_map(|body| body.inner_sockets.iter().cloned()));
        }
        Self { containers, charters, inners, sockets, others_sockets }
    }

    /// The same of one that lives, and can't note it down.
    pub(crate) fn of_living(place: &Place, noted: &Noted, guard: Process) -> State {
        let Self { containers, inners, sockets, .. } = Self::of(place, noted);
        // They are found by the containers that they were started for: lacre's.
        let inner = inners.first().copied();
        let inner_is_others = inner.is_none();
        State { guard, inner, inner_is_others, terms: None, inner_sockets: sockets, containers }
    }

    /// Whether there is anything of it.
    pub(crate) fn is_left(place: &Place) -> bool {
        match place.noted() {
            noted @ Noted::Nothing => !of_this_boot(place, &noted).is_empty(),
            Noted::State(_) | Noted::Unreadable(_) => true,
        }
    }
}

/// What was in the kernel went with its boot.
fn of_this_boot(place: &Place, noted: &Noted) -> Vec<Charter> {
    let mut charters = charters_of(place, noted);
    charters.retain(|charter| charter.head.boot == boot());
    charters
}

/// The inner shims that were started for a container.
fn inners_of(Charter { head, body }: &Charter) -> Vec<Process> {
    let Ok(Some(note)) = Bundle::read(&head.bundle) else { return Vec::new() };
    let daemon = body.as_ref().map_or(Path::new(""), |body| &body.containerd);
    process::find(&note.inner, &head.namespace, &head.id, daemon)
}
