//! One connection of a node's attestation agent, or of a person who asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lacre_attest::container::Secret;
use lacre_attest::enrol::{Activated, Enrol, Pending};
use lacre_attest::evidence::MAX_BYTES;
use lacre_attest::tpm2::Public;
use lacre_attest::verify::Given;
use lacre_proto::attest::{
    ActivateRequest, ActivateResponse, Attestation, ChallengeRequest, ChallengeResponse,
    DeclineRequest, DeclineResponse, EnrolRequest, EnrolResponse, ForgetRequest, ForgetResponse,
    ListRequest, ListResponse, Node, PollRequest, PollResponse, SubmitRequest, SubmitResponse,
    Wanted as Asks,
};
use lacre_proto::{MAX_PART, Peer, WATCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use ttrpc::Code;
use ttrpc::r#async::TtrpcContext;

use super::book::{Book, Refused, Wanted};
use super::record::{State, Told, now};
use crate::server::Server;
use crate::session::status;

/// The most calls of one connection at a time: an agent has one.
const CALLS: usize = 4;

/// The most bytes of an enrolment: two keys, and certificates.
const ENROL: usize = 64 * 1024;

/// How long a node may take to open its credential: some TPMs take seconds.
const ACTIVATE: Duration = Duration::from_secs(60);

/// The reasons for which there may be no evidence.
const REASONS: [&str; 4] = ["TPM_GONE", "TPM_SLOW", "TPM_REFUSED", "LISTS_UNREADABLE"];

/// One connection.
#[derive(Debug)]
pub struct AttestSession {
    server: Arc<Server>,
    peer: Peer,
    principal: Arc<str>,
    calls: Semaphore,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    pending: Option<(Pending, Instant)>,
    upload: Upload,
}

/// Evidence that is on its way.
#[derive(Debug, Default)]
struct Upload {
    bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
    arrived: u64,
}

fn refused(refused: Refused) -> ttrpc::Error {
    let code = match refused {
        Refused::Unknown(_) => Code::NOT_FOUND,
        Refused::OtherTpm | Refused::OtherNode(_) => Code::PERMISSION_DENIED,
        Refused::Full => Code::RESOURCE_EXHAUSTED,
        Refused::Unasked => Code::FAILED_PRECONDITION,
        Refused::Malformed(_) | Refused::Ambiguous(_) => Code::INVALID_ARGUMENT,
        Refused::Disk => Code::UNAVAILABLE,
    };
    status(code, refused)
}

fn invalid(why: impl ToString) -> ttrpc::Error {
    status(Code::INVALID_ARGUMENT, why)
}

fn random() -> ttrpc::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()) {
        Ok(32) => Ok(bytes),
        _ => Err(status(Code::UNAVAILABLE, "the kernel gives no random bytes")),
    }
}

impl AttestSession {
    pub(crate) fn new(server: Arc<Server>, peer: Peer) -> Self {
        let principal = peer.principal().into();
        Self { server, peer, principal, calls: Semaphore::new(CALLS), inside: Mutex::default() }
    }

    fn book(&self) -> ttrpc::Result<(&Arc<Book>, SemaphorePermit<'_>)> {
        let call = self.calls.try_acquire().map_err(|_| {
            status(Code::RESOURCE_EXHAUSTED, format!("more than {CALLS} calls at a time"))
        })?;
        match &self.server.attest {
            Some(book) => Ok((book, call)),
            None => Err(status(
                Code::UNIMPLEMENTED,
                "this server attests no nodes: start it with --attest FILE",
            )),
        }
    }

