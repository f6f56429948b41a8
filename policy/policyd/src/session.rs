//! One connection: the containers registered on it, and what its peer may do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lacre_policy::{Policy, Subject, resolve};
use lacre_proto::policy::{
    Answer, CloseStreamRequest, CloseStreamResponse, Container, RegisterRequest, RegisterResponse,
    ReportRequest, ReportResponse, StatusRequest, StatusResponse, UnregisterRequest,
    UnregisterResponse, WatchRequest, WatchResponse,
};
use lacre_proto::service::PolicyService;
use lacre_proto::{MAX_BATCH, MAX_BATCH_BYTES, MAX_RECORD, Peer, WATCH};
use lacre_report::{Entry, Record};
use lacre_types::{Action, Digest, Mode, ViolationKind};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use ttrpc::Code;
use ttrpc::r#async::TtrpcContext;

use crate::ledger::{Batch, Refusal, Report, lines};
use crate::rpc::{permit, status};
use crate::server::Server;

/// The most calls of one connection at a time. A reporter has two: one watches, one works.
const CALLS: usize = 16;

/// The most containers of one connection, and the most bytes that they may be described by.
const CONTAINERS: usize = 1024;
const DESCRIBED: usize = 4 * 1024 * 1024;

/// One connection. Its registrations end with it.
#[derive(Debug)]
pub struct Session {
    server: Arc<Server>,
    peer: Peer,
    principal: Arc<str>,
    calls: Semaphore,
    containers: Mutex<Containers>,
}

#[derive(Debug, Default)]
struct Containers {
    known: HashMap<(String, String), Known>,
    bytes: usize,
}

/// A container, as the policy needs it.
#[derive(Debug)]
struct Known {
    container: Container,
    digests: Vec<Digest>,
    bytes: usize,
}

impl Known {
    /// Checks what a node says of a container.
    fn new(container: Container) -> Result<Self, String> {
        if container.id.is_empty() || container.id.len() > 1024 {
            return Err("a container has an id of 1 to 1024 bytes".to_owned());
        }
        let digests = container.image_digests.iter().map(|text| {
            text.parse().map_err(|error| format!("the image digest {text:?}: {error}"))
        });
        let digests = digests.collect::<Result<_, _>>()?;
        let bytes =
            usize::try_from(protobuf::Message::compute_size(&container)).unwrap_or(DESCRIBED);
        Ok(Self { container, digests, bytes })
    }

    fn with_subject<T>(&self, f: impl FnOnce(&Subject<'_>) -> T) -> T {
        let of = &self.container;
        let pairs = |map: &'_ HashMap<String, String>| -> Vec<(String, String)> {
            map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let (labels, annotations) = (pairs(&of.labels), pairs(&of.annotations));
        let labels: Vec<_> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
        let annotations: Vec<_> = annotations.iter().map(|(k, v)| (&**k, &**v)).collect();
        let mut namespaces = vec![&*of.namespace];
        if !of.pod_namespace.is_empty() {
            namespaces.push(&of.pod_namespace);
        }
        f(&Subject {
            container_id: &of.id,
            image_digests: &self.digests,
            image_name: (!of.image_name.is_empty()).then_some(&*of.image_name),
            namespaces: &namespaces,
            labels: &labels,
            annotations: &annotations,
        })
    }
}

fn refused(refusal: Refusal) -> ttrpc::Error {
    let code = match refusal {
        Refusal::NotYours => Code::PERMISSION_DENIED,
        Refusal::Streams | Refusal::Busy => Code::RESOURCE_EXHAUSTED,
        Refusal::Numbers => Code::INVALID_ARGUMENT,
        Refusal::Disk => Code::UNAVAILABLE,
    };
    status(code, refusal)
}

impl Session {
    pub(crate) fn new(server: Arc<Server>, peer: Peer) -> Self {
        let principal = peer.principal();
        server.nodes.opened(&principal);
        Self {
            server,
            peer,
            principal: principal.into(),
            calls: Semaphore::new(CALLS),
            containers: Mutex::default(),
        }
    }

    fn containers(&self) -> MutexGuard<'_, Containers> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self) -> ttrpc::Result<SemaphorePermit<'_>> {
        permit(&self.calls, CALLS)
    }

