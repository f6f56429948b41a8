//! The guard's own calls to the inner shim.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::messages::{
    ConnectRequest, ConnectResponse, DeleteRequest, KillRequest, Message, PauseRequest,
    PidsRequest, PidsResponse, ProcessId, ResumeRequest, ShutdownRequest, StateRequest,
    StateResponse, WaitRequest, WaitResponse,
    protobuf::{self, well_known_types::empty::Empty},
};
use crate::ttrpc::{Call, CallError, Client, Metadata};

/// How long the inner shim has for one call. runc freezes a container of thousands of
/// tasks in well under a second; on a machine out of memory it may take several.
const LIMIT: Duration = Duration::from_secs(10);

/// How long it may take to forget containers: `delete` asks it, which has five seconds in all.
const FORGETTING: Duration = Duration::from_millis(500);

/// A handle to the inner shim, with a connection of its own, which is made when first
/// needed, and again when it was lost.
#[derive(Debug, Clone)]
pub struct Inner(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    service: String,
    metadata: Vec<Metadata>,
    client: Mutex<Option<Arc<Client>>>,
}

/// Why the inner shim did not do what the guard asked.
#[derive(Debug, thiserror::Error)]
pub enum InnerCallError {
    /// It is not there.
    #[error("connecting to the inner shim at {}", .socket.display())]
    Connect {
        /// Where it listens.
        socket: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// It refused, or did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A message that can't be written, or an answer that makes no sense.
    #[error("a message of {method} to the inner shim, or its answer")]
    Message {
        /// What was called.
        method: &'static str,
        /// What is wrong with it.
        #[source]
        source: protobuf::Error,
    },
}

impl Inner {
    /// The inner shim that listens on `socket` and speaks this version of the Task API.
    #[must_use]
    pub fn new(socket: PathBuf, version: u32, namespace: &str) -> Self {
        let version = if version >= 3 { version } else { 2 };
        Self(Arc::new(Shared {
            socket,
            service: format!("containerd.task.v{version}.Task"),
            metadata: vec![("containerd-namespace-ttrpc".to_owned(), namespace.to_owned())],
            client: Mutex::new(None),
        }))
    }

    async fn client(&self) -> Result<Arc<Client>, InnerCallError> {
        let mut held = self.0.client.lock().await;
        if let Some(client) = held.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let client = Client::connect(&self.0.socket, self.0.metadata.clone()).await;
        let client = client
            .map_err(|source| InnerCallError::Connect { socket: self.0.socket.clone(), source })?;
        let client = Arc::new(client);
        *held = Some(Arc::clone(&client));
        Ok(client)
    }

    async fn call<Q: Message, A: Message>(
        &self,
        method: &'static str,
        request: Q,
        limit: Option<Duration>,
    ) -> Result<A, InnerCallError> {
        let wrong = |source| InnerCallError::Message { method, source };
        let payload = &request.write_to_bytes().map_err(wrong)?;
        let client = self.client().await?;
        let call = Call { service: &self.0.service, method, payload };
        A::parse_from_bytes(&client.call(call, limit).await?).map_err(wrong)
    }

    async fn tell<Q: Message>(
        &self,
        method: &'static str,
        request: Q,
    ) -> Result<(), InnerCallError> {
        self.call::<Q, Empty>(method, request, Some(LIMIT)).await.map(drop)
    }

    /// Sends a signal, also to a frozen container: SIGKILL ends it as it stands.
    ///
    /// # Errors
    /// When it is not sent.
    pub async fn kill(&self, request: &KillRequest) -> Result<(), InnerCallError> {
        self.tell("Kill", request.clone()).await
    }

    /// Freezes a container.
    ///
    /// # Errors
    /// When it is not frozen.
    pub async fn pause(&self, id: &str) -> Result<(), InnerCallError> {
        self.tell("Pause", PauseRequest { id: id.to_owned(), ..PauseRequest::default() }).await
    }

    /// Thaws a container.
    ///
    /// # Errors
    /// When it is not thawed.
    pub async fn resume(&self, id: &str) -> Result<(), InnerCallError> {
        self.tell("Resume", ResumeRequest { id: id.to_owned(), ..ResumeRequest::default() }).await
    }

    /// What a process does.
    ///
    /// # Errors
    /// When it can't be told.
    pub async fn state(&self, process: &ProcessId) -> Result<StateResponse, InnerCallError> {
        self.call("State", StateRequest::from(process), Some(LIMIT)).await
    }

    /// The processes of a container, as the host numbers them.
    ///
    /// # Errors
    /// When they can't be told.
    pub async fn pids(&self, id: &str) -> Result<Vec<u32>, InnerCallError> {
        let request = PidsRequest { id: id.to_owned(), ..PidsRequest::default() };
        let answer: PidsResponse = self.call("Pids", request, Some(LIMIT)).await?;
        Ok(answer.processes.iter().map(|process| process.pid).collect())
    }

    /// Waits, without a limit, for the end of a process, and gives its exit status.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub async fn wait(&self, process: &ProcessId) -> Result<u32, InnerCallError> {
        let answer: WaitResponse = self.call("Wait", WaitRequest::from(process), None).await?;
        Ok(answer.exit_status)
    }

    /// Deletes a process that has ended.
    ///
    /// # Errors
    /// When it is not deleted.
    pub async fn delete(&self, process: &ProcessId) -> Result<(), InnerCallError> {
        self.tell("Delete", DeleteRequest::from(process)).await
    }

    /// Asks the inner shim to end, which it does if it has no container.
    ///
    /// # Errors
    /// When it does not answer; it may have ended before it could.
    pub async fn shutdown(&self, id: &str) -> Result<(), InnerCallError> {
        self.tell("Shutdown", ShutdownRequest { id: id.to_owned(), ..ShutdownRequest::default() })
            .await
    }

    /// The inner shim's own process id.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn shim_pid(&self, id: &str) -> Result<u32, InnerCallError> {
        let request = ConnectRequest { id: id.to_owned(), ..ConnectRequest::default() };
        let answer: ConnectResponse = self.call("Connect", request, Some(LIMIT)).await?;
        Ok(answer.shim_pid)
    }
}

/// Has an inner shim, by the first of its sockets, forget containers whose Delete it was never
/// told of, with which it would not end; then end, where `last` was the last of them.
pub(crate) fn forget(sockets: &[PathBuf], namespace: &str, all: &[&str], last: Option<&str>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Ok(runtime), Some(socket)) = (runtime, sockets.first()) else { return };
    runtime.block_on(async {
        // Which version it speaks is not known here; one of them it does not answer, and whoever
        // asks sees to it that nothing hangs on its answer.
        for version in [3, 2] {
            let inner = Inner::new(socket.clone(), version, namespace);
            let _ = tokio::time::timeout(FORGETTING, async {
                for id in all {
                    let _ = inner.delete(&ProcessId::init(*id)).await;
                }
                if let Some(id) = last {
                    let _ = inner.shutdown(id).await;
                }
            })
            .await;
        }
    });
}
