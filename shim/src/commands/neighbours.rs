//! Guards beside the one that a `delete` is for, which have died and left nothing but an inner
//! shim.

use std::time::Duration;

use crate::commands::serve;
use crate::node::guard_state::State;
use crate::node::run_dir::Place;

/// How long an inner shim that was killed may take to go.
const GOING: Duration = Duration::from_secs(1);

/// Ends the inner shims whose guards died before they had a container: containerd, which
/// could not connect, forgets such a shim and runs no `delete` for it.
pub(super) fn sweep(place: &Place) {
    for (other, state) in dead_neighbours(place) {
        if let Some(inner) = state.own_inner() {
            let _ = inner.kill(GOING);
        }
        serve::clear(&other, state.own_inner_sockets());
    }
}

/// Guards that died before they had a container, or after the last.
pub(super) fn dead_neighbours(place: &Place) -> impl Iterator<Item = (Place, State)> {
    place.neighbours().into_iter().filter_map(|other| {
        let state = other.noted().state().cloned()?;
        (state.containers.is_empty() && !state.guard.is_alive()).then_some((other, state))
    })
}
