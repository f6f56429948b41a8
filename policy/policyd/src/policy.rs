//! The policy in force, and why the file as it is now may not be.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use lacre_policy::{Errors, Policy};
use lacre_types::chain;
use sha2::Digest as _;
use tokio::sync::watch;

/// A policy file is read up to here; what the parser takes is less.
const READ: u64 = 8 * 1024 * 1024;

/// A policy that was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// `sha256:` of its file.
    pub version: String,
    /// What the loader warned of.
    pub warnings: Vec<String>,
    /// When.
    pub at: SystemTime,
}

/// Why a policy file is not in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("reading the policy {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// It is not a policy.
    #[error("{0}")]
    Parse(Errors),
}

/// What a reload did.
#[derive(Debug)]
pub enum Reloaded {
    /// The file has not changed.
    Same,
    /// Another policy is in force.
    Changed(Arc<Loaded>),
    /// The file is broken; the policy from before stays.
    Kept(LoadError),
    /// It is still broken, as was said before.
    StillBroken,
}

/// The policy in force.
#[derive(Debug)]
pub struct Current {
    file: PathBuf,
    loaded: watch::Sender<Arc<Loaded>>,
    error: Mutex<Option<String>>,
}

impl Current {
    /// Loads the file.
    ///
    /// # Errors
    /// When it cannot be read, or is not a policy: at the start there is none to keep.
    pub fn load(file: &Path) -> Result<Self, LoadError> {
        let loaded = watch::Sender::new(Arc::new(load(file)?));
        Ok(Self { file: file.to_owned(), loaded, error: Mutex::new(None) })
    }

    /// Its file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The policy now.
    #[must_use]
    pub fn get(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.borrow())
    }

    /// Tells of every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Loaded>> {
        self.loaded.subscribe()
    }

    /// Why the file as it is now is not in force.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again.
    pub fn reload(&self) -> Reloaded {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        match load(&self.file) {
            Ok(fresh) => {
                let was_broken = error.take().is_some();
                if fresh.version == self.loaded.borrow().version && !was_broken {
                    return Reloaded::Same;
                }
                let fresh = Arc::new(fresh);
                self.loaded.send_replace(Arc::clone(&fresh));
                Reloaded::Changed(fresh)
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
}

fn load(file: &Path) -> Result<Loaded, LoadError> {
    let mut text = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(READ).read_to_end(&mut text))
        .map_err(|error| LoadError::Read(file.to_owned(), error))?;
    let name = file.display().to_string();
    let (policy, warnings) = Policy::parse(&name, &text).map_err(LoadError::Parse)?;
    let mut version = "sha256:".to_owned();
    for byte in sha2::Sha256::digest(&text) {
        let _ = write!(version, "{byte:02x}");
    }
    let warnings = warnings.iter().map(ToString::to_string).collect();
    Ok(Loaded { policy, version, warnings, at: SystemTime::now() })
}
