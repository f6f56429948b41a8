//! Where blobs are read from: a directory, or a tar.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacre_types::{Digest, escape};

use super::document::{Descriptor, MAX};
use super::unpack::BlobHasher;
use crate::error::{BlobError, Error};
use crate::tar::{Fault, Kind, Members, canonical};

/// Members of an archive: three per layer, and a few more.
const MEMBERS: usize = 100_000;

pub(super) enum Blobs {
    Directory(PathBuf),
    Archive(Archive),
}

/// A tar whose members are read at their place.
pub(super) struct Archive {
    path: PathBuf,
    file: Arc<File>,
    members: HashMap<Vec<u8>, Place>,
}

enum Place {
    At { offset: u64, len: u64 },
    Link(Vec<u8>),
}

/// What a layer is called where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Blob(Digest),
    File(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(digest) => write!(f, "{digest}"),
            Self::File(name) => f.write_str(&escape(name.as_bytes())),
        }
    }
}

/// A part of a file, read from a descriptor that others read too.
struct Window {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Window {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(into.len());
        let len = self.file.read_at(&mut into[..left], self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Blobs {
    pub(super) fn directory(root: &Path) -> Self {
        Self::Directory(root.to_owned())
    }

    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
        if meta.is_dir() {
            return Ok(Self::directory(path));
        }
        let file = open_regular(path).map_err(|e| Error::io("open", path, e))?;
        Archive::index(path, file).map(Self::Archive)
    }

    fn root(&self) -> &Path {
        match self {
            Self::Directory(path) => path,
            Self::Archive(archive) => &archive.path,
        }
    }

    pub(super) fn missing(&self, name: &str) -> Error {
        Error::blob(escape(name.as_bytes()), BlobError::Missing(self.root().to_owned()))
    }

    /// A document at the top, or where `manifest.json` says; `None` when it is not there.
    pub(super) fn file(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.open_file(name)? {
            Some(from) => self.document(name, from).map(Some),
            None => Ok(None),
        }
    }

    fn document(&self, name: &str, from: impl Read) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let shown = escape(name.as_bytes());
        from.take(MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| Error::blob(&shown, BlobError::Read { at: 0, source }))?;
        if bytes.len() as u64 > MAX {
            let why = format!("it has more than {MAX} bytes, no manifest is that long");
            return Err(Error::blob(shown, BlobError::Unusable(why)));
        }
        Ok(bytes)
    }

    /// A blob that is a document, checked against its descriptor.
    pub(super) fn verified(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let name = Name::Blob(descriptor.digest);
        let what = name.to_string();
        let bytes = self.document(&what, self.open_blob(&name)?)?;
        let got = bytes.len() as u64;
        if let Some(expected) = descriptor.known_size().filter(|size| *size != got) {
            return Err(Error::blob(what, BlobError::Size { expected, got }));
        }
        let mut hasher = BlobHasher::new(descriptor.digest.algorithm(), &what)?;
        hasher.update(&bytes);
        let got = hasher.finish();
        if got != descriptor.digest {
            let expected = descriptor.digest;
            return Err(Error::blob(what, BlobError::Digest { expected, got }));
        }
        Ok(bytes)
    }

    pub(super) fn open_blob(&self, name: &Name) -> Result<Box<dyn Read>, Error> {
        let path = match name {
            Name::Blob(digest) => format!("blobs/{}/{}", digest.algorithm(), digest.hex()),
            Name::File(path) => path.clone(),
        };
        self.open_file(&path)?.ok_or_else(|| self.missing(&name.to_string()))
    }

    fn open_file(&self, name: &str) -> Result<Option<Box<dyn Read>>, Error> {
        let inside = canonical(name.as_bytes())
            .map_err(|why| Error::blob(escape(name.as_bytes()), BlobError::Unusable(why)))?;
        match self {
            Self::Directory(root) => {
                // Stays below the root by name; links within are the layout's own affair,
                // whatever they lead to has to match its digest.
                let relative = String::from_utf8_lossy(&inside[1..]).into_owned();
                let path = root.join(relative);
                match open_regular(&path) {
                    Ok(file) => Ok(Some(Box::new(file))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::io("open", path, error)),
                }
            }
            Self::Archive(archive) => {
                Ok(archive.window(inside).map(|window| Box::new(window) as _))
            }
        }
    }
}

impl Archive {
    fn index(path: &Path, file: File) -> Result<Self, Error> {
        let problem = |problem: String| Error::Image { path: path.to_owned(), problem };
        let mut magic = [0; 4];
        let _ = file.read_at(&mut magic, 0).map_err(|e| Error::io("read", path, e))?;
        if magic[..2] == [0x1f, 0x8b] || magic == [0x28, 0xb5, 0x2f, 0xfd] {
            return Err(problem(
                "is compressed as a whole; unpack it first (gunzip, unzstd)".into(),
            ));
        }
        let fault = |fault| match fault {
            Fault::Read(source) => Error::io("read", path, source),
            Fault::Tar { at, fault } => {
                problem(format!("is not a usable tar at byte {at}: {fault}; save the image again"))
            }
        };
        let mut members = Members::seeking(BufReader::new(&file));
        let mut places = HashMap::new();
        while let Some(member) = members.next().map_err(fault)? {
            let name = canonical(&member.path).map_err(problem)?;
            let place = match member.kind {
                // Relative to its own folder (older `docker save`).
                Kind::Symlink => {
                    let folder = name.rsplitn(2, |byte| *byte == b'/').nth(1).unwrap_or_default();
                    Place::Link(canonical(&[folder, b"/", &member.link].concat()).map_err(problem)?)
                }
                Kind::Link => Place::Link(canonical(&member.link).map_err(problem)?),
                Kind::File if !member.sparse => {
                    Place::At { offset: members.at(), len: member.size }
                }
                _ => continue,
            };
            places.insert(name, place);
            if places.len() > MEMBERS {
                return Err(problem(format!("has more than {MEMBERS} members, no image has")));
            }
        }
        Ok(Self { path: path.to_owned(), file: Arc::new(file), members: places })
    }

    fn window(&self, mut name: Vec<u8>) -> Option<Window> {
        // `docker save` links a layer to an equal one; one hop, or a loop.
        for _ in 0..8 {
            match self.members.get(&name)? {
                Place::At { offset, len } => {
                    let end = offset.checked_add(*len)?;
                    return Some(Window { file: Arc::clone(&self.file), at: *offset, end });
                }
                Place::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

/// Never waits for a FIFO, never reads a device.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}
