//! The guard: what it does at each moment of a container's life.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lacre_report::Reporter;
use lacre_types::chain;
use slog::warn;
use tokio::task::JoinSet;

use super::container::Guarded;
use super::policies::Switchboard;
use super::{Context, Created, Guard, Handling, Permit, Refusal, stream};
use crate::messages::{CreateRequest, ExecRequest, KillRequest, ProcessId, Status};

/// For the last reports, within what the wrapper allows (two seconds).
const LAST_REPORTS: Duration = Duration::from_millis(1500);

/// What all containers of one inner shim share.
pub(super) struct Shared {
    pub(super) context: Context,
    pub(super) node: String,
    pub(super) reporter: Arc<Reporter>,
    pub(super) switchboard: Arc<Switchboard>,
}

/// Guards the containers of one inner shim.
pub(super) struct Lacre {
    shared: Arc<Shared>,
    containers: Mutex<HashMap<String, Result<Arc<Guarded>, Refusal>>>,
    /// What is still being taken out of the kernel; one for each container that went within
    /// the last moments.
    resting: Mutex<JoinSet<()>>,
}

impl Lacre {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared), containers: Mutex::default(), resting: Mutex::default() }
    }

    fn containers(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<String, Result<Arc<Guarded>, Refusal>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Result<Arc<Guarded>, Refusal> {
        self.containers().get(id).cloned().unwrap_or_else(|| {
            Err(Refusal::not_ready("this container was not created under lacre's eyes"))
        })
    }
}

#[async_trait]
impl Guard for Lacre {
    async fn create(&self, request: CreateRequest, created: Created) {
        match Guarded::prepare(&self.shared, &request, created).await {
            Some(prepared) => {
                if let Err(refusal) = &prepared {
                    warn!(self.shared.context.log, "will not start";
                        "container" => &request.id, "error" => refusal.to_string());
                }
                self.containers().insert(request.id, prepared.map(Arc::new));
            }
            None => self.forget(&request.id).await,
        }
    }

    async fn start(&self, process: &ProcessId) -> Result<Permit, Refusal> {
        let guarded = self.find(&process.id)?;
        Ok(Permit::guarded(&guarded, process.clone()))
    }

    async fn started(&self, process: &ProcessId, pid: u32) {
        if process.is_init() {
            return;
        }
        if let Ok(guarded) = self.find(&process.id)
            && let Err(error) = guarded.joined(pid)
        {
            warn!(self.shared.context.log, "not followed"; "process" => process.to_string(),
                "error" => chain(&error));
        }
    }

    async fn exec(&self, request: &ExecRequest) -> Result<(), Refusal> {
        let guarded = self.find(&request.process.id)?;
        if guarded.executor.is_paused() {
            return Err(Refusal::not_ready(
                "cannot exec in a paused state; look at its violations, then resume or delete it",
            ));
        }
        Ok(())
    }

    async fn deleted(&self, process: &ProcessId) {
        if process.is_init() {
            self.forget(&process.id).await;
        }
    }

    async fn pause(&self, id: &str) -> Handling {
        match self.find(id) {
            Ok(guarded) if guarded.executor.is_paused() => Handling::Done,
            _ => Handling::Forward,
        }
    }

    async fn resume(&self, id: &str) -> Handling {
        let Ok(guarded) = self.find(id) else { return Handling::Forward };
        if !guarded.executor.is_paused() {
            return Handling::Forward;
        }
        match guarded.executor.resume().await {
            Ok(_) => {
                stream::resumed(&self.shared.context.events, id);
                Handling::Done
            }
            Err(error) => Handling::Refuse(Refusal::not_ready(format!("thawing it: {error}"))),
        }
    }

    async fn kill(&self, _: &KillRequest) -> Handling {
        Handling::Forward
    }

    fn status(&self, process: &ProcessId, status: Status) -> Status {
        let paused = self.find(&process.id).is_ok_and(|guarded| guarded.executor.is_paused());
        if paused && status == Status::Running { Status::Paused } else { status }
    }

    async fn shutdown(&self) {
        let left = std::mem::take(&mut *self.containers());
        let mut resting =
            std::mem::take(&mut *self.resting.lock().unwrap_or_else(PoisonError::into_inner));
        resting.spawn_blocking(move || drop(left));
        let shared = Arc::clone(&self.shared);
        let _ = tokio::task::spawn_blocking(move || shared.reporter.stop(LAST_REPORTS)).await;
        while resting.join_next().await.is_some() {}
    }
}

impl Lacre {
    /// Disarms, off this thread: a source ends its threads. What the kernel then takes its
    /// time for is nobody's to wait for.
    async fn forget(&self, id: &str) {
        let gone = self.containers().remove(id);
        let shared = Arc::clone(&self.shared);
        let id = id.to_owned();
        let disarmed = tokio::task::spawn_blocking(move || {
            let rests =
                gone.and_then(Result::ok).map(|guarded| guarded.disarm(&shared.context.log));
            shared.switchboard.hang_up(&id);
            shared.reporter.unregister(&shared.context.namespace, &id);
            let _ =
                lacre_executor::forget(&shared.context.config.run, &shared.context.namespace, &id);
            rests
        });
        let rests = disarmed.await.ok().flatten().unwrap_or_default();
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        while resting.try_join_next().is_some() {}
        for rest in rests {
            resting.spawn_blocking(rest);
        }
    }
}
