//! One connection of a node's attestation agent, or of a person who asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lacre_attest::container::Secret;
use lacre_attest::enrol::{Activated, Enrol, Pending};
use lacre_attest::tpm2::Public;
use lacre_attest::verify::Given;
use lacre_proto::attest::{
    AcknowledgeRequest, AcknowledgeResponse, ActivateRequest, ActivateResponse, Attestation,
    ChallengeRequest, ChallengeResponse, DeclineRequest, DeclineResponse, EnrolRequest,
    EnrolResponse, ForgetRequest, ForgetResponse, ListRequest, ListResponse, Node, PollRequest,
    PollResponse, SubmitRequest, SubmitResponse, Wanted as Asks,
};
use lacre_proto::{MAX_PART, Peer, WATCH};
use lacre_types::chain;
use protobuf::Message as _;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use ttrpc::Code;
use ttrpc::r#async::TtrpcContext;

use super::error::Refused;
use super::incident::Told;
use super::nodes::{Book, Wanted};
use super::record::State;
use super::upload::Uploading;
use crate::clock::wall;
use crate::rpc::{administers, permit, status};
use crate::server::Server;

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
    pending: Mutex<Option<(Pending, Instant)>>,
    upload: Uploading,
}

fn refused(refused: Refused) -> ttrpc::Error {
    let code = match refused {
        Refused::Unknown(_) => Code::NOT_FOUND,
        Refused::OtherTpm | Refused::OtherNode(_) | Refused::NotItsTpm(_) => {
            Code::PERMISSION_DENIED
        }
        Refused::Full => Code::RESOURCE_EXHAUSTED,
        Refused::Unasked | Refused::Incident(_) | Refused::NoIncident(_) => {
            Code::FAILED_PRECONDITION
        }
        Refused::Malformed(_) | Refused::Ambiguous(_) | Refused::NoReason => Code::INVALID_ARGUMENT,
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
        let calls = Semaphore::new(CALLS);
        let (pending, upload) = (Mutex::default(), Uploading::default());
        Self { server, peer, principal, calls, pending, upload }
    }

    fn book(&self) -> ttrpc::Result<(&Arc<Book>, SemaphorePermit<'_>)> {
        let call = permit(&self.calls, CALLS)?;
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
        administers(&self.peer)
    }

    fn pending(&self) -> MutexGuard<'_, Option<(Pending, Instant)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says so in the log, too: somebody may be trying.
    fn not_enrolled(&self, error: &(dyn std::error::Error + 'static)) -> ttrpc::Error {
        let why = chain(error);
        self.server.not_enrolled(&self.peer, &why);
        status(Code::PERMISSION_DENIED, why)
    }
}

/// Changes what is known, on a thread that may wait for the disk.
async fn change(
    book: &Arc<Book>,
    change: impl FnOnce(&Book) -> Result<(), Refused> + Send + 'static,
) -> ttrpc::Result<()> {
    let book = Arc::clone(book);
    let done = tokio::task::spawn_blocking(move || change(&book)).await;
    done.unwrap_or(Err(Refused::Disk)).map_err(refused)
}

/// Reads a message of an enrolment.
fn read<T: DeserializeOwned>(message: &[u8]) -> ttrpc::Result<T> {
    if message.len() > ENROL {
        return Err(invalid(format!("a message of an enrolment has at most {ENROL} bytes")));
    }
    serde_json::from_slice(message).map_err(invalid)
}

/// Leaves out what does not fit a message: of what is said of each node, never a node.
fn fit(nodes: &mut [Node]) {
    let shorter: [fn(&mut Node); 2] = [
        |node| {
            node.findings.truncate(1);
            node.incident_findings.truncate(1);
            node.reason.clear();
            node.unchecked.clear();
            node.ek.clear();
            node.ak.clear();
        },
        |node| {
            let all = node.findings.iter_mut().chain(&mut node.incident_findings);
            all.for_each(|finding| finding.says.clear());
        },
    ];
    for shorten in shorter {
        let size: u64 = nodes.iter().map(|node| node.compute_size() + 16).sum();
        // Of most nodes there is a line or two.
        if size <= 3 << 20 {
            return;
        }
        nodes.iter_mut().for_each(shorten);
    }
}

#[async_trait]
impl Attestation for AttestSession {
    async fn poll(&self, _: &TtrpcContext, request: PollRequest) -> ttrpc::Result<PollResponse> {
        let (book, _call) = self.book()?;
        self.server.nodes.seen(&self.principal, &request.node);
        let ak = match request.ak.is_empty() {
            true => None,
            false => Some(Public::parse(&request.ak).map_err(invalid)?.name()),
        };
        let mut changed = book.changed.subscribe();
        let mut stop = self.server.stop.clone();
        let until = tokio::time::Instant::now() + WATCH;
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
            let within = u32::try_from(book.config().within.as_secs()).unwrap_or(u32::MAX);
            return Ok(PollResponse { wanted, challenge, within, ..PollResponse::default() });
        }
    }

    async fn enrol(&self, _: &TtrpcContext, request: EnrolRequest) -> ttrpc::Result<EnrolResponse> {
        let (book, _call) = self.book()?;
        let mut asks: Enrol = read(&request.enrol)?;
        asks.node = lacre_types::escape(asks.node.as_bytes()).chars().take(253).collect();
        let ek = Public::parse(&asks.ek.public).map_err(invalid)?;
        book.may_enrol(&self.principal, &ek).map_err(|error| {
            self.server.not_enrolled(&self.peer, &error.to_string());
            refused(error)
        })?;
        let begun = Pending::begin(&asks, &book.config().admission, random()?, wall());
        let (pending, proof) = begun.map_err(|error| self.not_enrolled(&error))?;
        *self.pending() = Some((pending, Instant::now()));
        let proof = serde_json::to_vec(&proof).unwrap_or_default();
        Ok(EnrolResponse { proof, ..EnrolResponse::default() })
    }

    async fn activate(
        &self,
        _: &TtrpcContext,
        request: ActivateRequest,
    ) -> ttrpc::Result<ActivateResponse> {
        let (book, _call) = self.book()?;
        let activated: Activated = read(&request.activated)?;
        let pending = self.pending().take();
        let pending = pending.filter(|(_, since)| since.elapsed() < ACTIVATE);
        let (pending, _) =
            pending.ok_or_else(|| status(Code::FAILED_PRECONDITION, "enrol first"))?;
        let known = pending.finish(&activated, wall());
        let known = known.map_err(|error| self.not_enrolled(&error))?;
        let principal = Arc::clone(&self.principal);
        change(book, move |book| book.enrol(&principal, known)).await?;
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
        // Nobody else's takes room.
        book.asked(&self.principal).map_err(refused)?;
        let within = book.config().within;
        let taken = self.upload.take(&request, &book.room, within)?;
        let Some(upload) = taken else { return Ok(SubmitResponse::new()) };
        let secrets = request.secrets.into_iter().map(|given| {
            let bytes = <[u8; 32]>::try_from(given.secret).map_err(|_| "a secret has 32 bytes")?;
            let seq = (given.seq != 0).then_some(given.seq);
            Ok(Given { id: given.container, seq, secret: Secret::new(bytes) })
        });
        let secrets = secrets.collect::<Result<_, &str>>().map_err(invalid)?;
        let node = book.submit(&self.principal, upload, secrets).await.map_err(refused)?;
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
        let principal = Arc::clone(&self.principal);
        change(book, move |book| book.doubt(&principal, why)).await?;
        Ok(DeclineResponse::new())
    }

    async fn list(&self, _: &TtrpcContext, _: ListRequest) -> ttrpc::Result<ListResponse> {
        let (book, _call) = self.book()?;
        let mut nodes = book.list();
        // Who only asked about nodes has not called itself one.
        let called = |connected: &lacre_proto::policy::Node| !connected.node.is_empty();
        for connected in self.server.nodes.list().into_iter().filter(called) {
            if nodes.iter().all(|node| node.principal != connected.principal) {
                nodes.push(Node {
                    principal: connected.principal,
                    node: connected.node,
                    state: State::Unenrolled.to_string(),
                    ..Node::default()
                });
            }
        }
        let mut error = book.file.error().unwrap_or_default();
        if self.local().is_err() {
            nodes.retain(|node| *node.principal == *self.principal);
            error.clear();
        }
        fit(&mut nodes);
        Ok(ListResponse { nodes, error, ..ListResponse::default() })
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

    async fn acknowledge(
        &self,
        _: &TtrpcContext,
        request: AcknowledgeRequest,
    ) -> ttrpc::Result<AcknowledgeResponse> {
        let (book, _call) = self.book()?;
        self.local()?;
        let who = self.peer.principal();
        let AcknowledgeRequest { node, reason, .. } = request;
        change(book, move |book| book.acknowledge(&node, &reason, &who)).await?;
        self.server.withdraw();
        Ok(AcknowledgeResponse::new())
    }

    async fn forget(
        &self,
        _: &TtrpcContext,
        request: ForgetRequest,
    ) -> ttrpc::Result<ForgetResponse> {
        let (book, _call) = self.book()?;
        self.local()?;
        change(book, move |book| book.forget(&request.node)).await?;
        Ok(ForgetResponse::new())
    }
}

#[cfg(test)]
mod tests {
    use lacre_proto::attest::Finding;

    use super::*;

    #[test]
    fn a_fleet_fits_a_message_though_all_of_it_is_in_trouble() {
        let finding =
            || Finding { name: "TPM_GONE".to_owned(), says: "x".repeat(300), ..Finding::default() };
        let node = |number: usize| Node {
            principal: format!("tls:spiffe://example.org/node/node-{number}"),
            node: format!("node-{number}"),
            state: "unproven".to_owned(),
            since: "2026-11-22T12:00:00Z".to_owned(),
            evidence: "2026-11-22T12:00:00Z".to_owned(),
            findings: vec![finding(), finding()],
            ek: "00".repeat(34),
            ..Node::default()
        };
        let mut nodes: Vec<Node> = (0..16_384).map(node).collect();
        fit(&mut nodes);
        assert!(nodes.iter().all(|node| node.findings[0].name == "TPM_GONE"));
        let list = ListResponse { nodes, ..ListResponse::default() };
        // ttrpc carries 4 MiB.
        assert!(list.compute_size() < 4 << 20, "{} bytes", list.compute_size());
        let mut few = vec![node(1)];
        fit(&mut few);
        assert_eq!(few, [node(1)]);
    }
}
