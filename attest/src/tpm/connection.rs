//! A connection to a TPM, on a thread of its own.
//!
//! A TPM may take half a second for a quote, or never answer at all. One thread owns the
//! connection; who asks waits no longer than the deadline, and then has an error that says
//! so. While an answer is owed that was waited for that long, further questions are refused at
//! once; one that was waiting behind it by then is never put.

use std::fs::OpenOptions;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use lacre_types::Digest;

use super::commands::{self, AttestationKey, Endorsement, KeyKind, Pcrs, Quote, State};
use super::error::TpmError;
use crate::tpm2::{Credential, Selection};

/// How long a TPM may take: some take 500 ms for a quote and 10 s for an RSA key.
pub const DEADLINE: Duration = Duration::from_secs(15);

type Job = Box<dyn FnOnce(&mut State) + Send>;

/// A connection to a TPM.
#[derive(Debug)]
pub struct Tpm {
    /// Room for one job behind the one that the thread is at. `None` when it is to end.
    jobs: Option<SyncSender<Job>>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    /// Whether an answer is owed that was waited for too long.
    late: Arc<AtomicBool>,
    deadline: Duration,
}

impl Drop for Tpm {
    /// Keys that a process leaves loaded when it ends stay in a TPM without a resource
    /// manager, which has room for three.
    fn drop(&mut self) {
        self.jobs = None;
        if !self.late.load(Ordering::Acquire) {
            let _ = self.ended.recv_timeout(self.deadline);
        }
    }
}

/// Why there is no way to it, where the system says so: libtss2 has one number for all.
fn absent(tcti: &str) -> Option<std::io::Error> {
    match tcti.split_once(':')? {
        ("device", path) => OpenOptions::new().read(true).write(true).open(path).err(),
        (_, place) => {
            let mut words = place.split(',').filter_map(|word| word.split_once('='));
            let mut word = |of: &str| Some(words.find(|(name, _)| *name == of)?.1);
            let (host, port) = (word("host")?, word("port")?);
            TcpStream::connect((host, port.parse().ok()?)).err()
        }
    }
}

impl Tpm {
    /// Connects to a TPM by its TCTI: `device:/dev/tpmrm0`, or `swtpm:host=H,port=P`.
    ///
    /// # Errors
    /// When there is none, or it does not answer in time.
    pub fn open(tcti: &str, deadline: Duration) -> Result<Self, TpmError> {
        let parsed = commands::parse_tcti(tcti)?;
        let (jobs, queue) = sync_channel::<Job>(1);
        let (opened, answer) = sync_channel(1);
        let (ending, ended) = sync_channel::<()>(0);
        thread::Builder::new()
            .name("tpm".to_owned())
            .spawn(move || {
                let mut state = match State::open(parsed) {
                    Ok(state) => state,
                    Err(error) => {
                        let _ = opened.send(Err(error));
                        return;
                    }
                };
                let _ = opened.send(Ok(()));
                for job in queue {
                    job(&mut state);
                }
                drop(state);
                drop(ending);
            })
            .map_err(TpmError::Thread)?;
        match answer.recv_timeout(deadline) {
            Ok(Ok(())) => Ok(Self { jobs: Some(jobs), ended, late: Arc::default(), deadline }),
            Ok(Err(source)) => {
                let tcti = tcti.to_owned();
                Err(match absent(&tcti) {
                    Some(source) => TpmError::Absent { tcti, source },
                    None => TpmError::Open { tcti, source },
                })
            }
            Err(_) => Err(TpmError::TimedOut { doing: "connect to it", after: deadline }),
        }
    }

