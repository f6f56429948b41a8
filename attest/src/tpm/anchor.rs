//! Lists that the shim keeps, where the kernel keeps none (Blanchard's way): the same
//! form, the same secret, a PCR of their own. Evidence of what the shim told, and no more:
//! whoever is root before a batch is extended can alter it.
//!
//! Whoever measures only appends to a file and to memory. A thread extends what gathered,
//! in one batch whatever its size, and waits for the TPM alone.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use lacre_types::{Algorithm, Digest};

use super::connection::Tpm;
use super::error::TpmError;
use super::journal::{Extend, Journal, JournalError};
use crate::container::{Key, Recorded, Secret, Tagged};
use crate::tpm2::Selection;

/// Events that may wait for the TPM, 64 bytes each: more than a container's every file, and
/// 4 MiB. When they are full, lists say that lines are missing.
const MAX_PENDING: usize = 65_536;

/// How long events gather before they are extended, and how long until a TPM that failed is
/// asked again.
const GATHER: Duration = Duration::from_millis(20);
const RETRY: Duration = Duration::from_secs(1);

impl Extend for Tpm {
    fn extend(&mut self, index: u32, events: Vec<Digest>) -> Result<(), TpmError> {
        Self::extend(self, index, events)
    }

    fn value(&mut self, index: u32) -> Result<Digest, TpmError> {
        let read = self.read(&Selection::of(Algorithm::Sha256, [index]))?;
        let value = read.get(&Algorithm::Sha256).and_then(|pcrs| pcrs.get(&index));
        value.copied().ok_or(TpmError::Answer("PCR"))
    }
}

/// A TPM that is opened when it is needed, and again when it went away.
#[derive(Debug)]
pub struct PcrOf {
    tcti: String,
    deadline: Duration,
    tpm: Option<Tpm>,
}

impl PcrOf {
    /// The TPM of that TCTI.
    #[must_use]
    pub const fn new(tcti: String, deadline: Duration) -> Self {
        Self { tcti, deadline, tpm: None }
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&mut Tpm) -> Result<T, TpmError>) -> Result<T, TpmError> {
        let mut tpm = match self.tpm.take() {
            Some(tpm) => tpm,
            None => Tpm::open(&self.tcti, self.deadline)?,
        };
        let done = ask(&mut tpm);
        // One that broke off, or is late, is opened anew.
        if !matches!(done, Err(TpmError::Gone { .. } | TpmError::Ended { .. })) {
            self.tpm = Some(tpm);
        }
        done
    }
}

impl Extend for PcrOf {
    fn extend(&mut self, index: u32, events: Vec<Digest>) -> Result<(), TpmError> {
        self.ask(|tpm| Extend::extend(tpm, index, events))
    }

    fn value(&mut self, index: u32) -> Result<Digest, TpmError> {
        self.ask(|tpm| Extend::value(tpm, index))
    }
}

#[derive(Debug, Default)]
struct Shared {
    pending: Vec<Tagged>,
    /// How many events were handed in, and how many of them are extended.
    handed: u64,
    anchored: u64,
    failure: Option<String>,
    ended: bool,
}

/// How far events are anchored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    /// How many events wait for the TPM.
    pub waiting: u64,
    /// Why the last try failed, while it does.
    pub failure: Option<String>,
}

/// The thread that anchors lists.
#[derive(Debug)]
pub struct Anchor {
    journal: Journal,
    shared: Arc<(Mutex<Shared>, Condvar)>,
}

/// Why a list does not take a line.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Its file can't be written.
    #[error("cannot write the container's list")]
    Write(#[source] io::Error),
    /// Too many events wait for the TPM.
    #[error("the TPM is behind by {MAX_PENDING} events: this line is missing from the list")]
    Full,
}

impl Anchor {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(journal: Journal, mut tpm: impl Extend + 'static) -> io::Result<Self> {
        let shared: Arc<(Mutex<Shared>, Condvar)> = Arc::default();
        let (own, files) = (Arc::clone(&shared), journal.clone());
        thread::Builder::new()
            .name("anchor".to_owned())
            .spawn(move || while batch(&own, &files, &mut tpm) {})?;
        Ok(Self { journal, shared })
    }

