//! The group that tells of changed attributes and names, and who listens to it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lacre_sys::attributes::{Attributes, Handle, Place, Told};

/// A container that is told of directories and files of its own.
pub(crate) trait Listener: Send + Sync {
    /// Takes note of what changed, if the directory or the file is its own. On the thread of
    /// whichever listener reads, so it waits for nothing.
    fn told(self: Arc<Self>, at: Option<&Place>, file: Option<&Handle>);

    /// Events were lost, and nobody knows whose.
    fn overflowed(self: Arc<Self>);
}

/// One group for all containers of a shim.
pub(crate) struct Telling {
    group: Attributes,
    /// Also held while what was read is handed out: who finds nothing to read has then been
    /// told what another has read.
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
}

impl std::fmt::Debug for Telling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telling").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Telling {
    pub(super) fn of(group: Attributes) -> Self {
        Self { group, listeners: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Listener>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it told, until it is dropped; to be called before the first [`Self::watch`].
    pub(crate) fn join(&self, listener: Weak<dyn Listener>) {
        let mut listeners = self.lock();
        listeners.retain(|other| other.strong_count() > 0);
        listeners.push(listener);
    }

    /// From now on what changes in the directory is told.
    ///
    /// # Errors
    /// As [`Attributes::watch`].
    pub(crate) fn watch(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        self.group.watch(dir)
    }

    /// From now on it is not.
    pub(crate) fn unwatch(&self, dir: BorrowedFd<'_>) {
        // What is gone took its mark with it.
        let _ = self.group.unwatch(dir);
    }

    /// From now on it is told when the file changes, by its handle.
    ///
    /// # Errors
    /// As [`Attributes::watch_file`].
    pub(crate) fn watch_file(&self, file: BorrowedFd<'_>) -> io::Result<Handle> {
        self.group.watch_file(file)
    }

    /// From now on it is not.
    pub(crate) fn unwatch_file(&self, file: BorrowedFd<'_>) {
        let _ = self.group.unwatch_file(file);
    }

    /// Hands out what is queued. Every listener calls it where [`Self::as_fd`] is readable:
    /// none waits for another's thread.
    ///
    /// # Errors
    /// As [`Attributes::read`].
    pub(crate) fn hand_out(&self) -> io::Result<()> {
        let listeners = self.lock();
        loop {
            let told = self.group.read()?;
            if told.is_empty() {
                return Ok(());
            }
            let living = || listeners.iter().filter_map(Weak::upgrade);
            for told in told {
                match told {
                    Told::Changed { at, file } => {
                        living().for_each(|listener| listener.told(at.as_ref(), file.as_ref()));
                    }
                    Told::Overflow => living().for_each(|listener| listener.overflowed()),
                }
            }
        }
    }
}

impl AsFd for Telling {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}
