use std::path::PathBuf;
use std::sync::Arc;

use lacre_types::{CanonicalPath, Digest, Known, Measurement, Mode, Source};

use crate::files::Layers;
use crate::verified::Verified;

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
    /// It ran, and its source could not hold it back, or was told to let it pass.
    Ran,
    /// It ran, and its source was there to see alone: whatever mode holds by the time that it
    /// is told, at that moment it was audit.
    Watched,
    /// It was refused with `EPERM`, and did not run.
    Denied,
    /// Its process was killed before its first instruction.
    Killed,
    /// It ran, and had ended by itself before its source could end it: nobody runs it any more.
    Ended,
}

impl Outcome {
    /// Whether it ran to its end, as far as its source knows.
    #[must_use]
    pub const fn ran(self) -> bool {
        matches!(self, Self::Ran | Self::Watched | Self::Ended)
    }
}

/// What code without a file may run all the same, for those who can't ask each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spared {
    /// Memory that is made executable: what an engine compiles as it runs.
    pub memory: bool,
    /// Programs in memory.
    pub programs: bool,
}

/// Which files may run by their paths, though no baseline allows them: for those who can't ask
/// each time. Empty: none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LetPass {
    /// An automaton over a path's names, from the file up to the root, each ended by a zero
    /// byte: from a state by a byte (256: any other) to a state. The first is 1.
    pub transitions: Vec<(u16, u16, u16)>,
    /// States in which the path of a file that may run ends.
    pub lets_run: Vec<u16>,
    /// Files that the image lists, for whose paths other rules hold, and whether they may run
    /// when they are changed.
    pub listed: Vec<(CanonicalPath, bool)>,
    /// The rules are more than can be told.
    pub is_too_much: bool,
}

impl LetPass {
    /// Whether every path may but those that are listed, so that the name says nothing.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.lets_run == [1] && self.transitions.iter().all(|(_, _, to)| *to == 1)
    }

    /// Whether no file may.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lets_run.is_empty() && !self.listed.iter().any(|(_, may)| *may)
    }
}

/// Where the policy says that what an interpreter opens is code.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CodeDirectories {
    /// Whether there is any such directory.
    pub any: bool,
    /// Those that are named without a wildcard: each may be a link to where the code is.
    pub paths: Vec<CanonicalPath>,
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

    /// What code without a file may run now, under the same conditions as `judge`. Where that
    /// changes, sources are told ([`Armed::rules_changed`]).
    fn spared(&self) -> Spared {
        Spared::default()
    }

    /// Which files may run by their paths now. Where that changes, sources are told
    /// ([`Armed::rules_changed`]). It may take milliseconds.
    fn let_pass(&self) -> LetPass {
        LetPass::default()
    }

    /// Where what an interpreter opens is code. Where that changes, sources are told
    /// ([`Armed::rules_changed`]).
    fn code_directories(&self) -> CodeDirectories {
        CodeDirectories::default()
    }

    /// Whether a file of that path lies in one of [`Self::code_directories`]. Under the same
    /// conditions as `judge`.
    fn is_declared_code(&self, _path: &CanonicalPath) -> bool {
        false
    }

    /// Whether an interpreter may open a file that no baseline lists, and that nothing tells to
    /// be code. Under the same conditions as `judge`.
    fn judge_reading(&self, _measurement: &Measurement) -> Answer {
        Answer::Allow
    }

    /// Such a file was opened, after the kernel was answered: for the first time in the state
    /// that it has, or it was refused.
    fn read(&self, _measurement: Measurement, _outcome: Outcome) {}

    /// A file that was just verified and judged and may run, while its user still waits and
    /// the file is kept still: whoever stands behind this source, and knows files by their
    /// identity, can be told of it in time. Under the same conditions as `judge`.
    fn passes(&self, _file: &Verified, _measurement: &Measurement) {}

    /// The attributes or the name of a file of the image changed, and with them what it is
    /// known by: whoever can hold its next use until it is known anew does so. Under the same
    /// conditions as `judge`, but for system calls that no file system of the container can
    /// hold up.
    fn changed(&self, _path: &CanonicalPath) {}

    /// A file of the container's root whose content may run is under a read lease of this
    /// process, until [`Self::lease_ends`]: who knows files by their state can let it run though
    /// its owner, mode, time or links change. Under the same conditions as `judge`.
    fn leased(&self, _file: &Leased<'_>) {}

    /// The lease on the file with this inode will end. Whoever was told is to have forgotten it
    /// when this returns. Under the same conditions as `judge`.
    fn lease_ends(&self, _ino: u64) {}

    /// Who asked to open this is refused, and has no answer yet. Under the same conditions as
    /// `judge`.
    fn refuses(&self, _measurement: &Measurement) {}

    /// Whether the process that this is of was refused to open it since `exec`, nanoseconds since
    /// boot, when it was executed: then it is known, and did not run.
    fn was_refused(&self, _measurement: &Measurement, _exec: u64) -> bool {
        false
    }

    /// What was seen and what became of it, after the kernel was answered. Called for
    /// each measurement, allowed ones too.
    fn seen(&self, measurement: Measurement, outcome: Outcome);

    /// The source lost events.
    fn lost(&self, source: Source, loss: Loss);
}

/// A file under a read lease: nobody can write to it before that is let go.
#[derive(Debug, Clone, Copy)]
pub struct Leased<'a> {
    /// Its inode, as the file system of the container's root numbers it.
    pub ino: u64,
    /// What it holds.
    pub digest: &'a Digest,
    /// Its name.
    pub path: Option<&'a CanonicalPath>,
}

/// What fanotify holds back, as `block` of the configuration has it.
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

impl Target {
    /// Where its files come from.
    pub(crate) fn layers(&self) -> Layers {
        let Self { init_pid, upper, lower, known, .. } = self;
        Layers::new(*init_pid, upper.as_deref(), lower, Arc::clone(known))
    }
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

    /// Holds back from now on, what was armed to see alone: the policy has come to be for
    /// enforce. One that holds nothing back, or asks its judge each time, has nothing to do.
    ///
    /// # Errors
    /// When it can't; it is then as it was.
    fn enforce(&self) -> Result<(), SourceError> {
        Ok(())
    }

    /// What the judge lets run has changed: what was told to the kernel beforehand is told it
    /// anew.
    ///
    /// # Errors
    /// When it can't; it is then as it was.
    fn rules_changed(&self) -> Result<(), SourceError> {
        Ok(())
    }

    /// Whether a process has executed anything of the container, if it can tell: before that it
    /// is the container runtime's own, on its way in.
    fn has_begun(&self, _pid: u32) -> Option<bool> {
        None
    }

    /// Looks through what processes of the container do already, which it would see only as it
    /// begins, and treats it as though it began now. After [`Armed::enforce`]. Gives how many
    /// it has killed.
    fn sweep(&self, _pids: &[u32]) -> usize {
        0
    }

    /// Lets go of it without disarming it: what stands in the kernel by itself stands on.
    fn leave(self: Box<Self>) {}

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
