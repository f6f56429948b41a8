//! All nodes: what is wanted of each, and what is thought of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lacre_attest::enrol::{Challenge, NodeState};
use lacre_attest::evidence::Evidence;
use lacre_attest::tpm2::Public;
use lacre_attest::verify::{Given, verify};
use lacre_proto::attest::Node;
use slog::{Logger, info, warn};
use tokio::sync::{Semaphore, watch};

use super::config::{Config, Reports};
use super::error::Refused;
use super::files::{Files, Opened};
use super::incident::Told;
use super::record::{Now, Record, State};
use super::tpm::{Tpm, may_enrol};
use super::upload::Upload;
use crate::clock::seconds;
use crate::reloaded_file::{Followed, Loaded};
use crate::state_file::OpenError;

/// Verifications at a time: each takes a processor for its time.
const VERIFYING: usize = 2;

/// MiB of evidence on its way, over all connections. More is refused as busy, and comes
/// again.
pub(super) const ROOM: usize = 512;

/// Seconds after which a node that had no evidence is asked again, if its interval is longer.
const AGAIN: u64 = 60;

/// How many nodes are asked in a second when all are: more wait for their verdict for so long
/// that their challenge is void.
const AT_ONCE: u64 = 100;

/// What is wanted of a node.
#[derive(Debug)]
pub(super) enum Wanted {
    /// Nothing, for so many seconds.
    Nothing(u64),
    /// To enrol.
    Enrol,
    /// Evidence.
    Evidence(Box<Challenge>),
}

/// All nodes.
#[derive(Debug)]
pub struct Book {
    /// How they are attested. Another is put in force only while `nodes` is held: who holds it
    /// knows by what a challenge was made.
    pub file: Followed<Config>,
    files: Files,
    /// Held while a file is written, so that the last to be written is the newest.
    writing: Mutex<()>,
    nodes: Mutex<BTreeMap<String, Record>>,
    /// Changes when somebody is wanted, or is thought of otherwise.
    pub(crate) changed: watch::Sender<u64>,
    verifying: Semaphore,
    pub(super) room: Arc<Semaphore>,
    pub(super) log: Logger,
}

impl Book {
    /// Reads what is known of nodes from that folder.
    ///
    /// # Errors
    /// When it can't be made or read, or a later release wrote it.
    pub fn open(file: Followed<Config>, dir: &Path, log: Logger) -> Result<Self, OpenError> {
        let interval = file.get().interval.as_secs();
        let Opened { files, mut nodes, damaged } = Files::open(dir)?;
        for damaged in damaged {
            warn!(log, "a node's file is damaged and was put aside: it must enrol again, and \
                somebody must look"; "file" => %damaged.path.display(),
                "error" => lacre_types::chain(&damaged.error));
        }
        let now = Now::read();
        for record in nodes.values_mut() {
            record.begin_to_count(&now);
            let left = interval.saturating_sub(record.age(&now));
            record.due = now.moment.seconds.saturating_add(left);
        }
        Ok(Self {
            file,
            files,
            writing: Mutex::default(),
            nodes: Mutex::new(nodes),
            changed: watch::Sender::new(0),
            verifying: Semaphore::new(VERIFYING),
            room: Arc::new(Semaphore::new(ROOM)),
            log,
        })
    }

    pub(super) fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How nodes are attested now.
    pub(super) fn config(&self) -> Arc<Loaded<Config>> {
        self.file.get()
    }

    /// Expects that of nodes from now on, and wants evidence of each. What was asked by what
    /// was expected before is void, and no fault of theirs.
    pub fn expect(&self, config: Arc<Loaded<Config>>) {
        {
            let mut nodes = self.nodes();
            self.file.put(config);
            for (due, record) in (seconds() * AT_ONCE..).zip(nodes.values_mut()) {
                record.known.challenge = None;
                record.due = record.due.min(due / AT_ONCE);
            }
        }
        self.tell();
    }

    pub(super) fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// What is thought of that node.
    #[must_use]
    pub fn state(&self, principal: &str) -> State {
        let nodes = self.nodes();
        nodes.get(principal).map_or(State::Unenrolled, |record| self.state_of(record))
    }

    /// Who has another TPM than the inventory says is not enrolled; what it showed stays.
    fn state_of(&self, record: &Record) -> State {
        let config = self.config();
        match record.state(&Now::read(), config.interval) {
            State::Untrusted => State::Untrusted,
            _ if !config.may_have(&record.principal, &record.known.ek_name) => State::Unenrolled,
            state => state,
        }
    }

    /// How many are enrolled.
    pub(crate) fn count(&self) -> usize {
        self.nodes().len()
    }

