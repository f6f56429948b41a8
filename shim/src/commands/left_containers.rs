//! What a guard that died has left of its containers, as a `delete` ends it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use lacre_types::{Mode, chain};

use crate::arguments::Args;
use crate::config::Config;
use crate::container::accounting::Remains;
use crate::container::bundle;
use crate::container::charter::{Charter, Head};
use crate::container::charter_stand_in::charter_of;
use crate::container::charters::Charters;
use crate::container::generation::Generation;
use crate::container::processes::{Processes, end_all};
use crate::container::takedown::{self, Stands};
use crate::inner::program::Output;
use crate::node::guard_state::Container;
use crate::node::run_dir::Place;

/// How long all that the inner shim's `delete` has left may take to end, together.
const LAST: Duration = Duration::from_secs(5);

/// `wait(2)`'s word for a process that exited with 1.
const FAILED: i32 = 1 << 8;

/// What a guard that died has left of a container, by its charter.
pub(super) struct OfOne {
    charter: Charter,
    left: Remains,
    /// An older lacre had it, which knew it by its names.
    unnamed: bool,
}

/// What is left of each; nothing of one whose charter is gone, which is accounted for, nor of
/// one that a guard has. To be looked at while the processes are there.
pub(super) fn left<'a>(
    args: &Args,
    place: &Place,
    containers: impl IntoIterator<Item = &'a Container>,
) -> Vec<OfOne> {
    if place.noted().living().is_some() {
        return Vec::new();
    }
    let node = Config::of_this_process();
    let of_one = |container: &Container| {
        let Container { id, bundle, generation } = container;
        let (charter, unnamed) = match generation {
            Some(_) => (charter_of(place, container, &|| node.clone())?, false),
            None if bundle::never_created(bundle) => return None,
            None => {
                let drawn = Generation::draw().ok()?;
                let head = Head::new(drawn, &args.namespace, id, bundle, place.socket());
                (Charter { head, body: None }, true)
            }
        };
        let left = Remains::of(&charter, &node, &args.address);
        Some(OfOne { charter, left, unnamed })
    };
    containers.into_iter().filter_map(of_one).collect()
}

/// Ends each of these: kills whom the inner shim's `delete` has left, and takes down what
/// stands once nobody is left. While somebody is, it stands, and the `delete` has failed.
pub(super) fn settled<E>(all: Vec<OfOne>, place: &Place, output: &mut Result<Output, E>) {
    let processes: Vec<_> = all.iter().map(|one| processes(&one.charter)).collect();
    let ended = end_all(&processes, LAST);
    for (OfOne { charter, left, unnamed }, gone) in all.into_iter().zip(ended) {
        let Some(none) = gone else {
            if let Ok(output) = output {
                fail(output, &unended(&charter).unwrap_or_default());
            }
            continue;
        };
        let head = &charter.head;
        if unnamed {
            takedown::end_unnamed(&head.namespace, &head.id, place.run(), &none);
        }
        let (rests, accounted) =
            takedown::end(head, Stands::Remains(Box::new(left)), &Charters::of(place), &none);
        rests.into_iter().for_each(|rest| rest());
        if let (Err(error), Ok(output)) = (accounted, &mut *output) {
            output.stderr.extend(format!("lacre: {}\n", chain(&error)).into_bytes());
        }
    }
}

/// That processes of a container do not end; none where there are none.
pub(super) fn unended(charter: &Charter) -> Option<String> {
    let head = &charter.head;
    let said = match processes(charter).left() {
        Ok(left) if left.is_empty() => return None,
        Ok(left) => {
            let pids: Vec<_> = left.iter().map(|left| left.pid).collect();
            format!("lacre: processes {pids:?} of {} do not end\n", head.id)
        }
        Err(why) => format!("lacre: whether {} has processes can't be told: {why}\n", head.id),
    };
    Some(said)
}

/// It is not all done, and containerd is told why.
pub(super) fn fail(output: &mut Output, said: &str) {
    output.stderr.extend(said.as_bytes());
    output.status = ExitStatus::from_raw(FAILED);
}

fn processes(Charter { head, body }: &Charter) -> Processes {
    let mode = body.as_ref().map_or(Mode::Enforce, |body| body.mode);
    Processes::of(head, mode)
}
