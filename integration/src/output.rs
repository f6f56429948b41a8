//! What a command said, and waiting with a deadline.

use std::fmt::Display;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::process::Process;

/// Between two looks at something that is waited for.
const POLL: Duration = Duration::from_millis(15);

/// No single command of the tests takes longer, or it hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// Exit code and text of a finished command.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; 128 + signal if it was killed.
    pub code: i32,
    /// Standard output, lossily as UTF-8.
    pub stdout: String,
    /// Standard error, lossily as UTF-8.
    pub stderr: String,
}

impl Output {
    /// Runs `command` to its end.
    ///
    /// # Errors
    /// When it cannot be started, or does not end within two minutes.
    pub fn of(command: &mut Command) -> Result<Self> {
        Self::within(LIMIT, command)
    }

    /// Runs `command`, which is a whole program of work, to its end.
    ///
    /// # Errors
    /// When it cannot be started, or does not end within `limit`.
    pub fn within(limit: Duration, command: &mut Command) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let pid = i32::try_from(child.id())?;
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = receiver.recv_timeout(limit) else {
            if let Some(process) = Process::by_pid(pid) {
                process.signal(Signal::SIGKILL);
            }
            bail!("{command:?} does not end");
        };
        let output = output?;
        let status = output.status;
        Ok(Self {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Standard output, if the exit code is 0.
    ///
    /// # Errors
    /// With everything the command said, if it is not.
    pub fn ok(self) -> Result<String> {
        if self.code != 0 {
            bail!("exit code {}: {}{}", self.code, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }
}

/// Polls `probe` until it gives a value.
///
/// # Errors
/// When `limit` passes first, or `probe` fails.
pub fn wait_for<T>(
    what: impl Display,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if start.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        sleep(POLL);
    }
}
