//! What comes between a container's Create and its Start: whose it is, what it may run, which
//! policy holds, and the sources that watch it.

mod arming;

use std::path::PathBuf;
use std::sync::Arc;

use lacre_containerd::Client;
use lacre_policy::Effective;
use lacre_types::{Mode, Source, chain};
use slog::warn;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call_off::CallOff;
use super::container_policy::Rules;
use super::guarded_container::Guarded;
use super::identity::{Identity, RootFs, Sources};
use super::image_knowledge::LateImage;
use super::making::{Making, Wait};
use super::policy::{self, FIRST_WORD, Words};
use super::responder::record_of_gone;
use super::sources;
use super::{Created, Refusal, Shared};
use crate::container::bundle;
use crate::container::charter::Charter;
use crate::container::generation::Generation;
use crate::container::init::{Candidate, Expected, InitError};
use crate::messages::CreateTaskRequest;
use crate::node::runtime::Runtime;

/// What has come of all that comes between Create and Start.
pub(crate) enum Preparation {
    /// The inner shim has not created it.
    NotCreated,
    /// Its policy is at hand, its baseline is loaded or the policy does without, and its
    /// sources are armed.
    Guarded(Arc<Guarded>),
    /// It can't be guarded, and runs all the same.
    Blind(Blind),
    /// It must not start.
    Refused(Refusal),
}

/// A container that audit mode runs though it can't be guarded: `SOURCE_LOST` is on record.
/// Only [`cannot_guard`] makes one.
pub(crate) struct Blind {
    /// What can still be done with it.
    pub(crate) guarded: Option<Arc<Guarded>>,
    /// The policy may come to be for enforce, and then it must not run.
    pub(crate) rules: Arc<Rules>,
}

/// What follows where a container can't be guarded, whatever the reason: audit runs it and
/// says so, enforce does not start it. Nothing else refuses a Start in audit mode.
fn cannot_guard(rules: &Arc<Rules>, why: &str) -> Result<Blind, Refusal> {
    match rules.mode() {
        Mode::Audit => Ok(Blind { guarded: None, rules: Arc::clone(rules) }),
        Mode::Enforce => Err(Refusal::not_ready(format!("it can't be guarded: {why}"))),
    }
}

impl Guarded {
    /// Everything between Create and Start.
    pub(crate) async fn prepare(
        shared: &Arc<Shared>,
        request: &CreateTaskRequest,
        mut created: Created,
        call_off: &CallOff,
    ) -> (Preparation, Charter) {
        let context = &shared.context;
        let deadline = Instant::now() + context.config.baseline.wait;
        let root = RootFs::of(request);
        // All while runc works: whose image it is, what it may run, which policy holds, and
        // what of the sources takes time.
        let spec = tokio::task::spawn_blocking({
            let bundle = PathBuf::from(&request.bundle);
            move || bundle::spec_digest(&bundle).ok()
        });
        let (wanted, is_wanted) = oneshot::channel::<()>();
        let baselines = context.config.state.join("baselines");
        let making = Making::begin(&root, &baselines, call_off.clone(), &context.log);
        let ready = tokio::spawn({
            let (config, image) = (Arc::clone(&context.config), Arc::clone(making.image()));
            let generation = created.charter.head.generation.clone();
            let (mut wait, call_off) = (making.wait(), call_off.clone());
            async move {
                tokio::select! {
                    () = wait.until(deadline) => {}
                    _ = is_wanted => {}
                }
                let known = Arc::clone(&image);
                let prepare = move || sources::prepare(&config, &generation, &*known);
                let prepared = tokio::task::spawn_blocking(prepare).await.unwrap_or_default();
                Ready {
                    image,
                    wait,
                    prepared,
                    spec: spec.await.ok().flatten(),
                    doubts: Vec::new(),
                    runtime: None,
                    call_off,
                }
            }
        });
        let sources = Sources { containerd: &context.containerd, config: &context.config };
        let bundle = request.bundle.as_ref();
        let who = Identity::resolve(sources, &context.namespace, &request.id, bundle).await;
        if let Some(unknown) = who.unknown_facts() {
            warn!(context.log, "not all is known of a container";
                "container" => &request.id, "unknown" => unknown);
        }
        let client = Client::new(&context.containerd.display().to_string(), &context.namespace);
        making.tell(who.beneath().clone(), client);
        let asked = shared.policy_for(who, &created.charter.head.generation).await;
        let rules = Arc::new(Rules::new(
            Arc::clone(&asked.policy),
            asked.who.tightened(context.config.mode),
        ));
        let named = created.named().await;
        let (mut charter, doubts, runtime) = (created.charter, created.doubts, created.runtime);
        if named.is_some() {
            making.is_mounted();
        }
        // What nobody will tell it any more it does not wait for.
        drop(making);
        let wanted = named.is_some().then_some(wanted);
        let Ok(ready) = ready.await else {
            let fault = Refusal::not_ready("a fault of lacre; the log says which");
            return (Preparation::Refused(fault), charter);
        };
        drop(wanted);
        let Some(named) = named else {
            undo(ready.prepared).await;
            return (Preparation::NotCreated, charter);
        };
        // Where nobody told who it is, nobody knows which rules there are for it.
        let why = match asked.who.unknown_facts() {
            Some(why) if rules.mode() == Mode::Enforce && asked.who.unanswered() => {
                Err(format!("whose image it has: {why}"))
            }
            _ => Ok(()),
        };
        let init = why.and_then(|()| {
            let expected = Expected {
                root: &root.path,
                bundle: request.bundle.as_ref(),
                inner: context.shim,
                asked: created.asked,
            };
            let proven = named.and_then(|candidate: Candidate| candidate.prove(&expected));
            proven.map_err(|error: InitError| chain(&error))
        });
        let preparation = match init {
            Ok(init) => {
                let ready = Ready { doubts, runtime, ..ready };
                Self::arm(shared, asked, Arc::clone(&rules), root, ready, init, &mut charter).await
            }
            Err(why) => {
                undo(ready.prepared).await;
                unguarded(shared, asked, rules, why)
            }
        };
        (preparation, charter)
    }
}