    /// The version that this node is told: another when what is thought of it changes, so
    /// that it asks again what is to be done.
    fn version(&self, policy: &str) -> String {
        match self.server.attest.as_ref().and_then(|book| book.tampered(&self.principal)) {
            Some(since) => format!("{policy}+LOG_TAMPERED@{since}"),
            None => policy.to_owned(),
        }
    }

    /// What is to be done with a container because its node's log was tampered with.
    fn tampered(&self, policy: &Policy, known: &Known) -> Option<Answer> {
        let tampered_since = self.server.attest.as_ref()?.tampered(&self.principal)?;
        let kind = ViolationKind::LogTampered;
        let decision = known.with_subject(|subject| policy.decide(subject, kind, None));
        let action = resolve(&decision, false, Mode::Enforce).action;
        Some(Answer {
            container_id: known.container.id.clone(),
            action: action.to_string(),
            overrules: action != Action::Skip,
            rule: decision.rule.to_string(),
            tampered_since,
            ..Answer::default()
        })
    }

    /// Answers to the violations up to a number, by the policy as it is now.
    fn answers(&self, violations: &[(u64, Box<Record>)], acknowledged: u64) -> Vec<Answer> {
        let loaded = self.server.policy.get();
        let containers = self.containers();
        let answered = violations.iter().filter(|(number, _)| *number <= acknowledged);
        let answers = answered.filter_map(|(number, record)| {
            let key = (record.namespace.clone(), record.container_id.clone());
            Some(answer(&loaded.policy, containers.known.get(&key)?, *number, record))
        });
        answers.collect()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let containers = self.containers().known.len();
        self.server.nodes.closed(&self.principal, containers);
    }
}

fn answer(policy: &Policy, known: &Known, number: u64, record: &Record) -> Answer {
    let path = record.canonical_path();
    let decision =
        known.with_subject(|subject| policy.decide(subject, record.notificate, path.as_ref()));
    // DENY comes true as its fallback where the source could not deny.
    let same = record.action == decision.action
        || (decision.action == Action::Deny && Some(record.action) == decision.fallback);
    Answer {
        number,
        container_id: record.container_id.clone(),
        action: decision.action.to_string(),
        overrules: !same && record.mode == Mode::Enforce,
        rule: decision.rule.to_string(),
        ..Answer::default()
    }
}

#[async_trait]
impl PolicyService for Session {
    async fn register(
        &self,
        _: &TtrpcContext,
        request: RegisterRequest,
    ) -> ttrpc::Result<RegisterResponse> {
        let _call = self.call()?;
        let known = Known::new(request.container.into_option().unwrap_or_default())
            .map_err(|error| status(Code::INVALID_ARGUMENT, error))?;
        let loaded = self.server.policy.get();
        let effective = known.with_subject(|subject| loaded.policy.effective(subject)).to_json();
        // The version first: what changes in between is then told again.
        let version = self.version(&loaded.version);
        let answer = self.tampered(&loaded.policy, &known);
        let key = (known.container.namespace.clone(), known.container.id.clone());
        {
            let mut containers = self.containers();
            let freed = containers.known.get(&key).map_or(0, |before| before.bytes);
            let bytes = containers.bytes - freed + known.bytes;
            if bytes > DESCRIBED || (freed == 0 && containers.known.len() >= CONTAINERS) {
                let why = format!(
                    "a connection has at most {CONTAINERS} containers, described by {DESCRIBED} bytes"
                );
                return Err(status(Code::RESOURCE_EXHAUSTED, why));
            }
            containers.bytes = bytes;
            let more = usize::from(containers.known.insert(key, known).is_none());
            self.server.nodes.containers(&self.principal, more, 0);
        }
        self.server.nodes.seen(&self.principal, &request.node);
        Ok(RegisterResponse {
            effective,
            version,
            answer: answer.into(),
            instance: self.server.instance.clone(),
            ..RegisterResponse::default()
        })
    }

    async fn unregister(
        &self,
        _: &TtrpcContext,
        request: UnregisterRequest,
    ) -> ttrpc::Result<UnregisterResponse> {
        let _call = self.call()?;
        let mut containers = self.containers();
        if let Some(gone) = containers.known.remove(&(request.namespace, request.id)) {
            containers.bytes -= gone.bytes;
            self.server.nodes.containers(&self.principal, 0, 1);
        }
        Ok(UnregisterResponse::new())
    }

