use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lacre_types::Action;
use tokio::sync::{mpsc, oneshot};

use crate::backoff::Backoff;
use crate::cgroup::{Cgroup, CgroupError};
use crate::detached::Helper;
use crate::freezer::{FreezeError, Freezer};
use crate::kill::Init;
use crate::manager::Manager;
use crate::order::{Arrival, Order};
use crate::outcome::Outcome;
use crate::perform::perform;
use crate::runtime::Runtime;

/// How many requests lie in the channel. The actor takes them out at once, whatever it is
/// doing; full, `act` waits for room.
const CHANNEL: usize = 64;

/// How many callers wait for one action. Actions of a kind are done together, so more than
/// this are violations of one burst; those beyond are told that it is being done.
const WAITERS: usize = 256;

/// A cause is kept to this many bytes: it travels in requests and records.
const CAUSE_MAX: usize = 512;

/// The container to act on.
#[derive(Debug, Clone)]
pub struct Container {
    /// containerd's namespace.
    pub namespace: String,
    /// Its id.
    pub id: String,
    /// The pid of its init, which is held from now on.
    pub init_pid: u32,
    /// containerd's socket.
    pub address: String,
    /// Who brings it back.
    pub manager: Manager,
}

/// What the node's configuration says of actions.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Between SIGTERM and SIGKILL of a STOP.
    pub grace: Duration,
    /// How soon, and how often, a container may come back.
    pub backoff: Backoff,
    /// lacre's run directory, `/run/lacre`.
    pub run: PathBuf,
    /// How this program starts itself to act without a shim.
    pub helper: Helper,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
            backoff: Backoff::default(),
            run: "/run/lacre".into(),
            helper: Helper::default(),
        }
    }
}

/// Acts on one container. Actions happen one after the other, the worst first; one that
/// waits for a grace period or a daemon is overtaken by a worse one.
#[derive(Debug, Clone)]
pub struct Executor {
    requests: mpsc::Sender<Ask>,
    held: Arc<Held>,
}

/// What the actions need of the container.
pub(crate) struct Held {
    pub(crate) container: Container,
    pub(crate) settings: Settings,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) init: Init,
    pub(crate) cgroup: Result<Arc<Cgroup>, CgroupError>,
    /// Whether the last who froze it was lacre, and nobody resumed it since.
    pub(crate) paused: AtomicBool,
    /// Whether a thread watches over its cut network.
    pub(crate) watched: AtomicBool,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("container", &self.container).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Ask {
    Act(Action, Waiter),
    Resume(oneshot::Sender<Result<bool, FreezeError>>),
}

/// What the first who asked for an action gave it on its way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) cause: String,
    /// Whether the container stood still before.
    pub(crate) was_frozen: bool,
}

#[derive(Debug)]
struct Waiter {
    asked: Asked,
    since: Instant,
    reply: oneshot::Sender<Outcome>,
}

impl Executor {
    /// Holds the container, between Create and Start, and waits for requests; on the tokio
    /// runtime that this is called on. It ends when the last clone is dropped.
    ///
    /// # Errors
    /// When there is no such init. A cgroup that can't be frozen is no error here: PAUSE
    /// says so, and the other actions do without.
    pub fn start(
        container: Container,
        settings: Settings,
        runtime: Arc<dyn Runtime>,
    ) -> io::Result<Self> {
        let init = Init::hold(container.init_pid)?;
        let cgroup = Cgroup::of(container.init_pid).map(Arc::new);
        let (paused, watched) = (AtomicBool::new(false), AtomicBool::new(false));
        let held = Arc::new(Held { container, settings, runtime, init, cgroup, paused, watched });
        let (requests, inbox) = mpsc::channel(CHANNEL);
        tokio::spawn(Actor::new(Arc::clone(&held)).run(inbox));
        Ok(Self { requests, held })
    }

    /// Does it, and says what became of it. `cause` is for the record. Calling it already
    /// freezes the container, on the caller's own thread, for what begins with that; the
    /// future, awaited anywhere, does the rest.
    pub fn act(&self, action: Action, cause: &str) -> impl Future<Output = Outcome> + Send + use<> {
        let since = Instant::now();
        let was_frozen = self.stop_the_bleeding(action);
        let mut end = cause.len().min(CAUSE_MAX);
        while !cause.is_char_boundary(end) {
            end -= 1;
        }
        let cause = cause[..end].to_owned();
        let (reply, answer) = oneshot::channel();
        let asked = Asked { cause: cause.clone(), was_frozen };
        let ask = Ask::Act(action, Waiter { asked, since, reply });
        let requests = self.requests.clone();
        async move {
            let sent = requests.send(ask).await.is_ok();
            let answer = if sent { answer.await.ok() } else { None };
            answer.unwrap_or_else(|| Outcome {
                action,
                done: false,
                detail: "lacre is shutting down".into(),
                took: since.elapsed(),
                cause,
            })
        }
    }