/// A container of which not so much as a process is known: that is on record, and what the
/// server says of its policy is followed still.
fn unguarded(
    shared: &Shared,
    Asked { who, mut words, .. }: Asked,
    rules: Arc<Rules>,
    why: String,
) -> Preparation {
    let blind = cannot_guard(&rules, &why);
    let violation = lacre_analyzer::source_lost(Source::Fanotify, why, now());
    let origin = who.origin(&shared.node);
    shared.reporter.report(record_of_gone(&origin, &rules, None, &violation));
    tokio::spawn(async move {
        // Until the container has ended: then nobody is left who would send.
        while words.policy.changed().await.is_ok() {
            let policy = words.policy.borrow_and_update().clone();
            if let Some(policy) = policy {
                rules.set_policy(policy);
            }
        }
    });
    blind.map_or_else(Preparation::Refused, Preparation::Blind)
}

/// What was made ready for a container before it had a process.
struct Ready {
    image: Arc<LateImage>,
    /// How far its baseline is.
    wait: Wait,
    prepared: sources::Prepared,
    /// What `config.json` was when Create was asked for.
    spec: Option<[u8; 32]>,
    /// Why what runs it is not what the node lists.
    doubts: Vec<String>,
    /// What runs it.
    runtime: Option<Runtime>,
    /// Its end calls off its baseline.
    call_off: CallOff,
}

/// Takes everything back, off this thread: the kernel takes its time.
async fn undo(prepared: sources::Prepared) {
    let _ = tokio::task::spawn_blocking(move || drop(prepared)).await;
}

/// What was asked of the world about a container that is being created.
struct Asked {
    who: Identity,
    policy: Arc<Effective>,
    words: Words,
}

impl Shared {
    /// The server's policy for it, else the file's.
    async fn policy_for(&self, who: Identity, generation: &Generation) -> Asked {
        let config = &self.context.config;
        let mut words = self.switchboard.listen(who.id());
        let mut policy = None;
        if config.server.is_some() {
            let came = words.policy.wait_for(Option::is_some);
            if self.reporter.register(who.registration(generation))
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
        let file = || {
            let (own, origin) = policy::file_and_origin(config, &who, &self.context.log);
            self.switchboard.holds(who.id(), origin);
            if config.server.is_some() {
                self.reporter.holds(&self.context.namespace, who.id(), own.to_json());
            }
            Arc::new(own)
        };
        let policy = policy.unwrap_or_else(file);
        Asked { who, policy, words }
    }
}

fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
