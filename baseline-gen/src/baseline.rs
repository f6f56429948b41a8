//! A baseline as it lies in its file: mapped, and read where it stands.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use lacre_sys::mmap::Mmap;
use lacre_types::{Algorithm, CanonicalPath, Digest, Kind};

use crate::Algorithms;
use crate::build::{FILE, HEADER, LINK, MAGIC, SUMMED, VERSION, build};
use crate::bytes::{array, u16_at, u32_at, u64_at};
use crate::error::{Error, FormatError};
use crate::hash::sha256;
use crate::layer::kind_of;
use crate::merge::Merged;
use crate::provenance::Provenance;

/// What an image may run: every file that holds code, by path, with its digests; and the
/// image's symbolic links, by which other names lead to them.
///
/// Opening one costs the same whatever its size: it is mapped, the header is checked, and
/// every later access is bounds-checked, so that a broken file gives an error or a miss.
/// [`Baseline::verify`] checks all of it.
pub struct Baseline {
    bytes: Bytes,
    algorithms: Algorithms,
    files: Table,
    links: Table,
    names: Range<usize>,
    canonical: usize,
}

/// Rows of one length, one after the other.
struct Table {
    at: usize,
    row: usize,
    count: usize,
}

pub(crate) enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    pub(crate) fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map.as_slice(),
            Self::Owned(bytes) => bytes,
        }
    }
}

/// A file of the image that holds code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its path, absolute, with no symbolic link in it.
    pub path: &'a [u8],
    /// What it is to the one who would run it.
    pub kind: Kind,
    /// Its size in bytes.
    pub size: u64,
    algorithms: Algorithms,
    row: &'a [u8],
}

impl Entry<'_> {
    /// Its digest; `None` when the baseline was made without that algorithm.
    #[must_use]
    pub fn digest(&self, algorithm: Algorithm) -> Option<Digest> {
        self.algorithms.digest(self.row, algorithm)
    }

    /// Its SHA-256, which every baseline has.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        Digest::sha256(array(self.row, 0).unwrap_or_default())
    }

    /// All its digests.
    pub fn digests(&self) -> impl Iterator<Item = Digest> + '_ {
        self.algorithms.iter().filter_map(|algorithm| self.digest(algorithm))
    }
}

/// A symbolic link of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    /// Its path, absolute, with no symbolic link before its last part.
    pub path: &'a [u8],
    /// What it points to, as written.
    pub target: &'a [u8],
}

impl fmt::Debug for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baseline")
            .field("digest", &self.digest())
            .field("files", &self.len())
            .finish_non_exhaustive()
    }
}

