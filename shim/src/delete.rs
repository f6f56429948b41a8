//! `delete`: what containerd runs when a container has gone, in good order or not.
//!
//! It knows the bundle and nothing else. It runs the inner shim's own `delete`, which kills
//! the container if it still runs, and sees to it that neither guard nor inner shim is left
//! without containers, nor a container without its guard.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lacre_types::chain;

use crate::args::Args;
use crate::bundle::{self, Bundle};
use crate::cgroup;
use crate::config::{self, Config};
use crate::finish;
use crate::guard;
use crate::inner::{self, InnerError, Output, Run};
use crate::messages::ProcessId;
use crate::process;
use crate::rundir::{Container, Place, RunDirError, State};
use crate::serve;
use crate::task::Inner;
use crate::wire::{put_bytes, put_uint};

/// How long a process that was asked to go, or killed, may take. containerd gives `delete`
/// five seconds in all.
const GOING: Duration = Duration::from_secs(1);

/// How long an inner shim's `delete` may take before its container is looked at.
const HELD: Duration = Duration::from_millis(500);

/// What a shell says of SIGKILL: 128 + 9.
const KILLED: u64 = 137;

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
    RunDir(#[from] RunDirError),
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
    let output = match &place {
        Some(place) => guarded(args, &program, &bundle, place),
        None => unguarded(args, &program, &bundle),
    };
    guard::forget(&args.namespace, &args.id, &config().run);
    let nothing = bundle::never_created(&bundle) || bundle::not_begun_by_runc(&bundle, &program);
    let output = output.map(|output| if nothing { gone(output) } else { output });
    cgroup::remove_empty(&bundle);
    if let Some(place) = &place {
        sweep(place);
    }
    output
}

