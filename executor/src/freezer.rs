//! Freezing a cgroup by either version's interface, and waiting until it is frozen.

use std::io::{self, Read, Seek, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::cgroup::{Cgroup, Version};
use crate::cgroup_tree::gone;

/// How long the kernel gets to stop every task. It takes microseconds, but a task in
/// uninterruptible sleep (a dead NFS server) stops only when it wakes.
const PATIENCE: Duration = Duration::from_millis(500);

/// Between two looks at a v1 freezer that is still at it; v1 gives no event.
const LOOK: Duration = Duration::from_micros(50);

/// A thread in execve waits for the others of its process to end, and those that a v1 freezer
/// has stopped do not: how long to wait for such a freezer until it lets go, and for how
/// long, so that they can.
const LETS_GO: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(1));

/// Stops and starts all processes of a container at once.
#[derive(Debug, Clone)]
pub struct Freezer(Arc<Cgroup>);

/// Why a container is not frozen, or not thawed.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// The cgroup is gone: all its processes have ended.
    #[error("the container's cgroup {0} is gone: its processes have ended")]
    Gone(std::path::PathBuf),
    /// A file of the cgroup can't be read or written.
    #[error("{doing} {path}", path = .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Others are in the cgroup, and would stand still too.
    #[error(
        "{path} is not the container's alone, processes {pids:?} are in it: give each container a cgroup of its own",
        path = .path.display()
    )]
    Shared {
        /// The cgroup.
        path: std::path::PathBuf,
        /// Who is not known to be the container's.
        pids: Vec<u32>,
    },
    /// An end was decided; what freezes then would be in its way.
    #[error("the container is being ended")]
    Ending,
    /// It is thawed, and a cgroup above it holds it.
    #[error("a cgroup above {path} is frozen: thaw that one", path = .0.display())]
    Above(std::path::PathBuf),
    /// A task does not stop.
    #[error(
        "{path} is asked to freeze and not frozen after {PATIENCE:?}: a task is in uninterruptible sleep; it stops as soon as it wakes",
        path = .0.display()
    )]
    Slow(std::path::PathBuf),
}

impl Freezer {
    /// The freezer of a cgroup.
    #[must_use]
    pub const fn new(cgroup: Arc<Cgroup>) -> Self {
        Self(cgroup)
    }

    /// Freezes the container, and returns when every task stands still. Blocks for
    /// microseconds, half a second at most.
    ///
    /// # Errors
    /// When it can't, or a task does not stop in time; the request then stays in force.
    pub fn freeze(&self) -> Result<(), FreezeError> {
        self.freeze_by(|| self.ask())
    }

    /// The same, with another who asks: each time that it takes asking.
    pub(crate) fn freeze_by(
        &self,
        ask: impl Fn() -> Result<(), FreezeError>,
    ) -> Result<(), FreezeError> {
        match self.0.version {
            Version::One => self.freeze_v1(ask),
            Version::Two => self.freeze_v2(ask),
        }
    }

    /// Asks for it and does not wait: a microsecond after, no task runs its own code any
    /// more, but the kernel may still be bringing some to a stop.
    ///
    /// # Errors
    /// When it can't.
    pub fn ask(&self) -> Result<(), FreezeError> {
        match self.0.version {
            Version::One => self.write("freezer.state", "FROZEN"),
            Version::Two => self.write("cgroup.freeze", "1"),
        }
    }

    /// Lets the container go on. It runs again when this returns, or a moment later.
    ///
    /// # Errors
    /// When it can't.
    pub fn thaw(&self) -> Result<(), FreezeError> {
        match self.0.version {
            Version::One => self.write("freezer.state", "THAWED"),
            Version::Two => self.write("cgroup.freeze", "0"),
        }
    }

    /// Whether every task stands still, whoever froze them.
    ///
    /// # Errors
    /// When the cgroup can't be read.
    pub fn is_frozen(&self) -> Result<bool, FreezeError> {
        match self.0.version {
            Version::One => Ok(self.read("freezer.state")?.trim() == "FROZEN"),
            Version::Two => Ok(is_frozen(&self.read("cgroup.events")?)),
        }
    }

