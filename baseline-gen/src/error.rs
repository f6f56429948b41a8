//! Why there is no baseline, and what to do for one.

use std::io;
use std::path::{Path, PathBuf};

use lacre_types::{Digest, escape};

/// Why there is no baseline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call failed on a file.
    #[error("cannot {doing} {}", shown(.path))]
    Io {
        /// What was being done: `read`, `open`, …
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file would not hold still.
    #[error(
        "{} changed each of the {tries} times it was hashed; make the baseline while nothing \
         writes there",
        shown(.path)
    )]
    Changing {
        /// The file.
        path: PathBuf,
        /// How often it was tried.
        tries: u32,
    },
    /// A path that no process can name.
    #[error(
        "{} holds a path of {len} bytes, more than PATH_MAX (4096), beginning {}; remove it \
         from the image",
        shown(.within), escape(.start)
    )]
    PathTooLong {
        /// The directory that was walked.
        within: PathBuf,
        /// Its length.
        len: usize,
        /// Its first bytes.
        start: Vec<u8>,
    },
    /// A directory whose lower part has another name.
    #[error(
        "the directory {} carries an overlayfs redirect, which only its own mount resolves; \
         make the baseline from the image's OCI content",
        shown(.path)
    )]
    Redirect {
        /// The directory.
        path: PathBuf,
    },
    /// More entries than the limit.
    #[error(
        "{what} has more than {limit} entries; if that is meant, give `lacre baseline generate` a \
         higher --max-entries"
    )]
    TooManyEntries {
        /// The layer.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// The baseline would outgrow its format.
    #[error("the baseline would hold more than its format can ({what}); split the image")]
    TooBig {
        /// What is too big.
        what: &'static str,
    },
    /// A file that others than root can change.
    #[error(
        "{} is not to be trusted: owner uid {uid}, mode {mode:o}; it must belong to root (or \
         to you) and be writable by nobody else (chown root, chmod go-w)",
        shown(.path)
    )]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// A file of lacre's own is broken.
    #[error("{} is not a usable {what}; generate it again", shown(.path))]
    Format {
        /// What it should be, such as `baseline`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// An image, or a part of it, can't be used.
    #[error("cannot use {what}")]
    Blob {
        /// Which: a blob's name, a file in an archive.
        what: String,
        /// Why.
        #[source]
        source: Box<BlobError>,
    },
    /// It was called off ([`Progress::is_unwanted`](crate::Progress)).
    #[error("it was called off before it was made")]
    Unwanted,
    /// The archive or the layout does not say which image is meant.
    #[error("{} {problem}", shown(.path))]
    Image {
        /// The archive or directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
}

/// What is wrong with a file in one of lacre's formats.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// It does not begin as it should.
    #[error("it does not begin with the magic bytes of the format")]
    Magic,
    /// It is of a version that this lacre can't read.
    #[error("it has format version {got}, this lacre reads version {reads}")]
    Version {
        /// Its version.
        got: u32,
        /// The version that is read.
        reads: u32,
    },
    /// A length does not fit.
    #[error("it has {got} bytes where {expected} belong")]
    Length {
        /// What the header says.
        expected: u64,
        /// What there is.
        got: u64,
    },
    /// A checksum does not match.
    #[error("the checksum of its {0} does not match")]
    Checksum(&'static str),
    /// A value that has no meaning.
    #[error("{0}")]
    Value(&'static str),
}

/// What is wrong with a blob or a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// It is not there.
    #[error("it is not in {}; pull the image again (a registry may have left it out)", shown(.0))]
    Missing(PathBuf),
    /// Its bytes can't be had, or can't be inflated.
    #[error("reading it failed at byte {at} of the blob; fetch it again")]
    Read {
        /// How many bytes of the blob had been read.
        at: u64,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// Its bytes are not those that its name promises.
    #[error("its content is {got}, not {expected}: it was altered or cut short; fetch it again")]
    Digest {
        /// The name.
        expected: Digest,
        /// The content.
        got: Digest,
    },
    /// The unpacked layer is not the one in the image's configuration.
    #[error(
        "unpacked it is {got}, the image's configuration says {expected} (diff ID); do not use \
         this image"
    )]
    DiffId {
        /// What the configuration says.
        expected: Digest,
        /// The content.
        got: Digest,
    },
    /// Its size is not what its descriptor says.
    #[error("it has {got} bytes, its descriptor says {expected}; fetch it again")]
    Size {
        /// What the descriptor says.
        expected: u64,
        /// What there is.
        got: u64,
    },
    /// Inflated it outgrows the limits.
    #[error(
        "{read} bytes of it unpack to more than {limit}, as a decompression bomb does; if that is \
         meant, give `lacre baseline generate` a higher {which} (a container is guarded by its \
         snapshot's directories, which have no such limit)"
    )]
    Bomb {
        /// How many bytes of the blob had been read.
        read: u64,
        /// The limit that was passed, in bytes of unpacked layer.
        limit: u64,
        /// The option that raises the limit.
        which: &'static str,
    },
    /// The tar inside is broken, or holds what no image may.
    #[error("its tar is not usable at byte {at}: {fault}")]
    Tar {
        /// The offset in the unpacked tar.
        at: u64,
        /// What is wrong.
        fault: String,
    },
    /// A JSON document is broken or too big.
    #[error("it is not the JSON document it should be")]
    Json(#[source] serde_json::Error),
    /// A document that is not what it should be.
    #[error("{0}")]
    Unusable(String),
}

impl Error {
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io { doing, path: path.into(), source: source.into() }
    }

    /// Whether content is there, and is not what its digest says: what was unpacked from it may
    /// have been altered by the same hand.
    #[must_use]
    pub fn is_altered(&self) -> bool {
        let altered = |it: &BlobError| {
            matches!(
                it,
                BlobError::Digest { .. } | BlobError::DiffId { .. } | BlobError::Size { .. }
            )
        };
        self.of_blob().is_some_and(altered)
    }

    /// Whether content is not there: not kept once it was unpacked, or never fetched.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.of_blob(), Some(BlobError::Missing(_)))
    }

    /// Whether content is there, and nothing that a baseline could be made of.
    #[must_use]
    pub fn is_unusable(&self) -> bool {
        let unusable = |it: &BlobError| {
            matches!(it, BlobError::Unusable(_) | BlobError::Tar { .. } | BlobError::Bomb { .. })
        };
        self.of_blob().is_some_and(unusable)
    }

    fn of_blob(&self) -> Option<&BlobError> {
        match self {
            Self::Blob { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Stopped because another thread failed.
    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if source.raw_os_error() == Some(rustix::io::Errno::CANCELED.raw_os_error()))
    }

    pub(crate) fn blob(what: impl Into<String>, source: BlobError) -> Self {
        Self::Blob { what: what.into(), source: Box::new(source) }
    }
}

pub(crate) fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}