    /// Says of whom nothing was heard for too long, once each time.
    pub(crate) fn tell_of_silence(&self) {
        let (now, interval) = (Now::read(), self.config().interval);
        for record in self.nodes().values_mut() {
            let silent = record.is_silent(&now, interval);
            if silent && !record.silent {
                warn!(self.log, "a node has fallen silent"; "principal" => &record.principal,
                    "node" => &record.known.node, "seconds" => record.age(&now));
            }
            record.silent = silent;
        }
    }

    /// Since when that node is known to show what is not the truth.
    #[must_use]
    pub fn tampered(&self, principal: &str) -> Option<u64> {
        self.nodes().get(principal)?.tampered()
    }

    /// Whether reports of that node are refused, and what is thought of it.
    #[must_use]
    pub fn refuses(&self, principal: &str) -> (bool, State) {
        let state = self.state(principal);
        (self.config().reports == Reports::Refuse && state != State::Trusted, state)
    }

    pub(super) fn wanted(
        &self,
        principal: &str,
        ak: Option<&[u8]>,
        first: bool,
        nonce: [u8; 32],
    ) -> Wanted {
        let mut nodes = self.nodes();
        let Some(record) = nodes.get_mut(principal) else { return Wanted::Enrol };
        let (now, config) = (seconds(), self.config());
        let pinned = config.may_have(principal, &record.known.ek_name);
        if ak != Some(&*record.known.ak_name) || !pinned {
            return Wanted::Enrol;
        }
        let within = config.within.as_secs();
        if first || record.due <= now {
            record.due = now + within;
            let selection = config.selection(principal);
            let judged_by = config.expected(principal).judged_by();
            let known = &mut record.known;
            let challenge = known.challenge(nonce, selection, Some(&judged_by), now, within);
            return Wanted::Evidence(Box::new(challenge));
        }
        Wanted::Nothing(record.due - now)
    }

    /// Whether a node with that endorsement key may be enrolled under that principal.
    pub(super) fn may_enrol(&self, principal: &str, ek: &Public) -> Result<(), Refused> {
        let tpm = Tpm { name: &ek.name(), key: Some(&ek.fingerprint()) };
        may_enrol(&self.nodes(), &self.config(), principal, &tpm)
    }

    pub(super) fn enrol(&self, principal: &str, known: NodeState) -> Result<(), Refused> {
        {
            let mut nodes = self.nodes();
            // Others may have enrolled since it was asked for.
            may_enrol(&nodes, &self.config(), principal, &Tpm::of(&known))?;
            let (before, now) = (nodes.get(principal), Now::read());
            let mut record = Record::enrolled(principal, known, before, &now);
            if before.is_none() && self.files.was_damaged(principal) {
                record.has_lost_its_past(&now);
            }
            let looked = before.is_some_and(|before| before.incident().is_some());
            if !looked && record.incident().is_some() {
                warn!(self.log, "somebody must look at how a node enrolled";
                    "principal" => principal, "node" => &record.known.node);
            }
            info!(self.log, "a node enrolled"; "principal" => principal,
                "node" => &record.known.node);
            nodes.insert(principal.to_owned(), record);
        }
        self.save(principal)?;
        // What it has lost is on disk with it.
        self.files.damage_is_told(principal).map_err(|error| {
            warn!(self.log, "a damaged file can't be put away: it is told again";
                "principal" => principal, "error" => %error);
            Refused::Disk
        })
    }

    /// Whether evidence of that node is wanted.
    pub(super) fn asked(&self, principal: &str) -> Result<(), Refused> {
        let nodes = self.nodes();
        let record = nodes.get(principal).filter(|record| record.known.challenge.is_some());
        record.map(drop).ok_or(Refused::Unasked)
    }

    /// What is known of a node, with the challenge that it answers now, and what is expected.
    /// There is none from then on: what it shows is verified once, however often it shows it.
    fn answered(&self, principal: &str) -> Result<(NodeState, Arc<Loaded<Config>>), Refused> {
        let mut nodes = self.nodes();
        let record = nodes.get_mut(principal).ok_or(Refused::Unasked)?;
        let challenge = record.known.challenge.take().ok_or(Refused::Unasked)?;
        let known = NodeState { challenge: Some(challenge), ..record.known.clone() };
        Ok((known, self.config()))
    }

