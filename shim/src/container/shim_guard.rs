//! The guard of one inner shim's containers: hands each call to the owner of its container.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use lacre_report::{Origin, rfc3339};
use lacre_types::{Action, Mode, chain};
use tokio::time::timeout;

use super::generation::Generation;
use super::owner::Owner;
use super::owner_leave::OwnerLeave;
use super::releasing;
use super::telling::{self, Released, ServerLink, Telling, Told};
use crate::guard::guarded_container::Guarded;
use crate::guard::preparation::Preparation;
use crate::guard::{Created, Guard, Handling, Operator, Permit, Refusal, Shared, task_events};
use crate::messages::{
    CreateTaskRequest, ExecProcessRequest, KillRequest, OfProcess as _, ProcessId, Status,
};

/// For the last reports, within what the wrapper allows (two seconds).
const LAST_REPORTS: Duration = Duration::from_millis(1500);

/// How long the watchdog may take to be there. It is started while the first container of a
/// node is being created.
const WATCHDOG: Duration = Duration::from_secs(5);

/// How long a process that was killed before it was started may take to go.
const STOPPING: Duration = Duration::from_secs(5);
/// As it is numbered on every architecture (signal(7)).
const SIGKILL: u32 = 9;

/// Guards the containers of one inner shim.
pub(crate) struct ShimGuard {
    shared: Arc<Shared>,
    owners: Mutex<Owners>,
}

#[derive(Default)]
struct Owners {
    /// Until each has ended.
    all: HashMap<Generation, Owner>,
    /// Who has an id now; an earlier one may still end.
    by_id: HashMap<String, Generation>,
    /// The inner shim has gone.
    alone: bool,
}

impl ShimGuard {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared), owners: Mutex::default() }
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Result<Owner, Refusal> {
        let owners = self.owners();
        let owner = owners.by_id.get(id).and_then(|generation| owners.all.get(generation));
        owner
            .cloned()
            .ok_or_else(|| Refusal::not_ready("this container was not created under lacre's eyes"))
    }

    fn guarded(&self, id: &str) -> Option<Arc<Guarded>> {
        self.find(id).ok()?.guarded()
    }

    fn paused(&self, id: &str) -> Option<Arc<Guarded>> {
        self.guarded(id).filter(|guarded| guarded.executor.is_paused())
    }

    /// An owner has ended: nothing is kept of it, nor of its id unless that is another's now.
    fn forget(&self, id: &str, generation: &Generation) {
        let mut owners = self.owners();
        owners.all.remove(generation);
        let current = owners.by_id.get(id) == Some(generation);
        if current {
            owners.by_id.remove(id);
        }
        drop(owners);
        let run = &self.shared.context.config.run;
        let _ = lacre_executor::forget(run, generation.as_str());
        if current {
            self.shared.hang_up(id);
        }
    }

    /// Ends the process that waits for a Start which will never come: a client of containerd
    /// 1.6 can't delete a task that was created and not started. That process alone: of a
    /// container whose cgroup others are in, runc's kill of all would reach them.
    async fn stop_refused(&self, process: &ProcessId) {
        let inner = &self.shared.context.inner;
        // Whatever comes of it, the Start is refused; `delete` ends what is left.
        if inner.kill(&process.killed_by(SIGKILL)).await.is_ok() {
            let _ = timeout(STOPPING, inner.wait(process)).await;
        }
    }

    /// In enforce mode a container runs only where somebody ends it if this process can't.
    async fn watched(&self, owner: &Owner) -> Result<(), Refusal> {
        let enforces = |guarded: Arc<Guarded>| guarded.rules.mode() == Mode::Enforce;
        if owner.guarded().is_none_or(|guarded| !enforces(guarded)) {
            return Ok(());
        }
        self.shared.context.watchdog.has_us(WATCHDOG).await.map_err(|why| {
            Refusal::not_ready(format!(
                "there is no watchdog, which would end the container if lacre died or hung: {why}"
            ))
        })
    }

    /// Leave to start one process, whichever comes first: an exec may come before the init.
    async fn leave_to_start(
        &self,
        owner: &Owner,
        process: &ProcessId,
    ) -> Result<OwnerLeave, Refusal> {
        if let Some(guarded) = owner.guarded() {
            let has_begun = !process.is_init() && owner.has_begun();
            // It reads files, and may have a violation to tell.
            let checked = tokio::task::spawn_blocking(move || guarded.check_spec(has_begun)).await;
            let unchecked =
                |error| Err(Refusal::not_ready(format!("looking at its files: {error}")));
            checked.unwrap_or_else(unchecked)?;
        }
        self.watched(owner).await?;
        owner.leave_to_start().await
    }

    fn tell_of(&self, owner: &Owner, whole: bool) -> Told {
        let mut told = Told {
            generation: owner.generation().to_string(),
            id: owner.id().to_owned(),
            begun: owner.has_begun(),
            policy: self.shared.origin(owner.id()),
            held: self.shared.reporter.held(&self.shared.context.namespace, owner.id()),
            ..Told::default()
        };
        if let Some(guarded) = owner.guarded() {
            guarded.tell(&mut told, whole);
        }
        told
    }

    fn id_of(&self, generation: &Generation) -> Option<(Owner, String)> {
        let owners = self.owners();
        let owner = owners.all.get(generation)?.clone();
        let id = owner.id().to_owned();
        Some((owner, id))
    }
}

