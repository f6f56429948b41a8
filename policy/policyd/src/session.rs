//! One connection: the containers registered on it, and what its peer may do.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use lacre_proto::policy::{
    Answer, CloseStreamRequest, CloseStreamResponse, DecideRequest, DecideResponse, OrdersRequest,
    OrdersResponse, RegisterRequest, RegisterResponse, ReportRequest, ReportResponse,
    StatusRequest, StatusResponse, UnregisterRequest, UnregisterResponse, WatchRequest,
    WatchResponse,
};
use lacre_proto::service::PolicyService;
use lacre_proto::{MAX_BATCH, MAX_BATCH_BYTES, MAX_RECORD, Peer, WATCH};
use lacre_report::{Entry, Record};
use lacre_types::chain;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};
use ttrpc::Code;
use ttrpc::r#async::TtrpcContext;

use crate::answers::Answers;
use crate::ledger::{Batch, Refusal, Report, lines};
use crate::orders::DecideError;
use crate::registered::{Containers, Known, Shared, lock};
use crate::rpc::{administers, permit, status};
use crate::server::Server;

/// The most calls of one connection at a time. A reporter has two: one watches, one works.
const CALLS: usize = 16;

/// How long a node waits for what else is told of orders, before it looks.
const TOGETHER: Duration = Duration::from_millis(50);

/// One connection. Its registrations end with it.
#[derive(Debug)]
pub struct Session {
    server: Arc<Server>,
    peer: Peer,
    principal: Arc<str>,
    calls: Semaphore,
    containers: Shared,
    /// Its number among all.
    number: u64,
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
        let principal: Arc<str> = peer.principal().into();
        let containers = Shared::default();
        server.nodes.opened(&principal);
        let number = server.registry.opened(&principal, &containers);
        Self { server, peer, principal, calls: Semaphore::new(CALLS), containers, number }
    }

    fn containers(&self) -> MutexGuard<'_, Containers> {
        lock(&self.containers)
    }

    fn call(&self) -> ttrpc::Result<SemaphorePermit<'_>> {
        permit(&self.calls, CALLS)
    }

    fn answers(&self) -> Answers<'_> {
        Answers { server: &self.server, principal: &self.principal }
    }

    /// Only for who administers the server.
    fn local(&self) -> ttrpc::Result<()> {
        administers(&self.peer)
    }

    /// What was decided about orders is on disk before anybody acts by it. Whoever only asks is
    /// answered all the same; it is said in the log.
    async fn saved(&self) -> ttrpc::Result<()> {
        if self.server.gate.is_saved() {
            return Ok(());
        }
        let server = Arc::clone(&self.server);
        let saved = tokio::task::spawn_blocking(move || server.gate.save_or_say());
        match saved.await {
            Ok(true) => Ok(()),
            _ => Err(status(Code::UNAVAILABLE, "what was decided can't be written down")),
        }
    }

    /// Answers to the violations up to a number, by the policy as it is now.
    fn answer_all(&self, violations: &[(u64, Box<Record>)], acknowledged: u64) -> Vec<Answer> {
        let containers = self.containers();
        let answered = violations.iter().filter(|(number, _)| *number <= acknowledged);
        let answers = answered.filter_map(|(number, record)| {
            let key = (record.namespace.clone(), record.container_id.clone());
            Some(self.answers().to_report(containers.known.get(&key)?, *number, record))
        });
        answers.collect()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let containers = self.containers().known.len();
        self.server.registry.closed(self.number);
        self.server.nodes.closed(&self.principal, containers);
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
        let (node, version) = (request.node.clone(), request.version.clone());
        let mut known =
            Known::new(request).map_err(|error| status(Code::INVALID_ARGUMENT, error))?;
        {
            let containers = self.containers();
            if let Some(before) = containers.known.get(&known.key()) {
                known.after(before);
            }
            // What is refused is weighed nowhere.
            containers.room(&known).map_err(|why| status(Code::RESOURCE_EXHAUSTED, why))?;
        }
        self.server.begins(&known.target(&self.principal), &known.life, known.is_new());
        let response = self.answers().to_registration(&mut known, &version);
        let more =
            self.containers().put(known).map_err(|why| status(Code::RESOURCE_EXHAUSTED, why))?;
        self.server.nodes.containers(&self.principal, usize::from(more), 0);
        self.server.nodes.seen(&self.principal, &node);
        let _ = self.saved().await;
        Ok(response)
    }

    async fn unregister(
        &self,
        _: &TtrpcContext,
        request: UnregisterRequest,
    ) -> ttrpc::Result<UnregisterResponse> {
        let _call = self.call()?;
        let gone = self.containers().remove(&(request.namespace, request.id));
        if let Some(gone) = gone {
            self.server.nodes.containers(&self.principal, 0, 1);
            self.server.gate.ended(&gone.target(&self.principal), &gone.life);
            let _ = self.saved().await;
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
        let adopted = request.adopted;
        drop(request);
        let acknowledged =
            self.server.ledger.report(Report { batch, lines }).await.map_err(refused)?;
        self.server.nodes.seen(&self.principal, &node);
        self.server.unreadable(&self.peer, &unreadable);
        let answers = match adopted {
            true => Vec::new(),
            false => self.answer_all(&violations, acknowledged),
        };
        // Once it is acknowledged, it does not come again.
        self.saved().await?;
        Ok(ReportResponse { acknowledged, answers, unreadable, ..ReportResponse::default() })
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
        let mut orders = self.server.gate.changed.subscribe();
        let news = async {
            loop {
                let version = policy.borrow_and_update().version.clone();
                let version = self.answers().version(&version);
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
                    told = async {
                        let told = orders.changed().await;
                        // Of many orders at once each node looks once.
                        sleep(TOGETHER).await;
                        told
                    } => told,
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
        let version = self.answers().version(&self.server.policy.get().version);
        let _ = self.saved().await;
        Ok(WatchResponse {
            version,
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

    async fn orders(&self, _: &TtrpcContext, _: OrdersRequest) -> ttrpc::Result<OrdersResponse> {
        let _call = self.call()?;
        self.local()?;
        let server = Arc::clone(&self.server);
        let listed = tokio::task::spawn_blocking(move || {
            server.withdraw();
            server.gate.response()
        });
        listed.await.map_err(|_| status(Code::UNAVAILABLE, "the server is ending"))
    }

    async fn decide(
        &self,
        _: &TtrpcContext,
        request: DecideRequest,
    ) -> ttrpc::Result<DecideResponse> {
        let _call = self.call()?;
        self.local()?;
        let (server, by) = (Arc::clone(&self.server), self.peer.principal());
        let decided = tokio::task::spawn_blocking(move || {
            let DecideRequest { order, approve, reason, .. } = request;
            server.gate.decide(order, approve, &reason, &by)
        });
        match decided.await {
            Ok(Ok(())) => Ok(DecideResponse::new()),
            Ok(Err(why)) => {
                let code = match why {
                    DecideError::Unknown(_) => Code::NOT_FOUND,
                    DecideError::HasCause(_) => Code::FAILED_PRECONDITION,
                    DecideError::NoReason => Code::INVALID_ARGUMENT,
                    DecideError::Disk(_) => Code::UNAVAILABLE,
                };
                Err(status(code, chain(&why)))
            }
            Err(_) => Err(status(Code::UNAVAILABLE, "the server is ending")),
        }
    }
}