/// A container that was never created is as good as deleted, where the inner shim finds
/// nothing to delete and says so: containerd keeps the bundle of a `delete` that fails.
fn gone(output: Output) -> Output {
    if output.status.success() {
        return output;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut timestamp = Vec::new();
    put_uint(&mut timestamp, 1, now.as_secs());
    put_uint(&mut timestamp, 2, u64::from(now.subsec_nanos()));
    // `DeleteResponse`: no pid, killed, now.
    let mut stdout = Vec::new();
    put_uint(&mut stdout, 2, KILLED);
    put_bytes(&mut stdout, 3, &timestamp);
    Output { status: ExitStatus::default(), stdout, stderr: output.stderr }
}

pub(crate) fn bundle_of(args: &Args) -> Result<PathBuf, DeleteError> {
    if args.bundle.as_os_str().is_empty() {
        return env::current_dir().map_err(DeleteError::Bundle);
    }
    Ok(args.bundle.clone())
}

/// One that can't be read is no reason not to clean up.
fn config() -> Config {
    let (path, required) = config::locate(None, env::var_os(config::ENVIRONMENT).as_deref());
    Config::load(&path, required).unwrap_or_default()
}

/// The inner shim, when no `start` has noted it down: then nothing runs.
fn program(args: &Args) -> Result<PathBuf, InnerError> {
    inner::find(&config().inner.shim, env::var_os("PATH").as_deref(), &args.publish_binary)
}

fn inner_delete(program: &Path, bundle: &Path) -> Result<Run, InnerError> {
    let arguments = env::args_os().skip(1).filter(|argument| argument != finish::ARGUMENT);
    Run::spawn(program, arguments, bundle, b"")
}

/// What it gave, in the end: it waits for a container that is frozen half-way.
fn ended(run: Run, bundle: &Path) -> Result<Output, InnerError> {
    run.finish_or(HELD, || cgroup::end_frozen(bundle))
}

/// `start` did not get as far as a guard: an inner shim may be there, and nothing says where.
fn unguarded(args: &Args, program: &Path, bundle: &Path) -> Result<Output, DeleteError> {
    for process in process::find(program, &[["-namespace", &args.namespace], ["-id", &args.id]]) {
        let _ = process.kill(GOING);
    }
    let output = ended(inner_delete(program, bundle)?, bundle)?;
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
    let Some(state) = place.state()? else {
        // The guard has left in good order.
        place.clear();
        return Ok(ended(inner_delete(program, bundle)?, bundle)?);
    };
    if !state.guard.is_alive() {
        return orphaned(args, program, bundle, place, &state);
    }
    let output = ended(inner_delete(program, bundle)?, bundle)?;
    let state = place.state()?.unwrap_or(state);
    if state.containers.iter().all(|container| container.id == args.id) {
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
    state: &State,
) -> Result<Output, DeleteError> {
    // Of a pod, containerd 1.x runs one of us for each container, at the same time.
    let lock = place.lock()?;
    if let Some(inner) = state.inner {
        let _ = inner.kill(GOING);
    }
    // Without the lock, another of us has done the rest.
    let containers = lock.as_ref().map_or(&[][..], |_| &state.containers);
    let config = config();
    let left = |each| guard::Left::of(&config, &args.namespace, each, &args.address);
    let left: Vec<_> = containers.iter().map(left).collect();
    let own = inner_delete(program, bundle)?;
    let others: Vec<_> = containers
        .iter()
        .filter(|container| container.id != args.id && container.bundle.is_dir())
        .filter_map(|other| Some((delete_other(args, program, other).ok()?, &other.bundle)))
        .collect();
    let mut output = ended(own, bundle);
    for (other, bundle) in others {
        // Its own `delete`, if containerd runs one, tells containerd how it went.
        let _ = ended(other, bundle);
    }
    for left in left {
        if let (Err(error), Ok(output)) = (left.settle(&config), &mut output) {
            output.stderr.extend(format!("lacre: {}\n", chain(&error)).into_bytes());
        }
    }
    // Its own are seen to last of all.
    for other in state.containers.iter().filter(|container| container.id != args.id) {
        cgroup::remove_empty(&other.bundle);
    }
    serve::clear(place, &state.inner_sockets);
    Ok(output?)
}

fn delete_other(args: &Args, program: &Path, container: &Container) -> Result<Run, InnerError> {
    let mut arguments: Vec<OsString> = vec!["-namespace".into(), args.namespace.clone().into()];
    arguments.extend(["-address".into(), args.address.clone().into()]);
    arguments.extend(["-publish-binary".into(), args.publish_binary.clone().into()]);
    arguments.extend(["-id".into(), container.id.clone().into()]);
    arguments.extend(["-bundle".into(), container.bundle.clone().into(), "delete".into()]);
    Run::spawn(program, arguments, &container.bundle, b"")
}

/// Ends the inner shims whose guards died before they had a container: containerd, which
/// could not connect, forgets such a shim and runs no `delete` for it.
fn sweep(place: &Place) {
    for other in place.neighbours() {
        let Ok(Some(state)) = other.state() else { continue };
        if state.containers.is_empty() && !state.guard.is_alive() {
            if let Some(inner) = state.inner {
                let _ = inner.kill(GOING);
            }
            serve::clear(&other, &state.inner_sockets);
        }
    }
}

/// The last container has gone: so must the inner shim, and with it the guard.
fn end(args: &Args, place: &Place, state: &State) {
    // In good order it is going already.
    if let Some(inner) = state.inner.filter(|inner| inner.is_alive()) {
        ask_to_end(args, state);
        if !inner.wait(GOING) {
            let _ = inner.kill(GOING);
        }
    }
    if !state.guard.wait(GOING * 2) {
        let _ = state.guard.kill(GOING);
    }
    // Where it was killed, by us or by others, it has left what it has in good order removed.
    serve::clear(place, &state.inner_sockets);
}

/// It holds a container whose Delete it was never told of, and would not end with it.
fn ask_to_end(args: &Args, state: &State) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    let Some(socket) = state.inner_sockets.first() else { return };
    runtime.block_on(async {
        // Which version it speaks is not known here; one of them it does not answer, and
        // whatever it does, it is killed if it stays.
        for version in [3, 2] {
            let inner = Inner::new(socket.clone(), version, &args.namespace);
            let _ = tokio::time::timeout(GOING / 2, async {
                let _ = inner.delete(&ProcessId::init(&args.id)).await;
                let _ = inner.shutdown(&args.id).await;
            })
            .await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    #[test]
    fn a_guard_that_is_killed_while_its_last_container_goes_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path().join("0a"));
        let mut guard = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let state = State {
            guard: Process::by_pid(guard.id()).unwrap(),
            inner: None,
            inner_sockets: Vec::new(),
            containers: Vec::new(),
        };
        place.keep(&state).unwrap();
        guard.kill().unwrap();
        end(&Args::default(), &place, &state);
        guard.wait().unwrap();
        assert_eq!(place.state().unwrap(), None);
    }
}
