//! A file that is followed: what it says is in force until it says something else that is
//! good.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use lacre_types::chain;
use sha2::Digest as _;
use tokio::sync::watch;

/// A file is read up to here; what parsers take is less.
const MOST: u64 = 64 << 20;

/// What a file may say.
pub trait Content: Sized {
    /// What it is, in the log.
    const WHAT: &'static str;
    /// Why a file is none.
    type Error: std::error::Error + 'static;

    /// Reads it. `file` is for messages, and for the files that it names.
    ///
    /// # Errors
    /// When it is none.
    fn parse(file: &Path, text: &[u8]) -> Result<Self, Self::Error>;

    /// Whether the files that it names are as they were.
    fn is_current(&self) -> bool {
        true
    }
}

/// What a file said.
#[derive(Debug)]
pub struct Loaded<T> {
    content: T,
    /// `sha256:` of the file.
    pub version: String,
    /// When it was read.
    pub at: SystemTime,
}

impl<T> Deref for Loaded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

/// Why a file is not in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError<E: std::error::Error + 'static> {
    /// It cannot be read.
    #[error("reading {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// It says nothing that can be followed.
    #[error(transparent)]
    Content(E),
}

/// What came of reading a file again.
#[derive(Debug)]
pub enum Reloaded<T: Content> {
    /// Nothing has changed.
    Same,
    /// It says something else, which is good, and not in force yet.
    Fresh(Arc<Loaded<T>>),
    /// It is broken; what it said before stays.
    Kept(LoadError<T::Error>),
    /// It is still broken, as was said before.
    StillBroken,
}

/// A file, and what of it is in force.
#[derive(Debug)]
pub struct Followed<T> {
    file: PathBuf,
    loaded: watch::Sender<Arc<Loaded<T>>>,
    error: Mutex<Option<String>>,
}

impl<T: Content> Followed<T> {
    /// Loads the file.
    ///
    /// # Errors
    /// When it cannot be read, or is broken: at the start there is nothing to keep.
    pub fn load(file: &Path) -> Result<Self, LoadError<T::Error>> {
        let text = read(file)?;
        let loaded = watch::Sender::new(parse(file, &text, version(&text))?);
        Ok(Self { file: file.to_owned(), loaded, error: Mutex::new(None) })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What is in force.
    #[must_use]
    pub fn get(&self) -> Arc<Loaded<T>> {
        Arc::clone(&self.loaded.borrow())
    }

    /// Tells of every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Loaded<T>>> {
        self.loaded.subscribe()
    }

    /// Why the file as it is now is not in force.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again, unless neither it nor one that it names changed.
    pub fn read_again(&self) -> Reloaded<T> {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = read(&self.file).and_then(|text| {
            let version = version(&text);
            let loaded = self.get();
            if error.is_none() && version == loaded.version && loaded.is_current() {
                return Ok(None);
            }
            parse(&self.file, &text, version).map(Some)
        });
        match fresh {
            Ok(None) => Reloaded::Same,
            Ok(Some(fresh)) => {
                *error = None;
                Reloaded::Fresh(fresh)
            }
            Err(why) => {
                let text = chain(&why);
                if error.replace(text.clone()) == Some(text) {
                    return Reloaded::StillBroken;
                }
                Reloaded::Kept(why)
            }
        }
    }

    /// Puts that in force.
    pub fn put(&self, fresh: Arc<Loaded<T>>) {
        self.loaded.send_replace(fresh);
    }
}

fn read<E: std::error::Error>(file: &Path) -> Result<Vec<u8>, LoadError<E>> {
    let mut text = Vec::new();
    let opened = std::fs::File::open(file);
    // One byte more: a part of a file may say something else than all of it.
    let read = opened.and_then(|opened| opened.take(MOST + 1).read_to_end(&mut text));
    let read = match read {
        Ok(_) if text.len() as u64 > MOST => Err(io::ErrorKind::FileTooLarge.into()),
        read => read,
    };
    read.map(|_| text).map_err(|error| LoadError::Read(file.to_owned(), error))
}

pub(crate) fn version(text: &[u8]) -> String {
    let mut version = "sha256:".to_owned();
    for byte in sha2::Sha256::digest(text) {
        let _ = write!(version, "{byte:02x}");
    }
    version
}

fn parse<T: Content>(
    file: &Path,
    text: &[u8],
    version: String,
) -> Result<Arc<Loaded<T>>, LoadError<T::Error>> {
    let content = T::parse(file, text).map_err(LoadError::Content)?;
    Ok(Arc::new(Loaded { content, version, at: SystemTime::now() }))
}
