use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use lacre_types::{Known, Measurement, Mode, Source};

/// What may be done with the file in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Let it run.
    Allow,
    /// Refuse it, or kill who runs it where the source can't refuse.
    Deny,
}

/// What became of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ran.
    Ran,
    /// It was refused with `EPERM`, and did not run.
    Denied,
    /// Its process was killed before its first instruction.
    Killed,
}

/// Why nobody knows what ran from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The kernel's queue overflowed; so many events are gone, if it tells.
    Overflow(Option<u64>),
    /// The source ended, for this reason.
    Ended(String),
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Overflow(Some(count)) => write!(f, "{count} events were lost"),
            Self::Overflow(None) => f.write_str("events were lost"),
            Self::Ended(why) => f.write_str(why),
        }
    }
}

/// Who decides. Called on the source's own thread while a process of the container may
/// stand waiting: `judge` does no I/O, takes no lock that I/O is done under, and returns
/// at once.
pub trait Judge: Send + Sync {
    /// Whether this may run. In audit mode the answer is `Allow`.
    fn judge(&self, measurement: &Measurement) -> Answer;

    /// Whether the baseline itself allows this, so that the same file in the same state
    /// needs no second look. `false` for what is only let through: by audit mode, by a
    /// rule that says `SKIP`. Under the same conditions as `judge`.
    fn settled(&self, _measurement: &Measurement) -> bool {
        false
    }

    /// A file that was just judged and may run, while its user still waits: whoever stands
    /// behind this source, and knows files by their identity, can be told of it in time.
    /// Under the same conditions as `judge`, but for system calls that no file system
    /// of the container can hold up.
    fn passes(&self, _file: BorrowedFd<'_>, _measurement: &Measurement) {}

    /// What was seen and what became of it, after the kernel was answered. Called for
    /// each measurement, allowed ones too.
    fn seen(&self, measurement: Measurement, outcome: Outcome);

    /// The source lost events.
    fn lost(&self, source: Source, loss: Loss);
}

/// What fanotify holds back (DESIGN 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Block {
    /// Programs and the interpreters of what is executed; opens cost nothing.
    #[default]
    Exec,
    /// Libraries and scripts too, at open: a first look at every file.
    All,
}

/// The container to watch, between `Create` and `Start`.
#[derive(Clone)]
pub struct Target {
    /// Its id.
    pub container: String,
    /// `runc init`, which waits for Start: its namespaces are the container's.
    pub init_pid: u32,
    /// The root file system as the host reaches it.
    pub rootfs: PathBuf,
    /// The overlay's upper directory, when the root is an overlay.
    pub upper: Option<PathBuf>,
    /// The overlay's lower directories, topmost first.
    pub lower: Vec<PathBuf>,
    /// Whether to hold back.
    pub mode: Mode,
    /// What to hold back.
    pub block: Block,
    /// What was hashed before.
    pub known: Arc<dyn Known>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("container", &self.container)
            .field("init_pid", &self.init_pid)
            .field("rootfs", &self.rootfs)
            .finish_non_exhaustive()
    }
}

/// What is left to do of a source that is disarmed, which nobody needs to wait for. Dropping
/// it does it too.
pub type Rest = Box<dyn FnOnce() + Send>;

/// A source at work on one container. Dropping it disarms it.
pub trait Armed: Send {
    /// Which one.
    fn source(&self) -> Source;

    /// Disarms it, and gives what may be done later: when this has returned, nothing of the
    /// container is watched or held back, and its file systems are free.
    fn disarm(self: Box<Self>) -> Option<Rest> {
        None
    }

    /// Reads what is left to be read. Before it is disarmed, when its container has ended.
    fn finish(&mut self) {}

    /// What a person should know of how it sees on this node; told when it is armed, and
    /// again when it has finished.
    fn remark(&self) -> Option<String> {
        None
    }

    /// A process has entered the container from outside, by exec. Sources that know the
    /// container's processes by its init alone follow it from now on.
    ///
    /// # Errors
    /// When it can't be followed; one that has ended already is none.
    fn joined(&self, _pid: u32) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Why a source can't be armed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// This node does not offer what it needs.
    #[error("{source_name} needs {needs}, which this node does not offer")]
    Unavailable {
        /// The source.
        source_name: Source,
        /// What is missing, and how to have it.
        needs: String,
        /// What the kernel said.
        #[source]
        source: Option<std::io::Error>,
    },
    /// A call failed.
    #[error("{source_name}: {doing}")]
    Failed {
        /// The source.
        source_name: Source,
        /// What was being done, to what.
        doing: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}
