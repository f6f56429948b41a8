//! The owner of one container, from Create until nothing of it is left: the machine's shell.
//! It runs the effects, and tells the machine what came of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lacre_types::{Mode, chain};
use slog::{Logger, error, info, o, warn};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::charter::Charter;
use super::generation::Generation;
use super::lifecycle::{Effect, Event, Machine, Prepared};
use super::owner_leave::OwnerLeave;
use super::processes::{NoProcess, Processes};
use super::takedown::{self, Stands};
use crate::guard::call_off::CallOff;
use crate::guard::guarded_container::Guarded;
use crate::guard::preparation::Preparation;
use crate::guard::{Refusal, Shared};

/// Letters that wait: some of the relay's, one for each effect that is under way. When it is
/// full, who has one more waits; nothing that the owner does waits for its own mailbox.
const LETTERS: usize = 32;

/// What an owner is written.
enum Letter {
    Tell(Event),
    Prepared(Box<(Preparation, Charter)>),
    Start(oneshot::Sender<Result<OwnerLeave, Refusal>>),
    Gone(NoProcess),
}

/// A container's owner, as others reach it.
#[derive(Clone)]
pub(crate) struct Owner {
    id: String,
    generation: Generation,
    letters: mpsc::Sender<Letter>,
    guarded: Arc<Mutex<Option<Arc<Guarded>>>>,
    ended: watch::Receiver<bool>,
    begun: Arc<AtomicBool>,
    call_off: CallOff,
}

impl Owner {
    /// Of a container whose Create is being handed on.
    pub(crate) fn start(shared: Arc<Shared>, charter: Charter) -> Self {
        let (letters, mailbox) = mpsc::channel(LETTERS);
        let (ends, ended) = watch::channel(false);
        let guarded = Arc::default();
        let call_off = CallOff::default();
        let (id, generation) = (charter.head.id.clone(), charter.head.generation.clone());
        let log = shared.context.log.new(o!("container" => charter.head.id.clone()));
        let mode = shared.context.config.mode;
        let shell = Shell {
            machine: Machine::new(mode),
            shared,
            charter,
            processes: None,
            gone: None,
            refusal: None,
            waiting: None,
            guarded: Arc::clone(&guarded),
            letters: letters.downgrade(),
            ends,
            call_off: call_off.clone(),
            log,
        };
        tokio::spawn(shell.run(mailbox));
        Self { id, generation, letters, guarded, ended, begun: Arc::default(), call_off }
    }

    /// Its id in containerd, which may be another's by the time it ends.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Which container it owns.
    pub(crate) const fn generation(&self) -> &Generation {
        &self.generation
    }

    /// What guards it, if anything does.
    pub(crate) fn guarded(&self) -> Option<Arc<Guarded>> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What its end calls off.
    pub(crate) const fn call_off(&self) -> &CallOff {
        &self.call_off
    }

    /// Without a reader it has ended.
    async fn write(&self, letter: Letter) {
        let _ = self.letters.send(letter).await;
    }

    /// All that comes before Start has been done, or given up.
    pub(crate) async fn prepared(&self, preparation: Preparation, charter: Charter) {
        self.write(Letter::Prepared(Box::new((preparation, charter)))).await;
    }