    /// Freezes it before anybody is woken to do the action. Says whether it was frozen.
    fn stop_the_bleeding(&self, action: Action) -> bool {
        let stands = action == Action::Pause || action.ends() && action != Action::Stop;
        let Some(freezer) = self.freezer().filter(|_| stands) else { return false };
        let was = freezer.is_asked().unwrap_or(false);
        // The action itself asks again, and says what went wrong.
        let _ = freezer.ask();
        was
    }

    /// A client's Resume: thaws the container, also when lacre froze it, and says whether
    /// it was frozen. The next PAUSE freezes it again.
    ///
    /// # Errors
    /// When it can't be thawed.
    pub async fn resume(&self) -> Result<bool, FreezeError> {
        let (reply, answer) = oneshot::channel();
        // Without an actor there is nobody left to pause it either.
        if self.requests.send(Ask::Resume(reply)).await.is_err() {
            return Ok(false);
        }
        answer.await.unwrap_or(Ok(false))
    }

    /// Whether lacre has frozen it, and nobody has thawed it since.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.held.paused.load(Ordering::Acquire)
            && self.freezer().is_some_and(|freezer| freezer.is_asked().unwrap_or(false))
    }

    /// Its freezer, for who can't wait for its turn.
    #[must_use]
    pub fn freezer(&self) -> Option<Freezer> {
        self.held.cgroup.as_ref().ok().cloned().map(Freezer::new)
    }
}

type Running = Pin<Box<dyn Future<Output = (bool, String)> + Send>>;

struct Actor {
    held: Arc<Held>,
    order: Order,
    waiting: BTreeMap<Action, Vec<Waiter>>,
    running: Option<(Action, Running)>,
}

impl Actor {
    fn new(held: Arc<Held>) -> Self {
        Self { held, order: Order::default(), waiting: BTreeMap::new(), running: None }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Ask>) {
        let mut open = true;
        while open || self.running.is_some() {
            let finished = tokio::select! {
                biased;
                ask = inbox.recv(), if open => {
                    match ask {
                        Some(Ask::Act(action, waiter)) => self.arrive(action, waiter),
                        Some(Ask::Resume(reply)) => self.resume(reply).await,
                        None => open = false,
                    }
                    None
                }
                done = finish(&mut self.running) => Some(done),
            };
            if let Some((action, (done, detail))) = finished {
                self.running = None;
                self.order.finished(done && action.ends());
                self.answer(action, done, &detail);
                for (action, by) in self.order.covered() {
                    self.answer(action, true, &covered(by));
                }
            }
            if self.running.is_none()
                && let Some(action) = self.order.next()
            {
                let first = self.waiting.get(&action).and_then(|waiters| waiters.first());
                let asked = first.map(|waiter| waiter.asked.clone()).unwrap_or_default();
                let running = perform(Arc::clone(&self.held), action, asked);
                self.running = Some((action, Box::pin(running)));
            }
        }
    }

    fn arrive(&mut self, action: Action, waiter: Waiter) {
        let arrival = self.order.arrive(action);
        let others = self.waiting.entry(action).or_default();
        if arrival == Arrival::Joined && others.len() >= WAITERS {
            reply(action, waiter, false, "it is being done for others before this one");
            return;
        }
        others.push(waiter);
        match arrival {
            Arrival::Nothing => {
                self.answer(action, true, "nothing for the executor to do");
            }
            Arrival::Covered(by) => self.answer(action, true, &covered(by)),
            Arrival::Joined | Arrival::Queued => {}
            Arrival::Overtakes => {
                if let Some((running, _)) = self.running.take() {
                    self.order.finished(false);
                    self.answer(running, false, &format!("overtaken by {action}"));
                }
            }
        }
    }

    fn answer(&mut self, action: Action, done: bool, detail: &str) {
        for waiter in self.waiting.remove(&action).unwrap_or_default() {
            reply(action, waiter, done, detail);
        }
    }

    /// Waits for an action that runs: a thaw in the middle of a kill would help nobody.
    async fn resume(&mut self, reply: oneshot::Sender<Result<bool, FreezeError>>) {
        let thaw = match (&self.held.cgroup, &self.running) {
            (Ok(cgroup), None) => {
                let freezer = Freezer::new(Arc::clone(cgroup));
                let frozen = freezer.is_asked();
                frozen.and_then(|frozen| freezer.thaw().map(|()| frozen))
            }
            // An action under way leaves it as it must be.
            _ => Ok(false),
        };
        if thaw.is_ok() && self.running.is_none() {
            self.held.paused.store(false, Ordering::Release);
        }
        let _ = reply.send(thaw);
    }
}

fn reply(action: Action, waiter: Waiter, done: bool, detail: &str) {
    let Waiter { asked: Asked { cause, .. }, since, reply } = waiter;
    let outcome = Outcome { action, done, detail: detail.into(), took: since.elapsed(), cause };
    // A caller that went away does not want it.
    let _ = reply.send(outcome);
}

fn covered(by: Action) -> String {
    format!("the container has ended: {by} was done before")
}

async fn finish(running: &mut Option<(Action, Running)>) -> (Action, (bool, String)) {
    match running {
        Some((action, running)) => (*action, running.await),
        None => std::future::pending().await,
    }
}
