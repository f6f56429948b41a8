//! One guarded container, from Create to Delete.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lacre_analyzer::Verdict;
use lacre_baseline::{NoProgress, Options, open_or_build};
use lacre_executor::{Backoff, Executor, Helper, Manager, Settings};
use lacre_measure::{Armed, Block, Known, Outcome, Rest, SourceError, Target};
use lacre_policy::Effective;
use lacre_types::{
    Action, CanonicalPath, Content, Event, Measurement, Mode, Process, Source, Violation,
    ViolationKind, chain,
};
use slog::{Logger, warn};

use super::identity::{RootFs, Who};
use super::judge::{Judge, Rules};
use super::policies::{self, FIRST_WORD, Words};
use super::respond::{Recent, Responder};
use super::runtime::OfInner;
use super::sources::{self, ImageFiles, NoFiles};
use super::{Context, Created, Refusal, Shared};
use crate::messages::CreateRequest;

/// A container whose init may start: its policy is at hand, its baseline is loaded or the
/// policy does without, and its sources are armed. Only [`Guarded::prepare`] makes one.
pub(super) struct Guarded {
    pub(super) executor: Executor,
    /// Dropped first of all when the container is gone; then nobody is left to send
    /// violations, and the responder ends.
    armed: Mutex<Vec<Box<dyn Armed>>>,
}

impl Guarded {
    /// Everything between Create and Start. `None`: the inner shim has not created it.
    pub(super) async fn prepare(
        shared: &Arc<Shared>,
        request: &CreateRequest,
        created: Created,
    ) -> Option<Result<Self, Refusal>> {
        let context = &shared.context;
        let root = RootFs::of(request);
        // All while runc works: whose image it is, what it may run, which policy holds, and
        // what of the sources takes time.
        let ready = tokio::task::spawn_blocking({
            let (layers, config) = (root.layers.clone(), Arc::clone(&context.config));
            let container = sources::name(&context.namespace, &request.id);
            let log = context.log.clone();
            move || {
                let lower = layers.map(|layers| layers.lower);
                let image = load(lower, &config.state.join("baselines"), &log);
                let known: &dyn Known = image.as_ref().map_or(&NoFiles, |image| image);
                let prepared = sources::prepare(&config, &container, known);
                Ready { image, prepared }
            }
        });
        let who = Who::ask(&context.containerd, &context.namespace, &request.id).await;
        let asked = match who {
            Ok(who) => Ok(shared.policy_for(who).await),
            Err(error) => Err(Refusal::not_ready(format!(
                "whose image container {} has can't be told: {}",
                request.id,
                chain(&error)
            ))),
        };
        let ready = ready.await.unwrap_or_default();
        let Some(init_pid) = created.pid().await else {
            ready.undo().await;
            return None;
        };
        Some(match asked {
            Ok(asked) => Self::arm(shared, asked, root, ready, init_pid).await,
            Err(refusal) => {
                ready.undo().await;
                Err(refusal)
            }
        })
    }

    async fn arm(
        shared: &Arc<Shared>,
        Asked { who, policy, words }: Asked,
        root: RootFs,
        Ready { image, prepared }: Ready,
        init_pid: u32,
    ) -> Result<Self, Refusal> {
        let context = &shared.context;
        let mode = who.tightened(policy.mode_on(context.config.mode));
        let known_baseline = image.as_ref().map(|image| Arc::clone(&image.baseline));
        let rules = Arc::new(Rules::new(Arc::clone(&policy), mode));
        let (judge, violations) = Judge::new(known_baseline.clone(), Arc::clone(&rules));
        let judge = Arc::new(judge);
        let executor = executor(context, &who, &policy, init_pid).map_err(|error| {
            Refusal::not_ready(format!("holding the container's init: {error}"))
        })?;
        let responder = Responder {
            rules: Arc::clone(&rules),
            baseline: known_baseline,
            executor: executor.clone(),
            reporter: Arc::clone(&shared.reporter),
            events: context.events.clone(),
            origin: who.origin(&shared.node),
            recent: Recent::default(),
        };
        let image_name = responder.origin.image_name.clone();
        tokio::spawn(responder.run(violations, words));

        let without_baseline = image.is_none();
        let layers = root.layers.unwrap_or_default();
        let target = Target {
            container: sources::name(&who.namespace, &who.id),
            init_pid,
            rootfs: root.path,
            upper: layers.upper,
            lower: layers.lower,
            mode,
            block: match context.config.block {
                crate::config::Block::Exec => Block::Exec,
                crate::config::Block::All => Block::All,
            },
            known: match image {
                Some(image) => Arc::new(image) as Arc<dyn Known>,
                None => Arc::new(NoFiles),
            },
        };
        let armed = watch(context, &judge, prepared, target, image_name).await;
        let armed = match armed {
            Ok(armed) if without_baseline => refuse_without_baseline(&judge, &rules, armed).await,
            other => other,
        };
        // Who is the last to let go of it waits for the thread that writes the list.
        let _ = tokio::task::spawn_blocking(move || drop(judge)).await;
        Ok(Self { executor, armed: Mutex::new(armed?) })
    }
}

/// What was made ready for a container before it had a process.
#[derive(Default)]
struct Ready {
    image: Option<ImageFiles>,
    prepared: sources::Prepared,
}

