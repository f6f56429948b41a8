//! Starting a helper as a process that outlives the shim.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::helper::request::Request;
use crate::outcome::Outcome;
use crate::run_dir::{RunDirError, failed, file_name};
use crate::settings::Helper;

/// Starts the helper, in a session of its own. It does not need this process to live on;
/// while that lives, it must wait for the child.
///
/// # Errors
/// When it does not start.
pub fn spawn(helper: &Helper, request: &Request) -> Result<Child, RunDirError> {
    file_name(&request.namespace, &request.container)?;
    let json = serde_json::to_vec(request)
        .map_err(|source| RunDirError::Read { what: "the request of a helper", source })?;
    let mut command = Command::new(&helper.program);
    command
        .arg0("lacre-act")
        .args(&helper.args)
        .args([&request.namespace, &request.container])
        // The shim's own folder, the bundle, is about to be removed.
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed("starting", &helper.program))?;
    // Less than a pipe holds: this does not block.
    let sent = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(&json));
    if let Err(source) = sent {
        // It ends by itself: what it read is no request.
        let _ = child.wait();
        return Err(failed("asking", &helper.program)(source));
    }
    Ok(child)
}

/// Has a helper do it, and waits for its end.
///
/// # Errors
/// When it does not start, or ends without a word.
pub(crate) fn run(helper: &Helper, request: &Request) -> Result<Outcome, RunDirError> {
    let mut child = spawn(helper, request)?;
    // It ends, or is killed: its end of the pipe is then closed.
    let said = child.stdout.take();
    let outcome =
        said.map_or_else(|| request.take_outcome(io::empty()), |said| request.take_outcome(said));
    child.wait().map_err(failed("waiting for", &helper.program))?;
    outcome
}