    /// Verifies evidence that began to arrive then. Takes a processor for its time.
    fn judge(&self, principal: &str, upload: Upload, secrets: Vec<Given>) -> Result<Node, Refused> {
        // Its room is taken for as long as what was read from it is there.
        let Upload { bytes, room: _room, arrived, .. } = upload;
        let (known, config) = self.answered(principal)?;
        let evidence = match Evidence::parse(&bytes) {
            Ok(evidence) => evidence,
            Err(error) => {
                self.doubt(principal, Told::new("EVIDENCE_MALFORMED", &error.to_string()))?;
                return Err(Refused::Malformed(error));
            }
        };
        drop(bytes);
        let expected = config.expected(principal);
        let mut expect = expected.expectations(None, &[]);
        expect.nonce.clone_from(&known.challenge);
        expect.ak_name = Some(known.ak_name.to_vec());
        expect.enrolled = true;
        // Asked when it enrolled; a TPM without a certificate may have been let in.
        expect.ek_roots = None;
        expect.selection = config.selection(principal);
        expect.claims = known.claims.as_ref();
        expect.add(secrets);
        let verified = verify(&evidence, &expect, known.seen.as_ref(), arrived);
        let noted = self.change(principal, |record| {
            // Another challenge, or another key: this one is void.
            let same = record.known.ak_name == known.ak_name;
            if record.known.challenge.is_some() || !same {
                return Err(Refused::Unasked);
            }
            let now = Now::read();
            record.note(&evidence, verified, &now);
            // What is expected since was not asked of it.
            if Arc::ptr_eq(&config, &self.config()) {
                record.due = now.moment.seconds + config.interval.as_secs();
            }
            Ok(())
        })?;
        noted.map(|()| self.show(principal))?.ok_or(Refused::Unasked)
    }

    pub(super) async fn submit(
        self: &Arc<Self>,
        principal: &Arc<str>,
        upload: Upload,
        secrets: Vec<Given>,
    ) -> Result<Node, Refused> {
        // Never closed.
        let _permit = self.verifying.acquire().await;
        let (book, principal) = (Arc::clone(self), Arc::clone(principal));
        let judged = tokio::task::spawn_blocking(move || book.judge(&principal, upload, secrets));
        judged.await.unwrap_or(Err(Refused::Unasked))
    }

    pub(super) fn doubt(&self, principal: &str, why: Told) -> Result<(), Refused> {
        self.change(principal, |record| {
            let now = Now::read();
            record.doubt(why, now.wall);
            record.due = now.moment.seconds + self.config().interval.as_secs().min(AGAIN);
        })
    }

    /// Changes what is known of a node, says so, and writes it down.
    pub(super) fn change<T>(
        &self,
        principal: &str,
        f: impl FnOnce(&mut Record) -> T,
    ) -> Result<T, Refused> {
        let done = {
            let mut nodes = self.nodes();
            let record = nodes.get_mut(principal).ok_or(Refused::Unasked)?;
            let interval = self.config().interval;
            let state = |record: &Record| record.state(&Now::read(), interval);
            let before = state(record);
            let looked = record.incident().is_some();
            let done = f(record);
            if !looked && record.incident().is_some() {
                warn!(self.log, "somebody must look at what a node showed";
                    "principal" => principal, "node" => &record.known.node);
            }
            let after = state(record);
            if before != after {
                let findings = record.show(&Now::read(), interval).findings;
                let names: Vec<_> = findings.into_iter().map(|finding| finding.name).collect();
                let log = self.log.new(slog::o!("principal" => principal.to_owned(),
                    "node" => record.known.node.clone(), "before" => before.as_str(),
                    "findings" => names.join(" ")));
                match after {
                    State::Trusted => info!(log, "a node is trusted"),
                    other => warn!(log, "a node is {}", other),
                }
            }
            done
        };
        let saved = self.save(principal);
        self.tell();
        saved.map(|()| done)
    }

    pub(super) fn save(&self, principal: &str) -> Result<(), Refused> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let record = self.nodes().get(principal).cloned();
        let saved = match record {
            Some(record) => self.files.write(&record),
            None => self.files.remove(principal),
        };
        saved.map_err(|error| {
            warn!(self.log, "a node's state can't be written down"; "principal" => principal,
                "error" => %error);
            Refused::Disk
        })
    }

    fn show(&self, principal: &str) -> Option<Node> {
        Some(self.shown(self.nodes().get(principal)?))
    }

    /// All that are enrolled.
    #[must_use]
    pub(super) fn list(&self) -> Vec<Node> {
        self.nodes().values().map(|record| self.shown(record)).collect()
    }

    fn shown(&self, record: &Record) -> Node {
        let shown = record.show(&Now::read(), self.config().interval);
        Node { state: self.state_of(record).to_string(), ..shown }
    }
}

#[cfg(test)]
mod tests;