    async fn report(
        &self,
        _: &TtrpcContext,
        request: ReportRequest,
    ) -> ttrpc::Result<ReportResponse> {
        let _call = self.call()?;
        let invalid = |why: String| status(Code::INVALID_ARGUMENT, why);
        let stream = request.stream.parse().map_err(|error| invalid(format!("{error}")))?;
        let total: usize = request.reports.iter().map(|report| report.record.len()).sum();
        let longest = request.reports.iter().map(|report| report.record.len()).max().unwrap_or(0);
        if request.reports.len() > MAX_BATCH || total > MAX_BATCH_BYTES || longest > MAX_RECORD {
            return Err(invalid(format!(
                "a batch has at most {MAX_BATCH} records, {MAX_BATCH_BYTES} bytes, \
                 and {MAX_RECORD} in one record"
            )));
        }
        let node: String = request.node.chars().take(253).collect();
        let thought = self.server.attest.as_ref().map(|book| book.refuses(&self.principal));
        if let Some((true, state)) = thought {
            let why = format!("reports of a node that is {state} are refused here");
            return Err(status(Code::FAILED_PRECONDITION, why));
        }
        let from = lines::From { node: &node, trust: thought.map(|(_, state)| state.as_str()) };
        let batch = Batch {
            stream,
            owner: Arc::clone(&self.principal),
            first: request.first,
            oldest: request.oldest,
            count: request.reports.len() as u64,
        };
        batch.end().map_err(refused)?;
        let (mut lines, mut violations) = (Vec::with_capacity(request.reports.len()), Vec::new());
        let mut unreadable = Vec::new();
        for (number, report) in (request.first..).zip(&request.reports) {
            match Entry::parse(&report.record) {
                Ok(entry) if lines::is_plain(&report.record) => {
                    lines.push(lines::record(&batch, number, from, &report.record));
                    if let Entry::Violation(record) = entry {
                        violations.push((number, record));
                    }
                }
                _ => {
                    lines.push(lines::unreadable(&batch, number, from, &report.record));
                    unreadable.push(number);
                }
            }
        }
        drop(request);
        let acknowledged =
            self.server.ledger.report(Report { batch, lines }).await.map_err(refused)?;
        self.server.nodes.seen(&self.principal, &node);
        self.server.unreadable(&self.peer, &unreadable);
        Ok(ReportResponse {
            acknowledged,
            answers: self.answers(&violations, acknowledged),
            unreadable,
            ..ReportResponse::default()
        })
    }

    async fn close_stream(
        &self,
        _: &TtrpcContext,
        request: CloseStreamRequest,
    ) -> ttrpc::Result<CloseStreamResponse> {
        let _call = self.call()?;
        let stream =
            request.stream.parse().map_err(|error| status(Code::INVALID_ARGUMENT, error))?;
        let owner = Arc::clone(&self.principal);
        self.server.ledger.close(stream, owner).await.map_err(refused)?;
        Ok(CloseStreamResponse::new())
    }

    async fn watch(&self, _: &TtrpcContext, request: WatchRequest) -> ttrpc::Result<WatchResponse> {
        let _call = self.call()?;
        let mut policy = self.server.policy.subscribe();
        let mut stop = self.server.stop.clone();
        let mut thought = self.server.attest.as_ref().map(|book| book.changed.subscribe());
        let news = async {
            loop {
                let version = self.version(&policy.borrow_and_update().version);
                if version != request.version {
                    return;
                }
                let thought = async {
                    match &mut thought {
                        Some(thought) => thought.changed().await,
                        None => std::future::pending().await,
                    }
                };
                let told = tokio::select! {
                    told = policy.changed() => told,
                    told = thought => told,
                };
                if told.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            _ = timeout(WATCH, news) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        Ok(WatchResponse {
            version: self.version(&self.server.policy.get().version),
            instance: self.server.instance.clone(),
            ..WatchResponse::default()
        })
    }

    async fn status(&self, _: &TtrpcContext, _: StatusRequest) -> ttrpc::Result<StatusResponse> {
        let _call = self.call()?;
        let mut status = self.server.status();
        // A node is not told of the others.
        if matches!(self.peer, Peer::Tls { .. }) {
            status.nodes.retain(|node| *node.principal == *self.principal);
        }
        Ok(status)
    }
}