    /// Begins a container's list.
    ///
    /// # Errors
    /// When its file can't be made.
    pub fn create(&self, id: &str, secret: &Secret) -> Result<(List, u64), JournalError> {
        let seq = self.journal.next_seq()?;
        let path = self.journal.list(seq);
        let opened = File::options().append(true).create_new(true).mode(0o600).open(&path);
        let file = opened.map_err(|source| JournalError::Io { doing: "make", path, source })?;
        let (recorded, event) = Recorded::create(Key::new(secret, seq, id), self.journal.pcr());
        let mut list = List { recorded, file, shared: Arc::clone(&self.shared), lost: false };
        list.hand(event);
        Ok((list, seq))
    }

    /// How far it is.
    #[must_use]
    pub fn anchored(&self) -> Anchored {
        let shared = lock(&self.shared.0);
        Anchored { waiting: shared.handed - shared.anchored, failure: shared.failure.clone() }
    }

    /// Waits until all that was handed in so far is extended, or until the time is up.
    #[must_use]
    pub fn wait(&self, time: Duration) -> bool {
        let (mutex, changed) = &*self.shared;
        let shared = lock(mutex);
        let goal = shared.handed;
        let waited = changed.wait_timeout_while(shared, time, |shared| shared.anchored < goal);
        waited.map(|(shared, _)| shared.anchored >= goal).unwrap_or(false)
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        lock(&self.shared.0).ended = true;
        self.shared.1.notify_all();
    }
}

/// A list has no state that a panic could leave half done.
fn lock(mutex: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Anchors what gathered. Whether to go on.
fn batch(shared: &(Mutex<Shared>, Condvar), journal: &Journal, tpm: &mut dyn Extend) -> bool {
    let (mutex, changed) = shared;
    let waited = changed.wait_while(lock(mutex), |s| s.pending.is_empty() && !s.ended);
    let waiting = waited.unwrap_or_else(PoisonError::into_inner);
    if waiting.pending.is_empty() {
        return false;
    }
    // Room for what comes at once: one extend then serves all of it.
    let waited = changed.wait_timeout_while(waiting, GATHER, |shared| !shared.ended);
    let events = waited.unwrap_or_else(PoisonError::into_inner).0.pending.clone();
    let done = journal.anchor(tpm, &events);
    let mut state = lock(mutex);
    match done {
        Ok(()) => {
            state.pending.drain(..events.len());
            state.anchored += events.len() as u64;
            state.failure = None;
            changed.notify_all();
            true
        }
        Err(error) => {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            state.failure = Some(format!("{error}{cause}"));
            changed.notify_all();
            // A TPM that is away comes back; a container's end does not wait for it.
            let state = changed.wait_timeout_while(state, RETRY, |shared| !shared.ended);
            !state.unwrap_or_else(PoisonError::into_inner).0.ended
        }
    }
}

/// A container's list.
#[derive(Debug)]
pub struct List {
    recorded: Recorded,
    file: File,
    shared: Arc<(Mutex<Shared>, Condvar)>,
    /// Whether the last line was not taken.
    lost: bool,
}

impl List {
    /// Adds what was measured.
    ///
    /// # Errors
    /// When the line is missing from the list: a line that says so follows when it can.
    pub fn push(&mut self, digest: &Digest, name: &[u8]) -> Result<(), ListError> {
        if lock(&self.shared.0).pending.len() >= MAX_PENDING {
            self.lost = true;
            return Err(ListError::Full);
        }
        if self.lost {
            let (entry, event) = self.recorded.overflow();
            self.append(&entry, event)?;
            self.lost = false;
        }
        let (entry, event) = self.recorded.file(digest, name);
        self.append(&entry, event)
    }

    /// Ends the list: nothing can be added to it unseen.
    pub fn close(mut self) {
        let event = self.recorded.close();
        self.hand(event);
    }

    /// The event goes to the TPM even where the file can't be written: then the list is
    /// seen to be cut.
    fn append(&mut self, entry: &[u8], event: Tagged) -> Result<(), ListError> {
        self.hand(event);
        self.file.write_all(entry).map_err(ListError::Write)
    }

    fn hand(&mut self, event: Tagged) {
        let mut shared = lock(&self.shared.0);
        shared.pending.push(event);
        shared.handed += 1;
        self.shared.1.notify_all();
    }
}
