//! `delete`: what containerd runs when a container has gone, in good order or not.
//!
//! It is told the bundle, which names the container's charter. It runs the inner shim's own
//! `delete`, which kills the container if it still runs (unless runc's own shim has deleted it
//! already, as it has mostly), and sees to it that neither guard nor
//! inner shim is left without containers, nor a container without its guard: a guard that
//! lives ends what it guards itself, and one that has died is stood in for, by the charter.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lacre_types::chain;

use crate::arguments::Args;
use crate::commands::inner_delete::{self, InnerDelete, delete_others, others_ended};
use crate::commands::left_containers::{fail, left, settled};
use crate::commands::living_guard::{ACCOUNTING, Accounted, accounted, end, kill_hung};
use crate::commands::neighbours::{dead_neighbours, sweep};
use crate::commands::serve;
use crate::config::Config;
use crate::container::bundle::{self, Bundle};
use crate::container::charter_stand_in::{self, charter_of};
use crate::container::charters::Charters;
use crate::container::dead_guard::DeadGuard;
use crate::container::generation::Generation;
use crate::container::orders::{self, Kept};
use crate::inner::client;
use crate::inner::program::{self, InnerError, Output};
use crate::inner::sockets::remove_dead;
use crate::node::cgroup;
use crate::node::guard_state::{Container, Noted, State};
use crate::node::json_file::FileError;
use crate::node::process::{self, Process};
use crate::node::run_dir::{self, Place};

/// How long a process that was asked to go, or killed, may take. containerd gives `delete`
/// five seconds in all.
const GOING: Duration = Duration::from_secs(1);

/// For the reports that the guard had not delivered; the next shim does it otherwise.
const DELIVERY: Duration = Duration::from_millis(500);