    /// The same, with another deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs a command on the thread.
    fn ask<T: Send + 'static>(
        &self,
        doing: &'static str,
        command: impl FnOnce(&mut State) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        if self.late.load(Ordering::Acquire) {
            return Err(TpmError::Busy { doing });
        }
        let (reply, answer) = sync_channel(1);
        let (late, given_up) = (Arc::clone(&self.late), Arc::new(AtomicBool::new(false)));
        let unwanted = Arc::clone(&given_up);
        let job: Job = Box::new(move |state| {
            if !unwanted.load(Ordering::Acquire) {
                let _ = reply.send(command(state));
            }
            // After the answer: who gives up looks for it once more after saying so.
            late.store(false, Ordering::Release);
        });
        let Some(jobs) = &self.jobs else { return Err(TpmError::Ended { doing }) };
        match jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(TpmError::Busy { doing }),
            Err(TrySendError::Disconnected(_)) => return Err(TpmError::Ended { doing }),
        }
        match answer.recv_timeout(self.deadline) {
            Ok(done) => done,
            Err(RecvTimeoutError::Timeout) => {
                // In this order: a job that finds itself given up clears what was set before.
                self.late.store(true, Ordering::Release);
                given_up.store(true, Ordering::Release);
                answer
                    .try_recv()
                    .inspect(|_| self.late.store(false, Ordering::Release))
                    .unwrap_or(Err(TpmError::TimedOut { doing, after: self.deadline }))
            }
            Err(RecvTimeoutError::Disconnected) => Err(TpmError::Ended { doing }),
        }
    }

    /// The endorsement key, made anew from its template (the TPM always makes the same),
    /// and its certificate where the TPM holds one.
    ///
    /// # Errors
    /// When the TPM refuses, is gone, or does not answer in time.
    pub fn endorsement(&self, kind: KeyKind) -> Result<Endorsement, TpmError> {
        self.ask("make its endorsement key", move |state| state.endorsement(kind))
    }

    /// Makes an attestation key beneath the endorsement key of kind `parent`, and loads it.
    /// What is returned can be kept: only this TPM can load it again.
    ///
    /// # Errors
    /// When the TPM refuses, is gone, or does not answer in time.
    pub fn create_ak(&self, parent: KeyKind, kind: KeyKind) -> Result<AttestationKey, TpmError> {
        self.ask("make an attestation key", move |state| state.create_ak(parent, kind))
    }

    /// Loads an attestation key that this TPM made.
    ///
    /// # Errors
    /// When it is another TPM's, or the TPM refuses, is gone, or does not answer in time.
    pub fn load_ak(&self, key: &AttestationKey) -> Result<(), TpmError> {
        let key = key.clone();
        self.ask("load its attestation key", move |state| state.load_ak(&key))
    }

    /// Opens a credential with the endorsement key, which proves to who made it that the
    /// loaded attestation key is this TPM's.
    ///
    /// # Errors
    /// When it was made for another key, or the TPM refuses, is gone, or does not answer.
    pub fn activate(&self, credential: &Credential) -> Result<Vec<u8>, TpmError> {
        let credential = credential.clone();
        self.ask("activate a credential", move |state| state.activate(&credential))
    }

    /// Signs the selected PCRs and the nonce with the loaded attestation key, and reads
    /// the values that it signed.
    ///
    /// # Errors
    /// When the TPM refuses, is gone, or does not answer in time.
    pub fn quote(&self, nonce: &[u8], selection: &Selection) -> Result<Quote, TpmError> {
        let (nonce, selection) = (nonce.to_vec(), selection.clone());
        self.ask("quote its PCRs", move |state| state.quote(&nonce, &selection))
    }

    /// Reads PCRs.
    ///
    /// # Errors
    /// When the TPM refuses, is gone, or does not answer in time.
    pub fn read(&self, selection: &Selection) -> Result<Pcrs, TpmError> {
        let selection = selection.clone();
        self.ask("read its PCRs", move |state| state.read(&selection))
    }

    /// Extends a PCR, each given bank with its event.
    ///
    /// # Errors
    /// When the TPM refuses, is gone, or does not answer in time. In the last case nobody
    /// can tell whether it was extended: read it.
    pub fn extend(&self, index: u32, events: Vec<Digest>) -> Result<(), TpmError> {
        self.ask("extend a PCR", move |state| state.extend(index, &events))
    }
}
