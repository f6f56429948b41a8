//! Asks the policy server what is wanted, and answers.

use std::sync::Arc;
use std::time::Duration;

use lacre_attest::enrol::{Challenge, Proof};
use lacre_proto::attest::{
    ActivateRequest, AttestationClient, DeclineRequest, EnrolRequest, PollRequest, Secret,
    SubmitRequest, Wanted,
};
use lacre_proto::{Backoff, CALL, CONNECT, CallError, Connector, MAX_PART, WATCH, within};
use lacre_types::chain;
use slog::{Logger, info, warn};
use tokio::time::{Instant, sleep, sleep_until};
use ttrpc::context::with_duration;

use crate::node::{Node, NodeError, Shown};

/// How long a verdict may take: a list of a million lines, behind others.
const VERDICT: Duration = Duration::from_secs(180);

/// The first and the longest wait before the next connection, or the next try to enrol.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// How often the server is asked at most.
const POLL: Duration = Duration::from_secs(1);

/// Why a connection to the server ended, or never was.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error(transparent)]
    Server(#[from] CallError),
    #[error("the policy server's {0} can't be read")]
    Answer(&'static str, #[source] serde_json::Error),
    #[error("this node can't answer")]
    Node(#[from] NodeError),
    #[error("a thread of this process ended")]
    Thread(#[source] tokio::task::JoinError),
}

/// Answers the server, for ever.
pub async fn serve(node: Arc<Node>, connector: &Connector, log: &Logger) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let mut agent = Agent { node, log: log.clone(), first: true };
    let mut told = String::new();
    loop {
        let began = Instant::now();
        let error = match connector.connect(CONNECT).await {
            Ok(client) => {
                info!(log, "connected"; "server" => %connector.address());
                agent.session(&AttestationClient::new(client)).await
            }
            Err(error) => CallError::Connect(error).into(),
        };
        if began.elapsed() > BACKOFF.1 {
            backoff.reset();
            told.clear();
        }
        // The same again is not news.
        let says = chain(&error);
        if told != says {
            warn!(log, "not attested; trying again"; "error" => &says);
            told = says;
        }
        sleep(backoff.wait()).await;
    }
}

struct Agent {
    node: Arc<Node>,
    log: Logger,
    /// Whether nothing was shown since this process started.
    first: bool,
}

impl Agent {
    /// Asks the node, on a thread that may wait for the TPM.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Node) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<Result<T, NodeError>, AgentError> {
        let node = Arc::clone(&self.node);
        tokio::task::spawn_blocking(move || question(&node)).await.map_err(AgentError::Thread)
    }

    async fn session(&mut self, server: &AttestationClient) -> AgentError {
        loop {
            let asked = Instant::now();
            if let Err(error) = self.turn(server).await {
                return error;
            }
            sleep_until(asked + POLL).await;
        }
    }

    async fn turn(&mut self, server: &AttestationClient) -> Result<(), AgentError> {
        let ak = self.ask(Node::public).await??.unwrap_or_default();
        let (node, first) = (self.node.name().to_owned(), self.first);
        let request = PollRequest { node, ak, first, ..PollRequest::default() };
        let answer = server
            .poll(with_duration(WATCH + CONNECT), &request)
            .await
            .map_err(CallError::call("say what is wanted"))?;
        match answer.wanted.enum_value_or(Wanted::NOTHING) {
            Wanted::NOTHING => Ok(()),
            Wanted::ENROL => self.enrol(server).await,
            Wanted::EVIDENCE => {
                let challenge = serde_json::from_slice(&answer.challenge)
                    .map_err(|error| AgentError::Answer("challenge", error))?;
                self.first = false;
                self.attest(server, challenge).await
            }
        }
    }

    async fn enrol(&self, server: &AttestationClient) -> Result<(), AgentError> {
        let enrol = self.ask(Node::enrol).await??;
        let enrol = serde_json::to_vec(&enrol).unwrap_or_default();
        let request = EnrolRequest { enrol, ..EnrolRequest::default() };
        let answer =
            server.enrol(within(), &request).await.map_err(CallError::call("enrol this node"))?;
        let proof: Proof = serde_json::from_slice(&answer.proof)
            .map_err(|error| AgentError::Answer("credential", error))?;
        let activated = self.ask(move |node| node.activate(&proof)).await??;
        let activated = serde_json::to_vec(&activated).unwrap_or_default();
        let request = ActivateRequest { activated, ..ActivateRequest::default() };
        server.activate(within(), &request).await.map_err(CallError::call("enrol this node"))?;
        info!(self.log, "enrolled");
        Ok(())
    }

    async fn attest(
        &self,
        server: &AttestationClient,
        challenge: Challenge,
    ) -> Result<(), AgentError> {
        let began = Instant::now();
        let shown = match self.ask(move |node| node.show(&challenge, false)).await? {
            Ok(shown) => shown,
            Err(error) => {
                let (reason, detail) = (error.reason().to_owned(), chain(&error));
                warn!(self.log, "there is no evidence"; "reason" => &reason, "error" => &detail);
                let request = DeclineRequest { reason, detail, ..DeclineRequest::default() };
                server
                    .decline(within(), &request)
                    .await
                    .map_err(CallError::call("note a refusal"))?;
                return Ok(());
            }
        };
        let gathered = began.elapsed();
        let Shown { evidence, secrets } = shown;
        let bytes = evidence.to_json();
        drop(evidence);
        let mut secrets: Vec<_> = secrets
            .into_iter()
            .map(|(container, seq, secret)| {
                let secret = secret.as_bytes().to_vec();
                Secret { container, secret, seq, ..Secret::default() }
            })
            .collect();
        let parts = bytes.chunks(MAX_PART);
        let count = parts.len();
        for (at, part) in parts.enumerate() {
            let last = at + 1 == count;
            let request = SubmitRequest {
                offset: (at * MAX_PART) as u64,
                part: part.to_vec(),
                last,
                secrets: if last { std::mem::take(&mut secrets) } else { Vec::new() },
                ..SubmitRequest::default()
            };
            let limit = with_duration(if last { VERDICT } else { CALL });
            let answer = server
                .submit(limit, &request)
                .await
                .map_err(CallError::call("take this node's evidence"))?;
            if let Some(node) = answer.node.as_ref() {
                let findings: Vec<_> = node.findings.iter().map(|f| f.name.as_str()).collect();
                info!(self.log, "attested"; "state" => &node.state, "bytes" => bytes.len(),
                    "gathered_ms" => gathered.as_secs_f64() * 1e3,
                    "judged_ms" => (began.elapsed() - gathered).as_secs_f64() * 1e3,
                    "findings" => findings.join(" "));
            }
        }
        Ok(())
    }
}