/// Why `delete` has no result.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The bundle can't be told.
    #[error("finding out the bundle, or removing it")]
    Bundle(#[source] io::Error),
    /// The inner shim's `delete` does not run.
    #[error(transparent)]
    Inner(#[from] InnerError),
    /// What is known of the container can't be read.
    #[error(transparent)]
    RunDir(#[from] FileError),
}

/// Cleans up, and gives what the inner shim's `delete` gave.
///
/// # Errors
/// When the inner shim's `delete` can't be run.
pub fn run(args: &Args) -> Result<Output, DeleteError> {
    let bundle = bundle_of(args)?;
    let note = Bundle::read(&bundle)?;
    let program = match &note {
        Some(note) => note.inner.clone(),
        None => program(args)?,
    };
    let place = note.and_then(|note| note.socket).map(Place::at);
    let mut output = match &place {
        Some(place) => guarded(args, &program, &bundle, place),
        None => unguarded(args, &program, &bundle),
    };
    if let Some(place) = &place {
        let container = container(args, place, &bundle);
        // Whatever the guard, or who stood in for it, has left of this one.
        settled(left(args, place, [&container]), place, &mut output);
    }
    let nothing = bundle::never_created(&bundle) || bundle::not_begun_by_runc(&bundle, &program);
    let output = output.map(|output| if nothing { inner_delete::gone(output) } else { output });
    cgroup::remove_empty(&bundle);
    if let Some(place) = &place {
        sweep(place);
    }
    output
}

/// What [`run`] gives where it would find that nothing is left, as it mostly does: the guard has
/// gone in good order, and runc's own shim had deleted the container. That is soon said, so that
/// nobody needs to stand by.
#[must_use]
pub fn of_nothing(args: &Args) -> Option<Output> {
    let bundle = bundle_of(args).ok()?;
    let Bundle { inner, socket } = Bundle::read(&bundle).ok()??;
    let place = Place::at(socket?);
    let generation = bundle::generation(&bundle)?;
    let is_guarded = !matches!(place.noted(), Noted::Nothing) || place.listener().is_some();
    let is_noted = Charters::of(&place).read(&generation).ok()?.is_some();
    if is_guarded || is_noted || !bundle::deleted_by_runc(&bundle, &inner) {
        return None;
    }
    if dead_neighbours(&place).next().is_some() {
        return None;
    }
    place.clear();
    cgroup::remove_empty(&bundle);
    Some(inner_delete::deleted(bundle::init_pid(&bundle)))
}

/// The container that this process was told.
fn container(args: &Args, place: &Place, bundle: &Path) -> Container {
    let generation = bundle::generation(bundle).or_else(|| Charters::of(place).of_bundle(bundle));
    Container { id: args.id.clone(), bundle: bundle.to_owned(), generation }
}

/// What is left of a container whose bundle is gone already, as where containerd has removed
/// it after it had killed this `delete`.
pub(crate) fn settle_rest(args: &Args, place: &Place, generation: Generation) {
    let bundle = args.bundle.clone();
    let container = Container { id: args.id.clone(), bundle, generation: Some(generation) };
    settled(
        left(args, place, [&container]),
        place,
        &mut Err(DeleteError::Bundle(io::ErrorKind::NotFound.into())),
    );
}

pub(crate) fn bundle_of(args: &Args) -> Result<PathBuf, DeleteError> {
    if args.bundle.as_os_str().is_empty() {
        return env::current_dir().map_err(DeleteError::Bundle);
    }
    Ok(args.bundle.clone())
}

/// The inner shim, when no `start` has noted it down: then nothing runs.
fn program(args: &Args) -> Result<PathBuf, InnerError> {
    program::find(
        &Config::of_this_process().inner.shim,
        env::var_os("PATH").as_deref(),
        &args.publish_binary,
    )
}

/// `start` did not get as far as a guard: an inner shim may be there, and nothing says where.
fn unguarded(args: &Args, program: &Path, bundle: &Path) -> Result<Output, DeleteError> {
    for process in process::find(program, &args.namespace, &args.id, &args.address) {
        let sockets = process::listens_on(process.pid);
        let _ = process.kill(GOING);
        sockets.iter().for_each(|socket| remove_dead(socket));
    }
    let output = InnerDelete::begin(program, bundle)?.ended(bundle)?;
    // Where containerd 1.x finds it; the shim has been killed, and removes nothing itself.
    if let Ok(address) = fs::read_to_string(bundle.join("address"))
        && let Some(socket) = address.trim().strip_prefix("unix://")
        && std::os::unix::net::UnixStream::connect(socket).is_err()
    {
        let _ = fs::remove_file(socket);
    }
    Ok(output)
}

fn guarded(
    args: &Args,
    program: &Path,
    bundle: &Path,
    place: &Place,
) -> Result<Output, DeleteError> {
    let mut noted = place.noted();
    if noted.state().is_none()
        && let Some(guard) = place.listener()
    {
        // One that lives says anew what nobody can read.
        match orders::keep(&place.control(), ACCOUNTING) {
            Kept::Done => noted = place.noted(),
            Kept::Refused(_) | Kept::Silent if !DeadGuard::is_left(place) => {}
            // It guards, and ends what it guards, whatever keeps it from writing.
            Kept::Refused(_) => noted = Noted::State(DeadGuard::of_living(place, &noted, guard)),
            Kept::Silent => kill_hung(place, guard),
        }
    }
    if noted.living().is_none() {
        charter_stand_in::note_down(place);
    }
    match noted {
        Noted::State(state) if state.guard.is_alive() => {
            beside_guard(args, program, bundle, place, state)
        }
        Noted::Nothing if !DeadGuard::is_left(place) && !is_found(args, place, bundle) => {
            // The guard has left in good order.
            place.clear();
            Ok(InnerDelete::begin(program, bundle)?.ended(bundle)?)
        }
        noted => orphaned(args, program, bundle, place, &noted),
    }
}

/// Whether a container is there of which all that was noted down is gone, as with its run directory;
/// then it is noted down anew, before anybody is killed.
fn is_found(args: &Args, place: &Place, bundle: &Path) -> bool {
    let container = container(args, place, bundle);
    // Without the folders nothing can be written, and what is found counts all the same.
    let _ = run_dir::make(place.run());
    charter_of(place, &container, &Config::of_this_process).is_some()
}

/// The guard lives, and ends what it guards itself.
fn beside_guard(
    args: &Args,
    program: &Path,
    bundle: &Path,
    place: &Place,
    state: State,
) -> Result<Output, DeleteError> {
    let own = InnerDelete::begin(program, bundle)?;
    let shim_lives = state.inner.is_none_or(Process::is_alive);
    let others: Vec<_> = state.containers.iter().filter(|_| !shim_lives).collect();
    let others = delete_others(args, program, others);
    let output = own.ended(bundle);
    others_ended(others);
    let mut output = output?;
    let state = place.noted().state().cloned().unwrap_or(state);
    let ending: Vec<_> = state
        .containers
        .iter()
        .filter(|container| !shim_lives || container.id == args.id)
        .cloned()
        .collect();
    match accounted(place, &ending) {
        Accounted::All => {}
        Accounted::Runs(said) => {
            fail(&mut output, &said);
            return Ok(output);
        }
        Accounted::Silent => {
            kill_hung(place, state.guard);
            return orphaned(args, program, bundle, place, &Noted::State(state));
        }
    }
    if state.containers.iter().all(|container| container.id == args.id) || !shim_lives {
        end(args, place, &state);
    }
    Ok(output)
}

/// The guard has died: nothing of it may run on. The inner shim goes first, so that nothing
/// new starts; then every container that it had, of which containerd 2.x tells us only one.
fn orphaned(
    args: &Args,
    program: &Path,
    bundle: &Path,
    place: &Place,
    noted: &Noted,
) -> Result<Output, DeleteError> {
    // Of a pod, containerd 1.x runs one of us for each container, at the same time; and where
    // it has killed one, another finishes that.
    let lock = place.lock(|| DeadGuard::is_left(place))?;
    let mut dead = DeadGuard::of(place, noted);
    if noted.state().is_none() {
        let own = process::find(program, &args.namespace, &args.id, &args.address);
        dead.sockets.extend(own.iter().flat_map(|inner| process::listens_on(inner.pid)));
        dead.inners.extend(own);
    }
    for inner in &dead.inners {
        let _ = inner.kill(GOING);
    }
    // Without the lock, another of us has done the rest.
    let containers = lock.as_ref().map_or(&[][..], |_| &dead.containers);
    let left = left(args, place, containers);
    let own = InnerDelete::begin(program, bundle)?;
    // In the bundle of one whose id has come again there is nothing of it.
    let is_its = |one: &&Container| {
        one.generation
            .as_ref()
            .is_none_or(|generation| !bundle::is_anothers(&one.bundle, generation, place.socket()))
    };
    let others = delete_others(args, program, containers.iter().filter(is_its));
    let mut output = own.ended(bundle).map_err(DeleteError::from);
    others_ended(others);
    settled(left, place, &mut output);
    if !dead.others_sockets.is_empty() {
        let ids: Vec<_> = containers.iter().map(|container| container.id.as_str()).collect();
        client::forget(&dead.others_sockets, &args.namespace, &ids, None);
    }
    if let (true, Err(error), Ok(output)) = (
        lock.is_some(),
        crate::guard::deliver_left(&Config::of_this_process(), DELIVERY),
        &mut output,
    ) {
        output.stderr.extend(format!("lacre: {}\n", chain(&error)).into_bytes());
    }
    // Its own are seen to last of all.
    for other in dead.containers.iter().filter(|container| container.id != args.id) {
        cgroup::remove_empty(&other.bundle);
    }
    if lock.is_some() {
        serve::clear(place, &dead.sockets);
    }
    output
}