impl Ready {
    /// Takes everything back, off this thread: the kernel takes its time.
    async fn undo(self) {
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Guarded {
    /// Disarms, and gives what is left to do, which nobody needs to wait for.
    pub(super) fn disarm(&self, log: &Logger) -> Vec<Rest> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        armed.iter_mut().for_each(|source| source.finish());
        sources::remark(&armed, log);
        armed.drain(..).filter_map(|source| source.disarm()).collect()
    }

    /// A process has entered it by exec.
    pub(super) fn joined(&self, pid: u32) -> Result<(), SourceError> {
        let armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        armed.iter().try_for_each(|source| source.joined(pid))
    }
}

/// Begins the container's list, where the shim keeps it, and arms the sources.
async fn watch(
    context: &Context,
    judge: &Arc<Judge>,
    prepared: sources::Prepared,
    target: Target,
    image_name: String,
) -> Result<Vec<Box<dyn Armed>>, Refusal> {
    let mode = target.mode;
    // Both start threads; the list makes files, and arming reads the mount tables.
    let armed = tokio::task::spawn_blocking({
        let (judge, log) = (Arc::clone(judge), context.log.clone());
        let config = Arc::clone(&context.config);
        move || {
            if !sources::kernel_keeps_list(&config) {
                judge.keep_list(&config.run, &target.container, &image_name, &log);
            }
            sources::arm(&config, prepared, &target, &image_name, &judge, &log)
        }
    });
    match armed.await {
        Ok(Ok(armed)) => Ok(armed),
        Ok(Err(error)) if mode == Mode::Enforce => {
            Err(Refusal::not_ready(format!("nothing watches: {}", chain(&error))))
        }
        Ok(Err(error)) => {
            warn!(context.log, "nothing watches this container"; "error" => chain(&error));
            judge.blind();
            let reason = chain(&error);
            tell(judge, lacre_analyzer::source_lost(Source::Fanotify, reason, now())).await;
            Ok(Vec::new())
        }
        Err(error) => Err(Refusal::not_ready(format!("arming the sources: {error}"))),
    }
}

/// A container with no baseline is a violation before it runs anything; in enforce
/// mode it starts only where the policy says SKIP.
async fn refuse_without_baseline(
    judge: &Arc<Judge>,
    rules: &Rules,
    armed: Vec<Box<dyn Armed>>,
) -> Result<Vec<Box<dyn Armed>>, Refusal> {
    let violation = no_whitelist();
    let decision = rules.decide(&violation);
    let starts = rules.mode() == Mode::Audit || decision.action == Action::Skip;
    let seen = if starts { Outcome::Ran } else { Outcome::Denied };
    let told = Arc::clone(judge);
    let _ = tokio::task::spawn_blocking(move || told.tell(violation, seen)).await;
    if starts {
        return Ok(armed);
    }
    let _ = tokio::task::spawn_blocking(move || drop(armed)).await;
    Err(Refusal::denied(format!(
        "there is no baseline for this container (NO_WHITELIST), and the policy says {}; run \
         it from an image, or let the policy say SKIP ({})",
        decision.action, decision.rule
    )))
}

/// What was asked of the world about a container that is being created.
pub(super) struct Asked {
    pub(super) who: Who,
    pub(super) policy: Arc<Effective>,
    pub(super) words: Words,
}

impl Shared {
    /// The server's policy for it, else the file's.
    async fn policy_for(&self, who: Who) -> Asked {
        let config = &self.context.config;
        let mut words = self.switchboard.listen(&who.id);
        let mut policy = None;
        if config.server.is_some() {
            let came = words.policy.wait_for(Option::is_some);
            if self.reporter.register(who.registration())
                && let Ok(Ok(first)) = tokio::time::timeout(FIRST_WORD, came).await
            {
                policy = first.clone();
            }
            if policy.is_none() {
                warn!(
                    self.context.log,
                    "no word from the policy server; the file holds until it comes"
                );
            }
        }
        let file = || Arc::new(policies::of_file(config, &who, &self.context.log));
        let policy = policy.unwrap_or_else(file);
        Asked { who, policy, words }
    }
}

pub(super) fn load(
    lower: Option<Vec<PathBuf>>,
    state: &std::path::Path,
    log: &Logger,
) -> Option<ImageFiles> {
    let lower = lower?;
    match open_or_build(&lower, state, &Options::default(), &NoProgress) {
        Ok((baseline, index)) => Some(ImageFiles { baseline, index }),
        Err(error) => {
            warn!(log, "no baseline"; "error" => chain(&error));
            None
        }
    }
}

fn executor(
    context: &Context,
    who: &Who,
    policy: &Effective,
    init_pid: u32,
) -> std::io::Result<Executor> {
    let container = lacre_executor::Container {
        namespace: who.namespace.clone(),
        id: who.id.clone(),
        init_pid,
        address: context.containerd.display().to_string(),
        manager: Manager::of(&who.namespace, &who.labels),
    };
    let backoff = policy.restart();
    let settings = Settings {
        grace: policy.decide(ViolationKind::SourceLost, None).grace,
        backoff: Backoff {
            first: backoff.delay,
            cap: backoff.max_delay,
            limit: backoff.attempts.unwrap_or(u32::MAX),
            forget: backoff.reset_after,
        },
        run: context.config.run.clone(),
        helper: Helper::default(),
    };
    let runtime = OfInner { inner: context.inner.clone(), id: who.id.clone() };
    Executor::start(container, settings, Arc::new(runtime))
}

fn no_whitelist() -> Violation {
    let measurement = Measurement {
        source: Source::Fanotify,
        event: Event::Exec,
        path: CanonicalPath::new("/").ok(),
        content: Content::Unread("the container has no baseline".to_owned()),
        process: Process::default(),
        time: now(),
    };
    match lacre_analyzer::judge(None, &measurement) {
        Verdict::Violation(violation) => violation,
        Verdict::Allowed(_) => {
            Violation { kind: ViolationKind::NoWhitelist, measurement, expected: None }
        }
    }
}

async fn tell(judge: &Arc<Judge>, violation: Violation) {
    let judge = Arc::clone(judge);
    let _ = tokio::task::spawn_blocking(move || judge.tell(violation, Outcome::Ran)).await;
}

fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