    /// Whether a process may start.
    pub(crate) async fn leave_to_start(&self) -> Result<OwnerLeave, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.write(Letter::Start(reply)).await;
        let ended = || Err(Refusal::not_ready("this container has ended"));
        let leave = answer.await.unwrap_or_else(|_| ended());
        self.begun.fetch_or(leave.is_ok(), Ordering::Relaxed);
        leave
    }

    /// Whether leave to start a process of it was ever given.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// The inner shim has ended.
    pub(crate) async fn inner_gone(&self) {
        self.write(Letter::Tell(Event::InnerGone)).await;
    }

    /// It is to end.
    pub(crate) async fn end(&self) {
        // At once: it is still being prepared, and who prepares it waits for what is made.
        self.call_off.call();
        self.write(Letter::Tell(Event::EndAsked)).await;
    }

    /// Returns when nothing of it is left, and it is accounted for.
    pub(crate) async fn ended(&self) {
        // A sender that has gone without a word has ended too.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

struct Shell {
    machine: Machine,
    shared: Arc<Shared>,
    charter: Charter,
    processes: Option<Processes>,
    gone: Option<NoProcess>,
    refusal: Option<Refusal>,
    waiting: Option<oneshot::Sender<Result<OwnerLeave, Refusal>>>,
    guarded: Arc<Mutex<Option<Arc<Guarded>>>>,
    letters: mpsc::WeakSender<Letter>,
    ends: watch::Sender<bool>,
    call_off: CallOff,
    log: Logger,
}

impl Shell {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Letter>) {
        while let Some(letter) = mailbox.recv().await {
            for event in self.open(letter) {
                for effect in self.machine.step(event) {
                    self.act(effect);
                }
            }
            if *self.ends.borrow() {
                return;
            }
        }
    }

    /// What a letter tells the machine.
    fn open(&mut self, letter: Letter) -> Vec<Event> {
        match letter {
            Letter::Tell(event) => {
                if matches!(event, Event::InnerGone | Event::EndAsked)
                    && let Some(guard) = self.guard()
                {
                    // From here on nothing freezes it: what is frozen can't end.
                    guard.executor.end_asked();
                }
                vec![event]
            }
            Letter::Start(reply) => {
                self.waiting = Some(reply);
                vec![Event::StartAsked]
            }
            Letter::Gone(gone) => {
                self.gone = Some(gone);
                vec![Event::ProcessesGone]
            }
            Letter::Prepared(prepared) => self.prepared(*prepared),
        }
    }

    fn prepared(&mut self, (preparation, charter): (Preparation, Charter)) -> Vec<Event> {
        self.charter = charter;
        let (prepared, guarded, rules) = match preparation {
            Preparation::NotCreated => {
                // Nothing was armed, and there is no process to be seen gone.
                self.gone = Some(NoProcess::of_none());
                (Prepared::NotCreated, None, None)
            }
            Preparation::Guarded(guarded) => {
                let rules = Arc::clone(&guarded.rules);
                (Prepared::Guarded, Some(guarded), Some(rules))
            }
            Preparation::Blind(blind) => (Prepared::Blind, blind.guarded, Some(blind.rules)),
            Preparation::Refused(refusal) => {
                warn!(self.log, "will not start"; "error" => refusal.to_string());
                self.refusal = Some(refusal);
                (Prepared::Refused, None, None)
            }
        };
        let mut events = Vec::new();
        if let Some(guarded) = &guarded {
            self.follow_rules(guarded);
        }
        if let Some(rules) = rules {
            // The mode that holds now, then every change of it.
            let mut modes = rules.modes();
            if *modes.borrow_and_update() == Mode::Enforce {
                events.push(Event::Tightened);
            }
            let letters = self.letters.clone();
            tokio::spawn(async move {
                while modes.changed().await.is_ok() {
                    let Some(letters) = letters.upgrade() else { return };
                    let _ = letters.send(Letter::Tell(Event::Tightened)).await;
                }
            });
        }
        *self.guarded.lock().unwrap_or_else(PoisonError::into_inner) = guarded;
        events.push(Event::Prepared(prepared));
        events
    }

    /// Has the sources follow what the policy lets run.
    fn follow_rules(&mut self, guarded: &Arc<Guarded>) {
        let (mut changes, mut followed) = (guarded.rules.changes(), guarded.armed_by);
        // The container may end meanwhile.
        let guarded = Arc::downgrade(guarded);
        let head = self.charter.head.clone();
        let (letters, log) = (self.letters.clone(), self.log.clone());
        tokio::spawn(async move {
            loop {
                let now = *changes.borrow_and_update();
                if now != std::mem::replace(&mut followed, now) {
                    let Some(guarded) = guarded.upgrade() else { return };
                    let (head, log) = (head.clone(), log.clone());
                    let rules = Arc::clone(&guarded.rules);
                    let done = spawn_blocking(move || {
                        let processes = Processes::of(&head, guarded.rules.mode());
                        guarded.follow_rules(|| processes.left()).inspect_err(|error| {
                            error!(log, "the sources can't follow the policy";
                                "error" => chain(error));
                        })
                    });
                    let failed = !matches!(done.await, Ok(Ok(())));
                    if failed && rules.mode() == Mode::Enforce {
                        let Some(letters) = letters.upgrade() else { return };
                        let _ = letters.send(Letter::Tell(Event::TightenFailed)).await;
                    }
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    fn guard(&self) -> Option<Arc<Guarded>> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the machine later, by the mailbox.
    fn later(&self, letter: impl Future<Output = Option<Letter>> + Send + 'static) {
        let letters = self.letters.clone();
        tokio::spawn(async move {
            if let (Some(letter), Some(letters)) = (letter.await, letters.upgrade()) {
                let _ = letters.send(letter).await;
            }
        });
    }

    fn processes(&mut self) -> Processes {
        let mode = self.guard().map_or(self.shared.context.config.mode, |guard| guard.rules.mode());
        let charter = &self.charter;
        self.processes.get_or_insert_with(|| Processes::of(&charter.head, mode)).clone()
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Permit => self.answer(Ok(OwnerLeave::given())),
            Effect::Refuse => {
                let refusal = self.refusal.clone();
                let ended = || Refusal::not_ready("this container has ended, or its inner shim");
                self.answer(Err(refusal.unwrap_or_else(ended)));
            }
            Effect::Tighten => self.tighten(),
            Effect::Kill => {
                let processes = self.processes();
                self.later(async move {
                    let _ = spawn_blocking(move || processes.kill()).await;
                    None
                });
            }
            Effect::Watch => {
                let processes = self.processes();
                self.later(async move {
                    spawn_blocking(move || processes.wait(None)).await.ok()?.map(Letter::Gone)
                });
            }
            Effect::Clock => {
                let patience = self.shared.context.config.patience;
                self.later(async move {
                    sleep(patience).await;
                    Some(Letter::Tell(Event::AwayTooLong))
                });
            }
            Effect::Settle => self.settle(),
            Effect::Erase => {
                let _ = self.ends.send(true);
            }
        }
    }

    fn answer(&mut self, answer: Result<OwnerLeave, Refusal>) {
        if let Some(waiting) = self.waiting.take() {
            // Who asked may have gone.
            let _ = waiting.send(answer);
        }
    }

    fn tighten(&mut self) {
        let Some(guarded) = self.guard() else { return };
        self.charter.rule(guarded.rules.mode(), &guarded.rules.policy());
        // From now on those count too that left its cgroups, by their number in the kernel.
        self.processes = None;
        let (charter, charters) = (self.charter.clone(), self.shared.context.charters.clone());
        let (processes, log) = (self.processes(), self.log.clone());
        info!(log, "enforcing from now on");
        self.later(async move {
            let tightened = spawn_blocking(move || {
                // Who ends it without this process goes by that.
                let noted = charters.write(&charter).inspect_err(|error| {
                    error!(log, "noting down the mode"; "error" => chain(error));
                });
                let tightened = guarded.tighten(|| processes.left()).inspect_err(|error| {
                    error!(log, "the sources can't be made to hold back"; "error" => chain(error));
                });
                noted.is_ok() && tightened.is_ok()
            });
            let failed = !matches!(tightened.await, Ok(true));
            failed.then_some(Letter::Tell(Event::TightenFailed))
        });
    }

    fn settle(&mut self) {
        let Some(gone) = self.gone.take() else { return };
        self.call_off.call();
        let guarded = self.guarded.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (shared, head) = (Arc::clone(&self.shared), self.charter.head.clone());
        let log = self.log.clone();
        self.later(async move {
            let ending = Arc::clone(&shared);
            let rests = spawn_blocking(move || {
                let charters = &ending.context.charters;
                let stands = Stands::Guard(guarded.as_deref(), &log);
                let (rests, _) = takedown::end(&head, stands, charters, &gone);
                // Who is the last to let go of it waits for the thread that writes the list.
                drop(guarded);
                rests
            });
            shared.rest(rests.await.unwrap_or_default());
            Some(Letter::Tell(Event::Settled))
        });
    }
}
