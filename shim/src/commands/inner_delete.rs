//! The inner shim's `delete`: run, or answered for where it would find nothing to do.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, SystemTime};

use crate::arguments::{Args, FINISH};
use crate::container::bundle;
use crate::inner::program::{InnerError, Output, Run};
use crate::messages::{DeleteResponse, Message as _};
use crate::node::cgroup;
use crate::node::guard_state::Container;

/// How long an inner shim's `delete` may take before its container is looked at.
const HELD: Duration = Duration::from_millis(500);

/// What a shell says of SIGKILL: 128 + 9.
const KILLED: u32 = 137;

/// The inner shim's `delete`.
pub(super) enum InnerDelete {
    Runs(Run),
    /// It would find nothing to do, and is not run for that.
    Needless,
}

impl InnerDelete {
    /// Of the bundle that this process was told.
    pub(super) fn begin(program: &Path, bundle: &Path) -> Result<Self, InnerError> {
        if bundle::deleted_by_runc(bundle, program) {
            return Ok(Self::Needless);
        }
        let arguments = env::args_os().skip(1).filter(|argument| argument != FINISH);
        Run::spawn_bound(program, arguments, bundle).map(Self::Runs)
    }

    /// What it gave, in the end: it waits for a container that is frozen half-way.
    pub(super) fn ended(self, bundle: &Path) -> Result<Output, InnerError> {
        match self {
            Self::Runs(run) => run.finish_or(HELD, || cgroup::end_frozen(bundle)),
            Self::Needless => Ok(deleted(bundle::init_pid(bundle))),
        }
    }
}

/// Runs the inner shim's `delete` of the others of a pod.
pub(super) fn delete_others<'a>(
    args: &Args,
    program: &Path,
    all: impl IntoIterator<Item = &'a Container>,
) -> Vec<(InnerDelete, PathBuf)> {
    all.into_iter()
        .filter(|container| container.id != args.id && container.bundle.is_dir())
        .filter_map(|other| Some((delete_other(args, program, other).ok()?, other.bundle.clone())))
        .collect()
}

pub(super) fn others_ended(others: Vec<(InnerDelete, PathBuf)>) {
    for (other, bundle) in others {
        // Its own `delete`, if containerd runs one, tells containerd how it went.
        let _ = other.ended(&bundle);
    }
}

fn delete_other(
    args: &Args,
    program: &Path,
    container: &Container,
) -> Result<InnerDelete, InnerError> {
    let mut arguments: Vec<OsString> = vec!["-namespace".into(), args.namespace.clone().into()];
    arguments.extend(["-address".into(), args.address.clone().into()]);
    arguments.extend(["-publish-binary".into(), args.publish_binary.clone().into()]);
    arguments.extend(["-id".into(), container.id.clone().into()]);
    arguments.extend(["-bundle".into(), container.bundle.clone().into(), "delete".into()]);
    Run::spawn_bound(program, arguments, &container.bundle).map(InnerDelete::Runs)
}

/// A container that was never created is as good as deleted, where the inner shim finds
/// nothing to delete and says so: containerd keeps the bundle of a `delete` that fails.
pub(super) fn gone(output: Output) -> Output {
    match output.status.success() {
        true => output,
        false => Output { stderr: output.stderr, ..deleted(None) },
    }
}

/// What the `delete` of runc's own shim answers, of whichever container.
pub(super) fn deleted(pid: Option<u32>) -> Output {
    let answer = DeleteResponse {
        pid: pid.unwrap_or_default(),
        exit_status: KILLED,
        exited_at: Some(SystemTime::now().into()).into(),
        ..DeleteResponse::default()
    };
    // A message is only unwritable by its size.
    let stdout = answer.write_to_bytes().unwrap_or_default();
    Output { status: ExitStatus::default(), stdout, stderr: Vec::new() }
}