    /// Only for who administers the server.
    fn local(&self) -> ttrpc::Result<()> {
        match self.peer {
            Peer::Unix { .. } => Ok(()),
            Peer::Tls { .. } => {
                Err(status(Code::PERMISSION_DENIED, "only over the server's unix socket"))
            }
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inside) -> T) -> T {
        f(&mut self.inside.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a part of the evidence; all of it, with the last.
    fn take(&self, book: &Book, request: &SubmitRequest) -> ttrpc::Result<Option<Upload>> {
        self.with(|inside| {
            if request.offset == 0 {
                inside.upload = Upload { arrived: now(), ..Upload::default() };
            }
            let upload = &mut inside.upload;
            // Who takes his time shows what was, not what is.
            if now().saturating_sub(upload.arrived) > book.config.within.as_secs() {
                *upload = Upload::default();
                return Err(status(Code::FAILED_PRECONDITION, "the evidence took too long"));
            }
            let whole = request.offset.saturating_add(request.part.len() as u64);
            if request.offset != upload.bytes.len() as u64 || whole > MAX_BYTES {
                return Err(invalid(format!(
                    "{} bytes have come, and the part begins at {}; evidence has at most {MAX_BYTES}",
                    upload.bytes.len(),
                    request.offset
                )));
            }
            // In whole MiB, so that the smallest evidence counts, too.
            let wanted = usize::try_from(whole >> 20).unwrap_or(usize::MAX) + 1;
            let held = upload.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            if let Some(more @ 1..) = wanted.checked_sub(held) {
                let more = u32::try_from(more).unwrap_or(u32::MAX);
                let Ok(room) = Arc::clone(&book.room).try_acquire_many_owned(more) else {
                    *upload = Upload::default();
                    return Err(status(Code::RESOURCE_EXHAUSTED, "too much evidence at a time"));
                };
                match &mut upload.room {
                    Some(held) => held.merge(room),
                    none => *none = Some(room),
                }
            }
            upload.bytes.extend_from_slice(&request.part);
            Ok(request.last.then(|| std::mem::take(upload)))
        })
    }
}

#[async_trait]
impl Attestation for AttestSession {
    async fn poll(&self, _: &TtrpcContext, request: PollRequest) -> ttrpc::Result<PollResponse> {
        let (book, _call) = self.book()?;
        let ak = match request.ak.is_empty() {
            true => None,
            false => Some(Public::parse(&request.ak).map_err(invalid)?.name()),
        };
        let mut changed = book.changed.subscribe();
        let mut stop = self.server.stop.clone();
        let until = tokio::time::Instant::now() + WATCH;
        let within = u32::try_from(book.config.within.as_secs()).unwrap_or(u32::MAX);
        let mut first = request.first;
        loop {
            let wanted = book.wanted(&self.principal, ak.as_deref(), first, random()?);
            first = false;
            let (wanted, challenge) = match wanted {
                Wanted::Enrol => (Asks::ENROL, Vec::new()),
                Wanted::Evidence(challenge) => {
                    (Asks::EVIDENCE, serde_json::to_vec(&challenge).unwrap_or_default())
                }
                Wanted::Nothing(seconds) => {
                    let due = tokio::time::Instant::now() + Duration::from_secs(seconds);
                    tokio::select! {
                        () = tokio::time::sleep_until(due.min(until)) => {}
                        _ = changed.changed() => {}
                        _ = stop.wait_for(|stop| *stop) => {}
                    }
                    if tokio::time::Instant::now() < until && !*stop.borrow() {
                        continue;
                    }
                    (Asks::NOTHING, Vec::new())
                }
            };
            let wanted = wanted.into();
            return Ok(PollResponse { wanted, challenge, within, ..PollResponse::default() });
        }
    }

    async fn enrol(&self, _: &TtrpcContext, request: EnrolRequest) -> ttrpc::Result<EnrolResponse> {
        let (book, _call) = self.book()?;
        if request.enrol.len() > ENROL {
            return Err(invalid(format!("an enrolment has at most {ENROL} bytes")));
        }
        let mut asks: Enrol = serde_json::from_slice(&request.enrol).map_err(invalid)?;
        asks.node = lacre_types::escape(asks.node.as_bytes()).chars().take(253).collect();
        let ek = Public::parse(&asks.ek.public).map_err(invalid)?;
        book.may_enrol(&self.principal, &ek.name()).map_err(refused)?;
        let begun = Pending::begin(&asks, &book.config.admission, random()?, now());
        let (pending, proof) = begun.map_err(|error| {
            let why = crate::logging::Chain(&error).to_string();
            self.server.not_enrolled(&self.peer, &why);
            status(Code::PERMISSION_DENIED, why)
        })?;
        self.with(|inside| inside.pending = Some((pending, Instant::now())));
        let proof = serde_json::to_vec(&proof).unwrap_or_default();
        Ok(EnrolResponse { proof, ..EnrolResponse::default() })
    }

    async fn activate(
        &self,
        _: &TtrpcContext,
        request: ActivateRequest,
    ) -> ttrpc::Result<ActivateResponse> {
        let (book, _call) = self.book()?;
        if request.activated.len() > ENROL {
            return Err(invalid("an activation has a secret of 32 bytes"));
        }
        let activated: Activated = serde_json::from_slice(&request.activated).map_err(invalid)?;
        let pending = self.with(|inside| inside.pending.take());
        let pending = pending.filter(|(_, since)| since.elapsed() < ACTIVATE);
        let (pending, _) =
            pending.ok_or_else(|| status(Code::FAILED_PRECONDITION, "enrol first"))?;
        let known = pending.finish(&activated, now()).map_err(|error| {
            self.server.not_enrolled(&self.peer, &error.to_string());
            status(Code::PERMISSION_DENIED, error)
        })?;
        let (book, principal) = (Arc::clone(book), Arc::clone(&self.principal));
        let enrolled = tokio::task::spawn_blocking(move || book.enrol(&principal, known));
        enrolled.await.unwrap_or(Err(Refused::Disk)).map_err(refused)?;
        Ok(ActivateResponse::new())
    }

    async fn submit(
        &self,
        _: &TtrpcContext,
        request: SubmitRequest,
    ) -> ttrpc::Result<SubmitResponse> {
        let (book, _call) = self.book()?;
        if request.part.len() > MAX_PART {
            return Err(invalid(format!("a part has at most {MAX_PART} bytes")));
        }
        let Some(upload) = self.take(book, &request)? else {
            return Ok(SubmitResponse::new());
        };
        let secrets = request.secrets.into_iter().map(|given| {
            let bytes = <[u8; 32]>::try_from(given.secret).map_err(|_| "a secret has 32 bytes")?;
            let seq = (given.seq != 0).then_some(given.seq);
            Ok(Given { id: given.container, seq, secret: Secret::new(bytes) })
        });
        let secrets = secrets.collect::<Result<_, &str>>().map_err(invalid)?;
        let Upload { bytes, room, arrived } = upload;
        let judged = book.submit(&self.principal, bytes, secrets, arrived).await;
        drop(room);
        let node = judged.map_err(refused)?;
        Ok(SubmitResponse { node: Some(node).into(), ..SubmitResponse::default() })
    }

    async fn decline(
        &self,
        _: &TtrpcContext,
        request: DeclineRequest,
    ) -> ttrpc::Result<DeclineResponse> {
        let (book, _call) = self.book()?;
        if !REASONS.contains(&&*request.reason) {
            return Err(invalid(format!("a reason is one of {}", REASONS.join(", "))));
        }
        let why = Told::new(&request.reason, &request.detail);
        let (book, principal) = (Arc::clone(book), Arc::clone(&self.principal));
        let noted = tokio::task::spawn_blocking(move || book.doubt(&principal, why));
        noted.await.unwrap_or(Err(Refused::Disk)).map_err(refused)?;
        Ok(DeclineResponse::new())
    }

    async fn list(&self, _: &TtrpcContext, _: ListRequest) -> ttrpc::Result<ListResponse> {
        let (book, _call) = self.book()?;
        let mut nodes = book.list();
        for connected in self.server.nodes.list() {
            if nodes.iter().all(|node| node.principal != connected.principal) {
                nodes.push(Node {
                    principal: connected.principal,
                    node: connected.node,
                    state: State::Unenrolled.to_string(),
                    ..Node::default()
                });
            }
        }
        if self.local().is_err() {
            nodes.retain(|node| *node.principal == *self.principal);
        }
        // Of most nodes there is a line or two; what does not fit a message is left out
        // of what is said of each, never a node.
        let size = |nodes: &[Node]| -> u64 {
            nodes.iter().map(|node| protobuf::Message::compute_size(node) + 16).sum()
        };
        if size(&nodes) > 3 << 20 {
            for node in &mut nodes {
                node.findings.truncate(1);
                node.unchecked.clear();
                node.ek.clear();
                node.ak.clear();
            }
        }
        Ok(ListResponse { nodes, ..ListResponse::default() })
    }

    async fn challenge(
        &self,
        _: &TtrpcContext,
        request: ChallengeRequest,
    ) -> ttrpc::Result<ChallengeResponse> {
        let (book, _call) = self.book()?;
        self.local()?;
        book.challenge(&request.node).map_err(refused)?;
        Ok(ChallengeResponse::new())
    }

    async fn forget(
        &self,
        _: &TtrpcContext,
        request: ForgetRequest,
    ) -> ttrpc::Result<ForgetResponse> {
        let (book, _call) = self.book()?;
        self.local()?;
        let (book, node) = (Arc::clone(book), request.node);
        let forgotten = tokio::task::spawn_blocking(move || book.forget(&node));
        forgotten.await.unwrap_or(Err(Refused::Disk)).map_err(refused)?;
        Ok(ForgetResponse::new())
    }
}
