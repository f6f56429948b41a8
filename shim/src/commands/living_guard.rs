//! A guard that lives while a `delete` runs: it ends what it guards itself, and goes with the last.

use std::time::{Duration, Instant};

use crate::arguments::Args;
use crate::commands::left_containers::unended;
use crate::commands::serve;
use crate::container::charters::Charters;
use crate::container::orders::{self, Ends};
use crate::inner::client;
use crate::node::guard_state::{Container, State};
use crate::node::process::Process;
use crate::node::run_dir::Place;

/// How long a process that was asked to go, or killed, may take. containerd gives `delete`
/// five seconds in all.
const GOING: Duration = Duration::from_secs(1);

/// How long the kernel may take, on a busy machine, to end a process that was killed already.
const DYING: Duration = Duration::from_millis(500);

/// How long the guard has to end what it guards, and to account for it, once asked. One that
/// hangs is killed then ([`DYING`] later), and a second and a half is left for the rest.
pub(super) const ACCOUNTING: Duration = Duration::from_secs(3);

/// How long a container that a guard has killed may take to end. Hardly any takes longer than
/// [`ACCOUNTING`]; one that does outlasts containerd's patience, and another process finishes
/// this.
const ENDING: Duration = Duration::from_secs(30);

/// Kills a guard that does not answer. One that is dying answers nobody either: it did not hang.
pub(super) fn kill_hung(place: &Place, guard: Process) {
    if !guard.wait(DYING) {
        place.note_hang();
        let _ = guard.kill(GOING);
    }
}

/// What has come of having a guard end its containers.
pub(super) enum Accounted {
    /// Nothing of them is left.
    All,
    /// It answers, and has killed them: processes of theirs do not end.
    Runs(String),
    /// It does not answer, or has nobody to wait for: it hangs.
    Silent,
}

/// Has the guard end these containers, all at the same time, and waits for its word that nothing
/// of them is left.
pub(super) fn accounted(place: &Place, containers: &[Container]) -> Accounted {
    let charters = Charters::of(place);
    let all: Vec<_> = containers.iter().filter_map(|one| one.generation.as_ref()).collect();
    let until = Instant::now() + ENDING;
    loop {
        let Ends { ended, answers } = orders::end_all(&place.control(), &all, ACCOUNTING);
        let left = all.iter().zip(ended).filter(|(_, ended)| !ended);
        // It may have gone, having done so, before it could answer.
        let left = left.filter_map(|(generation, _)| charters.read(generation).transpose());
        let left: Vec<_> = left.collect();
        if left.is_empty() {
            return Accounted::All;
        }
        let said: Option<Vec<_>> = left.iter().map(|it| unended(it.as_ref().ok()?)).collect();
        match said {
            Some(_) if answers && Instant::now() < until => {}
            Some(said) if answers => return Accounted::Runs(said.concat()),
            _ => return Accounted::Silent,
        }
    }
}

/// The last container has gone: so must the inner shim, and with it the guard.
pub(super) fn end(args: &Args, place: &Place, state: &State) {
    // In good order it is going already.
    if let Some(inner) = state.inner.filter(|inner| inner.is_alive()) {
        let last = (!state.inner_is_others).then_some(args.id.as_str());
        client::forget(&state.inner_sockets, &args.namespace, &[&args.id], last);
        if !state.inner_is_others && !inner.wait(GOING) {
            let _ = inner.kill(GOING);
        }
    }
    if !state.guard.wait(GOING * 2) {
        let _ = state.guard.kill(GOING);
    }
    // Where it was killed, by us or by others, it has left what it has in good order removed.
    serve::clear(place, state.own_inner_sockets());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_that_is_killed_while_its_last_container_goes_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path().join("0a"));
        let mut guard = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let state = State {
            guard: Process::by_pid(guard.id()).unwrap(),
            inner: None,
            inner_is_others: false,
            terms: None,
            inner_sockets: Vec::new(),
            containers: Vec::new(),
        };
        place.keep(&state).unwrap();
        guard.kill().unwrap();
        end(&Args::default(), &place, &state);
        guard.wait().unwrap();
        assert!(place.noted().state().is_none());
    }

    #[test]
    fn who_is_dying_did_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path().join("0a"));
        for hangs in [false, true] {
            let mut guard = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let process = Process::by_pid(guard.id()).unwrap();
            if !hangs {
                // Sent: it may take its time.
                guard.kill().unwrap();
            }
            kill_hung(&place, process);
            assert!(!process.is_alive());
            assert_eq!(place.hung(), hangs);
            guard.wait().unwrap();
        }
    }
}
