use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacre_types::{CanonicalPath, FileId, Known, Source};

use super::abi::Counters;
use super::container::{self, Slot};
use super::reader::{Feed, read};
use super::watch::Watch;
use super::{Allower, programs::failed};
use crate::files::{self, Digests, Layers};
use crate::process::Held;
use crate::reader::Reader;
use crate::{Armed, Judge, Rest, SourceError};

/// `exec-trace` at work on one container.
#[derive(Debug)]
pub struct ExecTraceArmed {
    init_pid: u32,
    allower: Allower,
    reader: Option<Reader>,
    /// `None` once it is disarmed.
    slot: Option<Slot>,
}

impl ExecTraceArmed {
    /// Starts the reader; what it reads begins with [`Self::arm`].
    pub(super) fn start(
        slot: Slot,
        layers: Layers,
        init: Held,
        known: Arc<dyn Known>,
        judge: Arc<dyn Judge>,
    ) -> Result<Self, SourceError> {
        let doing = |why| failed("starting the reader of events".to_owned(), why);
        let init_pid = init.pid();
        let verdicts = slot.verdicts.clone();
        let allower = Allower { verdicts: verdicts.clone(), layers: layers.clone() };
        let feed = Feed::of(&slot).map_err(doing)?;
        let watch = Watch { judge, known, layers, verdicts, init, digests: Digests::default() };
        let reader = Reader::start("exec-trace", move |stopped| read(watch, &feed, &stopped))
            .map_err(doing)?;
        Ok(Self { init_pid, allower, reader: Some(reader), slot: Some(slot) })
    }

    pub(super) fn arm(&self, flags: u32) -> Result<(), SourceError> {
        self.slot.as_ref().map_or(Ok(()), |slot| slot.arm(self.init_pid, flags))
    }

    /// Allows files, from any thread.
    #[must_use]
    pub fn allower(&self) -> Allower {
        self.allower.clone()
    }

    /// The identity of the real file at a path of the container.
    ///
    /// # Errors
    /// When there is none, it is not a regular file, or it can't be told which.
    pub fn resolve(&self, path: &CanonicalPath) -> io::Result<FileId> {
        let root = PathBuf::from(format!("/proc/{}/root", self.init_pid));
        self.allower.identity(files::open_in(&root, path.as_bytes())?.as_fd())
    }

    /// Takes a process in that no exec in the container's mount namespace brought in: a
    /// container that shares the host's has no other sign.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn adopt(&self, pid: u32) -> Result<(), SourceError> {
        self.slot.as_ref().map_or(Ok(()), |slot| container::tag(&slot.programs, slot.number, pid))
    }

    /// What the programs counted so far.
    #[must_use]
    pub fn counters(&self) -> Option<Counters> {
        self.slot.as_ref().and_then(|slot| container::counters(&slot.programs.slots, slot.number))
    }

    /// Where this version of the programs is pinned.
    #[must_use]
    pub fn pinned(&self) -> &Path {
        self.slot.as_ref().map_or(Path::new(""), |slot| slot.programs.dir())
    }

    /// Ends the reading and leaves the container guarded, until
    /// [`remove_container`](super::remove_container).
    pub fn leave(mut self) {
        if let Some(slot) = &mut self.slot {
            slot.keep();
        }
    }
}

impl Armed for ExecTraceArmed {
    fn source(&self) -> Source {
        Source::ExecTrace
    }

    fn disarm(mut self: Box<Self>) -> Option<Rest> {
        let slot = self.slot.take()?;
        slot.disarm();
        self.reader = None;
        Some(Box::new(move || drop(slot)))
    }
}

impl Drop for ExecTraceArmed {
    fn drop(&mut self) {
        // Before the reader goes: until then it may be told something.
        self.slot = None;
        self.reader = None;
    }
}
