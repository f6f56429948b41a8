//! Work that may hang, or that who looks may not do.

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::facts::Seen;

/// Whether it is who looks that can't.
pub(super) fn is_forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// What is added for what is not waited for by itself.
pub(super) const SLACK: Duration = Duration::from_secs(2);

/// A probe under way, on a thread of its own.
pub(super) struct Probe<T> {
    what: &'static str,
    done: Result<Receiver<T>, io::Error>,
}

impl<T: Send + 'static> Probe<T> {
    pub(super) fn start(what: &'static str, look: impl FnOnce() -> T + Send + 'static) -> Self {
        let (send, done) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("probe".to_owned());
        // Nobody waits any more for one that comes too late.
        let started = thread.spawn(move || send.send(look()).ok());
        Self { what, done: started.map(|_| done) }
    }

    /// What it saw. One that takes longer is left to itself, and goes with this process.
    pub(super) fn wait(self, limit: Duration) -> Seen<T> {
        let what = self.what;
        match self.done.map(|done| done.recv_timeout(limit)) {
            Ok(Ok(seen)) => Seen::Seen(seen),
            Ok(Err(mpsc::RecvTimeoutError::Timeout)) => {
                Seen::Unseen(format!("looking at {what} did not end within {limit:?}"))
            }
            Ok(Err(mpsc::RecvTimeoutError::Disconnected)) => {
                Seen::Unseen(format!("looking at {what} ended in a failure"))
            }
            Err(error) => Seen::Unseen(format!("looking at {what}: {error}")),
        }
    }
}

/// The most of a program's output that is read: a configuration of containerd has 20 KiB.
const OUTPUT: u64 = 4 << 20;
/// Between two looks at whether a program has ended.
const LOOK: Duration = Duration::from_millis(10);

/// What a program prints, which is killed where it takes longer.
///
/// # Errors
/// When it can't be run, fails, or takes longer.
pub(super) fn output(command: &mut Command, limit: Duration) -> Result<Vec<u8>, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: io::Error| format!("running {name}: {error}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    let read = |pipe: Option<Box<dyn io::Read + Send>>| {
        Probe::start("what it prints", move || {
            let mut bytes = Vec::new();
            if let Some(pipe) = pipe {
                let _ = pipe.take(OUTPUT).read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let out = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let err = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if begun.elapsed() > limit => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{name} did not end within {limit:?}"));
            }
            None => std::thread::sleep(LOOK),
        }
    };
    let rest = limit.saturating_sub(begun.elapsed()).max(LOOK * 10);
    let text = |seen: Seen<Vec<u8>>| match seen {
        Seen::Seen(bytes) => Ok(bytes),
        Seen::Unseen(why) => Err(why),
    };
    let out = text(out.wait(rest))?;
    if status.success() {
        return Ok(out);
    }
    let said = text(err.wait(rest)).unwrap_or_default();
    let last = String::from_utf8_lossy(&said);
    let last = last.lines().last().unwrap_or_default();
    Err(format!("{name} failed ({status}): {}", lacre_types::escape(last.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hangs_is_left_behind() {
        let limit = Duration::from_millis(50);
        let (keep, hold) = mpsc::channel::<()>();
        let probe = Probe::start("a hole", move || hold.recv().is_ok());
        assert!(matches!(probe.wait(limit), Seen::Unseen(why) if why.contains("a hole")));
        drop(keep);
        let told = Probe::start("a failure", || -> u8 { std::panic::resume_unwind(Box::new(())) });
        assert!(matches!(told.wait(Duration::from_secs(10)), Seen::Unseen(_)));
        assert_eq!(Probe::start("", || 1).wait(Duration::from_secs(10)), Seen::Seen(1));
    }

    #[test]
    fn a_program_has_its_limit() {
        let long = Duration::from_secs(20);
        let sh = |script: &str, limit| output(Command::new("sh").args(["-c", script]), limit);
        assert_eq!(sh("echo a; echo b >&2", long).as_deref(), Ok(&b"a\n"[..]));
        assert!(sh("echo why >&2; exit 3", long).unwrap_err().contains("why"));
        assert!(sh("exec sleep 1000", Duration::from_millis(50)).unwrap_err().contains("within"));
        assert!(
            output(&mut Command::new("/nonexistent/sh"), long).unwrap_err().contains("running")
        );
    }
}