    /// Whether somebody has asked for it and nobody has thawed it since. Steady where
    /// [`Self::is_frozen`] is not: a signal to a frozen task takes it out of the freezer and
    /// in again, without running it.
    ///
    /// # Errors
    /// When the cgroup can't be read.
    pub fn is_asked(&self) -> Result<bool, FreezeError> {
        match self.0.version {
            Version::One => Ok(self.read("freezer.state")?.trim() != "THAWED"),
            Version::Two => Ok(self.read("cgroup.freeze")?.trim() == "1"),
        }
    }

    /// Whether nothing holds it: neither its own freezer, nor one above.
    pub(crate) fn is_free(&self) -> Result<bool, FreezeError> {
        match self.0.version {
            // It tells of those above, too.
            Version::One => Ok(!self.is_asked()?),
            Version::Two => {
                let asked = |path: &std::path::Path| {
                    std::fs::read_to_string(path.join("cgroup.freeze"))
                        .is_ok_and(|text| text.trim() == "1")
                };
                Ok(!self.0.path.ancestors().any(asked))
            }
        }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0.path
    }

    fn freeze_v1(&self, ask: impl Fn() -> Result<(), FreezeError>) -> Result<(), FreezeError> {
        ask()?;
        let start = Instant::now();
        let mut lets_go = LETS_GO.0;
        while self.read("freezer.state")?.trim() != "FROZEN" {
            let waited = start.elapsed();
            if waited > PATIENCE {
                return Err(FreezeError::Slow(self.0.path.clone()));
            }
            if waited > lets_go {
                lets_go += LETS_GO.0;
                self.thaw()?;
                std::thread::sleep(LETS_GO.1);
            }
            // A task that forked meanwhile is caught by asking anew.
            ask()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn freeze_v2(&self, ask: impl Fn() -> Result<(), FreezeError>) -> Result<(), FreezeError> {
        const EVENTS: &str = "cgroup.events";
        let mut events =
            self.0.open(EVENTS, OFlags::RDONLY).map_err(|e| self.failed("opening", EVENTS, e))?;
        ask()?;
        let start = Instant::now();
        loop {
            let mut text = String::new();
            events
                .rewind()
                .and_then(|()| events.read_to_string(&mut text))
                .map_err(|error| self.failed("reading", EVENTS, error))?;
            if is_frozen(&text) {
                return Ok(());
            }
            let left = PATIENCE.checked_sub(start.elapsed());
            let left = left.ok_or_else(|| FreezeError::Slow(self.0.path.clone()))?;
            wait(&events, PollFlags::PRI, left).map_err(|e| self.failed("polling", EVENTS, e))?;
        }
    }

    fn write(&self, name: &str, value: &str) -> Result<(), FreezeError> {
        self.0
            .open(name, OFlags::WRONLY)
            .and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(|error| self.failed("writing", name, error))
    }

    fn read(&self, name: &str) -> Result<String, FreezeError> {
        let mut text = String::new();
        self.0
            .open(name, OFlags::RDONLY)
            .and_then(|mut file| file.read_to_string(&mut text))
            .map_err(|error| self.failed("reading", name, error))?;
        Ok(text)
    }

    fn failed(&self, doing: &'static str, name: &str, source: io::Error) -> FreezeError {
        if gone(&source) {
            return FreezeError::Gone(self.0.path.clone());
        }
        FreezeError::Io { doing, path: self.0.path.join(name), source }
    }
}

fn is_frozen(events: &str) -> bool {
    events.lines().any(|line| line == "frozen 1")
}

/// Waits for an event of a descriptor, no longer than that. Says whether one came.
pub(crate) fn wait(
    fd: impl std::os::fd::AsFd,
    event: PollFlags,
    limit: Duration,
) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&fd, event)], Some(&timeout)) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
