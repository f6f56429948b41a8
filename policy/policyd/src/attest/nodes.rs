//! All nodes: what is wanted of each, and what is thought of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lacre_attest::enrol::{Challenge, NodeState};
use lacre_attest::evidence::Evidence;
use lacre_attest::verify::{Given, verify};
use lacre_proto::attest::Node;
use slog::{Logger, info, warn};
use tokio::sync::{Semaphore, watch};

use super::config::{Config, Reports};
use super::error::{NODES, Refused};
use super::files::Files;
use super::record::{Record, State, Told, now};
use super::upload::Upload;
use crate::reloaded_file::{Followed, Loaded};

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
    log: Logger,
}

impl Book {
    /// Reads what is known of nodes from that folder.
    ///
    /// # Errors
    /// When it can't be made or read.
    pub fn open(file: Followed<Config>, dir: &Path, log: Logger) -> std::io::Result<Self> {
        let interval = file.get().interval.as_secs();
        let (files, mut nodes, damaged) = Files::open(dir)?;
        for damaged in damaged {
            warn!(log, "a node's file is damaged and was put aside: it must enrol again";
                "file" => %damaged.path.display(), "error" => %damaged.error);
        }
        for record in nodes.values_mut() {
            record.due = record.heard().saturating_add(interval);
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

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
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
            for (due, record) in (now() * AT_ONCE..).zip(nodes.values_mut()) {
                record.known.challenge = None;
                record.due = record.due.min(due / AT_ONCE);
            }
        }
        self.tell();
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// What is thought of that node.
    #[must_use]
    pub fn state(&self, principal: &str) -> State {
        let nodes = self.nodes();
        let record = nodes.get(principal);
        record.map_or(State::Unenrolled, |record| record.state(now(), self.config().interval))
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
        if ak != Some(&*record.known.ak_name) {
            return Wanted::Enrol;
        }
        let (now, config) = (now(), self.config());
        let within = config.within.as_secs();
        // Later than ever is set: the clock was set back.
        let longest = within.max(config.interval.as_secs());
        if first || record.due <= now || record.due - now > longest {
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
    pub(super) fn may_enrol(&self, principal: &str, ek_name: &[u8]) -> Result<(), Refused> {
        may_enrol(&self.nodes(), principal, ek_name)
    }

    pub(super) fn enrol(&self, principal: &str, known: NodeState) -> Result<(), Refused> {
        {
            let mut nodes = self.nodes();
            // Others may have enrolled since it was asked for.
            may_enrol(&nodes, principal, &known.ek_name)?;
            let record = Record::enrolled(principal, known, nodes.get(principal));
            info!(self.log, "a node enrolled"; "principal" => principal,
                "node" => &record.known.node);
            nodes.insert(principal.to_owned(), record);
        }
        self.save(principal)
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
            let now = now();
            record.note(&evidence, verified, now);
            // What is expected since was not asked of it.
            if Arc::ptr_eq(&config, &self.config()) {
                record.due = now + config.interval.as_secs();
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
            let now = now();
            record.doubt(why, now);
            record.due = now + self.config().interval.as_secs().min(AGAIN);
        })
    }

    /// Changes what is known of a node, says so, and writes it down.
    fn change<T>(&self, principal: &str, f: impl FnOnce(&mut Record) -> T) -> Result<T, Refused> {
        let done = {
            let mut nodes = self.nodes();
            let record = nodes.get_mut(principal).ok_or(Refused::Unasked)?;
            let interval = self.config().interval;
            let state = |record: &Record| record.state(now(), interval);
            let before = state(record);
            let looked = record.incident().is_some();
            let done = f(record);
            if !looked && record.incident().is_some() {
                warn!(self.log, "somebody must look at what a node showed";
                    "principal" => principal, "node" => &record.known.node);
            }
            let after = state(record);
            if before != after {
                let findings = record.show(now(), interval).findings;
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

    fn save(&self, principal: &str) -> Result<(), Refused> {
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
        Some(self.nodes().get(principal)?.show(now(), self.config().interval))
    }

    /// All that are enrolled.
    #[must_use]
    pub(super) fn list(&self) -> Vec<Node> {
        let (now, interval) = (now(), self.config().interval);
        self.nodes().values().map(|record| record.show(now, interval)).collect()
    }

    /// The principal that is meant.
    fn find(&self, name: &str) -> Result<String, Refused> {
        let nodes = self.nodes();
        if nodes.contains_key(name) {
            return Ok(name.to_owned());
        }
        let mut called = nodes.values().filter(|record| record.known.node == name);
        match (called.next(), called.next()) {
            (Some(one), None) => Ok(one.principal.clone()),
            (Some(_), Some(_)) => Err(Refused::Ambiguous(name.to_owned())),
            (None, _) => Err(Refused::Unknown(name.to_owned())),
        }
    }

    pub(super) fn challenge(&self, name: &str) -> Result<(), Refused> {
        let principal = self.find(name)?;
        if let Some(record) = self.nodes().get_mut(&principal) {
            record.due = 0;
        }
        self.tell();
        Ok(())
    }

    /// Notes that somebody has looked at what a node showed, and what it was.
    pub(super) fn acknowledge(&self, name: &str, reason: &str, who: &str) -> Result<(), Refused> {
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > 1024 {
            return Err(Refused::NoReason);
        }
        let principal = self.find(name)?;
        let open = self.change(&principal, |record| record.acknowledge(reason, now()))?;
        if !open {
            return Err(Refused::NoIncident(principal));
        }
        info!(self.log, "an incident is acknowledged"; "principal" => &principal,
            "reason" => lacre_types::escape(reason.as_bytes()), "by" => who);
        Ok(())
    }

    pub(super) fn forget(&self, name: &str) -> Result<(), Refused> {
        let principal = self.find(name)?;
        {
            let mut nodes = self.nodes();
            // Another TPM, or none known, is no answer to what this one showed.
            if nodes.get(&principal).is_some_and(|record| record.incident().is_some()) {
                return Err(Refused::Incident(principal));
            }
            nodes.remove(&principal);
        }
        info!(self.log, "a node is forgotten"; "principal" => &principal);
        let saved = self.save(&principal);
        self.tell();
        saved
    }
}

fn may_enrol(
    nodes: &BTreeMap<String, Record>,
    principal: &str,
    ek_name: &[u8],
) -> Result<(), Refused> {
    if nodes.get(principal).is_some_and(|record| *record.known.ek_name != *ek_name) {
        return Err(Refused::OtherTpm);
    }
    let same = nodes.values().find(|record| *record.known.ek_name == *ek_name);
    match same.filter(|record| record.principal != principal) {
        Some(other) => Err(Refused::OtherNode(other.principal.clone())),
        None if nodes.len() >= NODES && !nodes.contains_key(principal) => Err(Refused::Full),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