/// The first of some that has ended: nobody waits for another's.
async fn first_ended(all: &[Owner]) -> &Owner {
    let mut ended: Vec<_> = all.iter().map(|owner| (owner, Box::pin(owner.ended()))).collect();
    poll_fn(|context| {
        let first = ended
            .iter_mut()
            .find_map(|(owner, ended)| ended.as_mut().poll(context).is_ready().then_some(*owner));
        first.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

#[async_trait]
impl Guard for ShimGuard {
    async fn create(&self, request: CreateTaskRequest, created: Created) {
        let generation = created.charter.head.generation.clone();
        let owner = Owner::start(Arc::clone(&self.shared), created.charter.clone());
        let alone = {
            let mut owners = self.owners();
            owners.all.insert(generation.clone(), owner.clone());
            owners.by_id.insert(request.id.clone(), generation.clone());
            owners.alone
        };
        if alone {
            owner.inner_gone().await;
        }
        let (preparation, charter) =
            Guarded::prepare(&self.shared, &request, created, owner.call_off()).await;
        let created = !matches!(preparation, Preparation::NotCreated);
        owner.prepared(preparation, charter).await;
        if !created {
            owner.ended().await;
            self.forget(&request.id, &generation);
        }
    }

    async fn start(&self, process: &ProcessId) -> Result<Permit, Refusal> {
        let owner = self.find(&process.id)?;
        match self.leave_to_start(&owner, process).await {
            Ok(leave) => Ok(Permit::given(leave, process.clone())),
            Err(refusal) => {
                if process.is_init() {
                    self.stop_refused(process).await;
                }
                Err(refusal)
            }
        }
    }

    async fn started(&self, process: &ProcessId, pid: u32) {
        if process.is_init() {
            return;
        }
        if let Some(guarded) = self.guarded(&process.id) {
            // It may have a violation to tell.
            let _ = tokio::task::spawn_blocking(move || guarded.joined(pid)).await;
        }
    }

    async fn exec(&self, request: &ExecProcessRequest) -> Result<(), Refusal> {
        self.find(&request.id)?;
        if self.paused(&request.id).is_some() {
            return Err(Refusal::not_ready(
                "cannot exec in a paused state; look at its violations, then resume or delete it",
            ));
        }
        Ok(())
    }

    async fn end(&self, generation: &Generation) {
        let Some((owner, id)) = self.id_of(generation) else { return };
        owner.end().await;
        owner.ended().await;
        self.forget(&id, generation);
    }

    async fn pause(&self, id: &str) -> Handling {
        match self.guarded(id) {
            // Its Resume ends both.
            Some(guarded) if guarded.executor.is_paused() => {
                guarded.executor.client_pauses_too();
                return Handling::Done;
            }
            Some(guarded) => guarded.executor.client_pauses(),
            None => {}
        }
        Handling::Forward
    }

    async fn resume(&self, id: &str) -> Handling {
        let Some(guarded) = self.paused(id) else { return Handling::Forward };
        match guarded.executor.resume().await {
            Ok(_) => {
                task_events::resumed(&self.shared.context.events, id);
                Handling::Done
            }
            Err(error) => {
                Handling::Refuse(Refusal::not_ready(format!("thawing it: {}", chain(&error))))
            }
        }
    }

    async fn kill(&self, request: &KillRequest) -> Handling {
        if request.signal == SIGKILL
            && request.process().is_init()
            && let Some(guarded) = self.guarded(&request.id)
        {
            // A v1 freezer would hold what is killed.
            guarded.executor.end_asked();
        }
        Handling::Forward
    }

    fn status(&self, process: &ProcessId, status: Status) -> Status {
        let paused = status == Status::RUNNING && self.paused(&process.id).is_some();
        if paused { Status::PAUSED } else { status }
    }

    fn tell(&self, only: Option<&Generation>) -> Telling {
        let owners: Vec<_> = self.owners().all.values().cloned().collect();
        let wanted = |owner: &&Owner| only.is_none_or(|only| only == owner.generation());
        let told = owners.iter().filter(wanted).map(|owner| self.tell_of(owner, only.is_some()));
        Telling {
            version: telling::VERSION,
            lacre: env!("CARGO_PKG_VERSION").to_owned(),
            exempt: None,
            server: self.shared.reporter.link().map(|link| ServerLink {
                reached: link.reached,
                since: rfc3339(link.since),
                why: link.why,
            }),
            watched: self.shared.context.watchdog.has_us_now(),
            containers: told.collect(),
        }
    }

    async fn release(&self, of: &Generation, by: Operator) -> Result<Released, Refusal> {
        let guarded = self.id_of(of).and_then(|(owner, id)| Some((owner.guarded()?, id)));
        let Some((guarded, id)) = guarded else {
            return Err(Refusal::not_ready("this container has ended, or was never guarded"));
        };
        let done = guarded.executor.release().await;
        if done.undone.contains(&Action::Pause) {
            task_events::resumed(&self.shared.context.events, &id);
        }
        let namespace = self.shared.context.namespace.clone();
        let origin = Origin {
            container_id: id,
            namespace,
            node: self.shared.node().to_owned(),
            ..Origin::default()
        };
        self.shared.reporter.released(releasing::record(&origin, &by, &done));
        Ok(releasing::told(done))
    }

    async fn inner_gone(&self) {
        let all: Vec<_> = {
            let mut owners = self.owners();
            owners.alone = true;
            owners.all.values().cloned().collect()
        };
        for owner in &all {
            owner.inner_gone().await;
        }
        loop {
            // One may have come to be while others ended.
            let all: Vec<_> = self.owners().all.values().cloned().collect();
            if all.is_empty() {
                return;
            }
            let owner = first_ended(&all).await;
            self.forget(owner.id(), owner.generation());
        }
    }

    async fn shutdown(&self) {
        let shared = Arc::clone(&self.shared);
        let _ = tokio::task::spawn_blocking(move || shared.reporter.stop(LAST_REPORTS)).await;
        self.shared.rested().await;
    }
}