impl Baseline {
    /// Maps a baseline. The file must belong to root (or to the caller) and be writable by
    /// nobody else; it is replaced by rename only.
    ///
    /// # Errors
    /// When it can't be opened, is not to be trusted, or its header is not a baseline's.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let map = Mmap::map(&open_trusted(path)?).map_err(|e| Error::io("map", path, e))?;
        Self::parse(Bytes::Mapped(map)).map_err(|source| Error::Format {
            what: "baseline",
            path: path.to_owned(),
            source,
        })
    }

    /// A baseline from its bytes.
    ///
    /// # Errors
    /// When they are not a baseline's.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, FormatError> {
        Self::parse(Bytes::Owned(bytes))
    }

    pub(crate) fn from_merged(
        algorithms: Algorithms,
        merged: &Merged,
        layers: &[Option<Digest>],
    ) -> Result<Self, Error> {
        let mut bytes = build(algorithms, merged)?;
        Provenance::append(&mut bytes, merged, layers);
        let path = Path::new("(memory)");
        let format = |source| Error::Format { what: "baseline", path: path.to_owned(), source };
        Self::from_bytes(bytes).map_err(format)
    }

    fn parse(bytes: Bytes) -> Result<Self, FormatError> {
        let all = bytes.get();
        let got = all.len() as u64;
        if all.get(..8) != Some(MAGIC) {
            return Err(FormatError::Magic);
        }
        let header: &[u8; HEADER] =
            all.first_chunk().ok_or(FormatError::Length { expected: HEADER as u64, got })?;
        let field = |at| u32_at(header, at).unwrap_or_default();
        if field(8) != VERSION {
            return Err(FormatError::Version { got: field(8), reads: VERSION });
        }
        if header[SUMMED..] != sha256(&header[..SUMMED]) {
            return Err(FormatError::Checksum("header"));
        }
        let algorithms = Algorithms::from_bits(field(12))
            .ok_or(FormatError::Value("its header names unknown algorithms"))?;
        let count = |at| usize::try_from(field(at)).unwrap_or(usize::MAX);
        let files = Table { at: HEADER, row: FILE + algorithms.row_len(), count: count(16) };
        let links = Table { at: files.end(), row: LINK, count: count(20) };
        let word = |at| u64_at(header, at).unwrap_or_default();
        let names_len = usize::try_from(word(24)).unwrap_or(usize::MAX);
        let names = links.end()..links.end().saturating_add(names_len);
        let canonical = word(32);
        if names.end.checked_next_multiple_of(8).map(|end| end as u64) != Some(canonical)
            || canonical > got
        {
            return Err(FormatError::Length { expected: canonical, got });
        }
        let canonical = names.end.next_multiple_of(8);
        Ok(Self { algorithms, files, links, names, canonical, bytes })
    }

    /// Checks every byte: the checksum of the body, the order of the rows, that each can be
    /// read, and that paths are canonical. Opening does none of this.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn verify(&self) -> Result<(), FormatError> {
        let all = self.canonical_bytes();
        if all.get(HEADER..).map(sha256) != array(all, 40) {
            return Err(FormatError::Checksum("body"));
        }
        let mut last: &[u8] = &[];
        for index in 0..self.len() {
            let entry = self.get(index).ok_or(FormatError::Value("a file can't be read"))?;
            if entry.path <= last {
                return Err(FormatError::Value("its files are not sorted"));
            }
            if !is_canonical(entry.path) {
                return Err(FormatError::Value("a file's path is not canonical"));
            }
            last = entry.path;
        }
        let mut last: &[u8] = &[];
        for index in 0..self.links.count {
            let link = self.link(index).ok_or(FormatError::Value("a link can't be read"))?;
            if link.path <= last {
                return Err(FormatError::Value("its symbolic links are not sorted"));
            }
            if !is_canonical(link.path) {
                return Err(FormatError::Value("a symbolic link's path is not canonical"));
            }
            last = link.path;
        }
        self.provenance().map(drop)
    }

    /// What names this baseline: a digest over its canonical part, equal for equal content
    /// whatever it was made from.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::sha256(array(self.bytes.get(), SUMMED).unwrap_or_default())
    }

    /// The bytes that content alone decides, without the provenance.
    #[must_use]
    pub fn canonical_bytes(&self) -> &[u8] {
        self.bytes.get().get(..self.canonical).unwrap_or_default()
    }

    /// All its bytes, as [`Baseline::write`] writes them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get()
    }

    /// Which layer each file came from, where that is recorded.
    ///
    /// # Errors
    /// When something else follows the canonical part.
    pub fn provenance(&self) -> Result<Option<Provenance<'_>>, FormatError> {
        match self.bytes.get().get(self.canonical..).unwrap_or_default() {
            [] => Ok(None),
            rest => Provenance::parse(rest, self.len()).map(Some),
        }
    }

    /// The digests that each file has.
    #[must_use]
    pub const fn algorithms(&self) -> Algorithms {
        self.algorithms
    }

    /// How many files it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.files.count
    }

    /// Whether it allows nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.files.count == 0
    }

    /// Its files, by path.
    pub fn files(&self) -> impl ExactSizeIterator<Item = Option<Entry<'_>>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The image's symbolic links, by path.
    pub fn links(&self) -> impl ExactSizeIterator<Item = Option<Link<'_>>> {
        (0..self.links.count).map(|index| self.link(index))
    }

    /// The file at that place; `None` past the end, or when the file is broken there.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Entry<'_>> {
        let row = self.files.row(self.bytes.get(), index)?;
        Some(Entry {
            path: self.name(u32_at(row, 0)?, u16_at(row, 4)?)?,
            kind: kind_of(*row.get(6)?)?,
            size: u64_at(row, 8)?,
            algorithms: self.algorithms,
            row: row.get(FILE..)?,
        })
    }

    fn link(&self, index: usize) -> Option<Link<'_>> {
        let row = self.links.row(self.bytes.get(), index)?;
        Some(Link {
            path: self.name(u32_at(row, 0)?, u16_at(row, 4)?)?,
            target: self.name(u32_at(row, 8)?, u16_at(row, 6)?)?,
        })
    }

    fn name(&self, at: u32, len: u16) -> Option<&[u8]> {
        let names = self.bytes.get().get(self.names.clone())?;
        let at = usize::try_from(at).ok()?;
        names.get(at..at.checked_add(len.into())?)
    }

    /// Where the file of exactly that path is.
    pub(crate) fn position(&self, path: &[u8]) -> Option<usize> {
        search(self.files.count, path, |index| self.get(index).map(|entry| entry.path))
    }

    /// The target of the symbolic link of exactly that path.
    pub(crate) fn target(&self, path: &[u8]) -> Option<&[u8]> {
        let index = search(self.links.count, path, |index| self.link(index).map(|link| link.path))?;
        self.link(index).map(|link| link.target)
    }

    /// Writes it for everybody to map: beside `path`, flushed, then renamed over it.
    ///
    /// # Errors
    /// When a call fails; `path` is then what it was.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        write_atomically(path, self.bytes.get())
    }
}

impl Table {
    fn end(&self) -> usize {
        self.at.saturating_add(self.row.saturating_mul(self.count))
    }

    fn row<'a>(&self, all: &'a [u8], index: usize) -> Option<&'a [u8]> {
        if index >= self.count {
            return None;
        }
        let at = self.at.checked_add(self.row.checked_mul(index)?)?;
        all.get(at..at.checked_add(self.row)?)
    }
}

fn is_canonical(path: &[u8]) -> bool {
    CanonicalPath::new(path).is_ok_and(|canonical| canonical.as_bytes() == path)
}

/// Binary search that a broken table can only make miss.
fn search<'a>(count: usize, path: &[u8], at: impl Fn(usize) -> Option<&'a [u8]>) -> Option<usize> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        match at(middle)?.cmp(path) {
            std::cmp::Ordering::Equal => return Some(middle),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

/// Opens a file that only root or the caller could have written.
pub(crate) fn open_trusted(path: &Path) -> Result<File, Error> {
    let file = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|e| Error::io("open", path, e))?;
    let meta = file.metadata().map_err(|e| Error::io("stat", path, e))?;
    if !meta.is_file() {
        let source = std::io::Error::other("it is not a regular file");
        return Err(Error::io("open", path, source));
    }
    let owned = meta.uid() == 0 || meta.uid() == rustix::process::geteuid().as_raw();
    if !owned || meta.mode() & 0o022 != 0 {
        let (uid, mode) = (meta.uid(), meta.mode() & 0o7777);
        return Err(Error::Untrusted { path: path.to_owned(), uid, mode });
    }
    Ok(file)
}

pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let io = |e| Error::io("write", path, e);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".lacre-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(dir)
        .map_err(io)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)
}
