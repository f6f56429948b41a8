//! The end of a container: the one function that takes down what stands for it.

use lacre_measure::{Rest, container_ima, exec_trace};
use slog::Logger;

use super::accounting::{Remains, RemainsError};
use super::charter::Head;
use super::charters::Charters;
use super::processes::NoProcess;
use crate::guard::guarded_container::Guarded;
use crate::guard::sources;
use crate::node::run_dir::Place;

/// What stands for a container.
pub(crate) enum Stands<'a> {
    /// A guard, in this process.
    Guard(Option<&'a Guarded>, &'a Logger),
    /// What a guard that died has left.
    Remains(Box<Remains>),
}

/// Ends what stands for a container of which nobody is left: disarms it, takes it out of the
/// kernel, judges and records what nobody has judged, and removes what was written down. The
/// guard, `delete` and whoever sweeps do so by this function and no other way.
///
/// Gives what is left to do, which nobody needs to wait for; and what could not be accounted
/// for, and then the charter stays for who tries again.
pub(crate) fn end(
    head: &Head,
    stands: Stands<'_>,
    charters: &Charters,
    gone: &NoProcess,
) -> (Vec<Rest>, Result<(), RemainsError>) {
    let (rests, settled) = match stands {
        Stands::Guard(guarded, log) => {
            let rests = guarded.map(|guarded| guarded.disarm(gone, log)).unwrap_or_default();
            // What the guard's own end has left, if anything: it watches nothing from here on, and
            // is taken out afterwards, since the kernel takes its time for that.
            let folder = exec_trace::Options::default().folder;
            let _ = exec_trace::disarm_container(&folder, head.generation.as_str());
            let head = head.clone();
            let rest: Rest = Box::new(move || {
                rests.into_iter().for_each(|rest| rest());
                untrace(&head);
            });
            (vec![rest], Ok(()))
        }
        Stands::Remains(left) => {
            untrace(head);
            let settled = left.settle(gone);
            untrace(head);
            (Vec::new(), settled)
        }
    };
    if settled.is_ok() {
        charters.remove(&head.generation, &Place::at(head.guard.clone()));
    }
    (rests, settled)
}

fn untrace(head: &Head) {
    let folder = exec_trace::Options::default().folder;
    // Not there, or no BPF here at all: nothing to take out.
    let _ = exec_trace::remove_container(&folder, head.generation.as_str());
}

/// Takes out what a lacre that had no generations has left of a container.
pub(crate) fn end_unnamed(namespace: &str, id: &str, run: &std::path::Path, _: &NoProcess) {
    let name = sources::name(namespace, id);
    let folder = exec_trace::Options::default().folder;
    let _ = exec_trace::remove_container(&folder, &name);
    if let Some(list) = container_ima::Left::of(&name, run) {
        list.release();
    }
}
