//! What may be set before a baseline is made, and the limits that a hostile image meets.

use std::num::NonZeroUsize;

use crate::Algorithms;

/// How a baseline is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The digests to take.
    pub algorithms: Algorithms,
    /// How many threads hash; `None`: one per core.
    pub threads: Option<NonZeroUsize>,
    /// Where to stop.
    pub limits: Limits,
    /// How the layers of an image's content lie one upon the other.
    pub stacking: Stacking,
}

/// How a snapshotter lays the layers of an image one upon the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stacking {
    /// Each has a directory or a file system of its own, and overlayfs shows them as one.
    #[default]
    Overlaid,
    /// Each is unpacked over a copy of what is beneath it (native, btrfs, zfs, devmapper): a
    /// directory that no member names may be a link there, and is followed.
    Unpacked,
}

impl Options {
    pub(crate) fn threads(&self) -> usize {
        self.threads
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, NonZeroUsize::get)
    }
}

/// Where a hostile image is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most entries of one layer. Each costs about 200 bytes while the baseline is made.
    pub entries: usize,
    /// The most bytes that one layer may unpack to.
    pub layer_bytes: u64,
    /// The most times that a layer may outgrow its blob, once it is past
    /// [`Limits::RATIO_FREE`] bytes.
    pub ratio: u64,
}

impl Limits {
    /// What a layer may unpack to whatever its ratio: a gibibyte, a second or so of work.
    pub const RATIO_FREE: u64 = 1 << 30;
}

impl Default for Limits {
    fn default() -> Self {
        // The largest layers that are met in practice (CUDA, model weights) stay below
        // 32 GiB; gzip can't exceed 1032:1, so 250 means mostly zeros.
        Self { entries: 4_000_000, layer_bytes: 64 << 30, ratio: 250 }
    }
}

/// Is told how far the work is, from several threads at once.
pub trait Progress: Sync {
    /// A layer or a phase begins.
    fn stage(&self, _what: &str) {}
    /// So many more files will be looked at.
    fn found(&self, _files: u64) {}
    /// So many more files were looked at.
    fn looked(&self, _files: u64) {}
    /// So many more bytes were hashed.
    fn hashed(&self, _bytes: u64) {}
    /// Whether nobody wants it any more: it ends then, with [`Error::Unwanted`](crate::Error), and
    /// keeps the layers that are whole. Asked between files, and between the blocks of one.
    fn is_unwanted(&self) -> bool {
        false
    }
}

/// # Errors
/// When nobody wants it any more.
pub(crate) fn check(progress: &dyn Progress) -> Result<(), crate::Error> {
    if progress.is_unwanted() { Err(crate::Error::Unwanted) } else { Ok(()) }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
