use std::path::PathBuf;
use std::sync::Arc;

use lacre_types::{CanonicalPath, Digest, FileId, Measurement, Mode, Source};

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

/// Who decides. Called on the source's own thread while a process of the container may
/// stand waiting: `judge` does no I/O, takes no lock that I/O is done under, and returns
/// at once.
pub trait Judge: Send + Sync {
    /// Whether this may run. In audit mode the answer is `Allow`.
    fn judge(&self, measurement: &Measurement) -> Answer;

    /// Whether the *baseline* allows this, whatever the mode and the policy: what may be
    /// put into a kernel map, and is told no more. Only a judge that knows says yes.
    fn baseline_allows(&self, _measurement: &Measurement) -> bool {
        false
    }

    /// What was seen and what became of it, after the kernel was answered. Called for
    /// each measurement, allowed ones too.
    fn seen(&self, measurement: Measurement, outcome: Outcome);

    /// The source lost events.
    fn lost(&self, source: Source, loss: Loss);
}

/// A file of the image, whose content was hashed while it had this identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFile {
    /// The state it was hashed in.
    pub id: FileId,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
}

/// What was hashed on this node before, so that nothing is hashed twice. It says what a
/// file's bytes are, never whether they are allowed.
pub trait Known: Send + Sync {
    /// The image's file of that path, on the snapshot's lower directories.
    fn by_path(&self, path: &CanonicalPath) -> Option<KnownFile>;

    /// The path and digest of the file with that real inode.
    fn by_inode(&self, dev: u32, ino: u64) -> Option<(CanonicalPath, KnownFile)>;

    /// Every ELF file that the *baseline allows* in its present state: path, identity and digest.
    /// What may be filled into a kernel map before the container starts.
    fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_>;
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

/// A source at work on one container. Dropping it disarms it.
pub trait Armed: Send {
    /// Which one.
    fn source(&self) -> Source;
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
