//! The handle by which a container's actions are asked for, from any thread.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use lacre_types::Action;
use tokio::sync::{mpsc, oneshot};

use crate::actions::resume;
use crate::actor::Actor;
use crate::container::{Container, Held};
use crate::freeze_arbiter::{FreezeArbiter, Frozen};
use crate::freezer::FreezeError;
use crate::kill::strike;
use crate::network::state::is_isolated;
use crate::outcome::{Became, Outcome};
use crate::release::{Release, release};
use crate::request::{Asked, Request, Waiter};
use crate::runtime::Runtime;
use crate::settings::Settings;
use crate::target::Target;

/// How many requests lie in the channel. The actor takes them out at once, whatever it is
/// doing; full, `act` waits for room.
const CHANNEL: usize = 64;

/// A cause is kept to this many bytes: it travels in requests and records.
const CAUSE_MAX: usize = 512;

/// Acts on one container: on the processes that are proven to be its own, and on no other
/// ([`Target`]). Actions happen one after the other, the worst first; one that
/// waits for a grace period or a daemon is overtaken by a worse one.
#[derive(Debug, Clone)]
pub struct Executor {
    requests: mpsc::Sender<Request>,
    held: Arc<Held>,
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
        let target = Arc::new(Target::hold(container.init_pid)?);
        let held = Arc::new(Held {
            container,
            settings,
            runtime,
            arbiter: Arc::new(FreezeArbiter::new(Arc::clone(&target))),
            target,
            end_awaited: AtomicBool::new(false),
            watched: AtomicBool::new(false),
        });
        let (requests, inbox) = mpsc::channel(CHANNEL);
        tokio::spawn(Actor::new(Arc::clone(&held)).run(inbox));
        Ok(Self { requests, held })
    }

    /// Does it, and says what became of it. `cause` is for the record. Calling it already
    /// freezes the container, or sends it SIGKILL, on the caller's own thread; the future,
    /// awaited anywhere, does the rest. Once it was called for what ends the container,
    /// nothing freezes it any more.
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
        let request = Request(action, Waiter { asked, since, reply });
        let requests = self.requests.clone();
        async move {
            let sent = requests.send(request).await.is_ok();
            let answer = if sent { answer.await.ok() } else { None };
            answer.unwrap_or_else(|| {
                let became = Became::from((false, "lacre is shutting down".to_owned()));
                became.outcome(action, cause, since.elapsed())
            })
        }
    }

    /// What takes effect before anybody is woken to do the action. Says whether the
    /// container was frozen.
    fn stop_the_bleeding(&self, action: Action) -> bool {
        let Held { target, arbiter, .. } = &*self.held;
        let frozen = || arbiter.freezer().is_ok_and(|freezer| freezer.is_asked().unwrap_or(false));
        match action {
            Action::Pause => {
                let was = frozen();
                arbiter.ask();
                was
            }
            Action::Stop => {
                arbiter.end();
                target.keep_mounts();
                frozen()
            }
            Action::Kill | Action::Restart | Action::Delete => {
                // Those who come later find nobody to look at.
                if !arbiter.end() || !target.init().ended().unwrap_or(false) {
                    strike(target, &target.look());
                }
                false
            }
            Action::Skip | Action::Deny | Action::Isolate => false,
        }
    }

    /// Somebody else ends the container: a client's Delete, or its SIGKILL. From now on nothing
    /// freezes it, and what lacre froze is thawed.
    pub fn end_asked(&self) {
        self.held.arbiter.end_and_thaw();
    }

    /// A client's Pause is handed on to the inner shim. (Where lacre has frozen it already, it
    /// need not be: a Resume ends both.)
    pub fn client_pauses(&self) {
        self.held.arbiter.client_pauses();
    }

    /// A client's Resume: thaws the container, also when lacre froze it, after a PAUSE that is
    /// under way. Says whether it was frozen. Where a client had paused it first, that goes by
    /// the inner shim, which calls it running then. The next PAUSE freezes it again.
    ///
    /// # Errors
    /// When it does not run: it can't be thawed, a cgroup above it is frozen, or it is being
    /// ended.
    pub async fn resume(&self) -> Result<bool, FreezeError> {
        resume(Arc::clone(&self.held)).await
    }

    /// Whether lacre has frozen it, and nobody has thawed it since.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.held.arbiter.is_paused()
    }

    /// Who has it frozen, as far as can be told.
    #[must_use]
    pub fn frozen(&self) -> Frozen {
        self.held.arbiter.frozen()
    }

    /// Whether its network is cut.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        is_isolated(&self.held.settings.run, &self.held.container.generation)
    }

    /// A client's Pause that is not handed on, since lacre has frozen it already.
    pub fn client_pauses_too(&self) {
        self.held.arbiter.client_pauses_too();
    }

    /// Undoes PAUSE and ISOLATE, for an operator, and waits a moment to see whether the policy has
    /// either done again. What somebody else froze stays frozen.
    pub async fn release(&self) -> Release {
        release(Arc::clone(&self.held)).await
    }

    /// What it acts on.
    #[must_use]
    pub fn target(&self) -> &Arc<Target> {
        &self.held.target
    }
}
