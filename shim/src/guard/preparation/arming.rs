//! The last of what comes before Start: the sources are armed on a container of which all else is
//! known, and what that comes to.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use lacre_measure::{Block, Known, Outcome, Target};
use lacre_types::{Mode, Source, chain};
use slog::{Logger, info, warn};

use super::{Asked, Blind, Preparation, Ready, cannot_guard, now, undo, unguarded};
use crate::container::charter::{About, Charter};
use crate::container::init::Init;
use crate::guard::container_policy::Rules;
use crate::guard::executor::executor;
use crate::guard::guarded_container::{Guarded, Spec};
use crate::guard::identity::RootFs;
use crate::guard::judge::Judge;
use crate::guard::making::Wait;
use crate::guard::responder::Responder;
use crate::guard::sources::{self, Arming, Ladder};
use crate::guard::{Context, Shared, no_baseline};

impl Guarded {
    pub(super) async fn arm(
        shared: &Arc<Shared>,
        Asked { who, policy, words }: Asked,
        rules: Arc<Rules>,
        root: RootFs,
        Ready { image, wait, prepared, spec, doubts, runtime, call_off }: Ready,
        init: Init,
        charter: &mut Charter,
    ) -> Preparation {
        let context = &shared.context;
        let mode = rules.mode();
        let init_pid = init.process().pid;
        // Where it comes from here on, all is told anew.
        let without = (!image.is_there()).then(|| wait.why_not());
        let (judge, violations) = Judge::new(Arc::clone(&image), Arc::clone(&rules));
        let judge = Arc::new(judge);
        let executor = match executor(context, (&who, &charter.head.generation), &policy, init_pid)
        {
            Ok(executor) => executor,
            Err(error) => {
                let why = format!("holding the container's init: {error}");
                undo(prepared).await;
                return unguarded(shared, Asked { who, policy, words }, rules, why);
            }
        };
        let responder = Responder {
            rules: Arc::clone(&rules),
            image: Arc::clone(&image),
            executor: executor.clone(),
            reporter: Arc::clone(&shared.reporter),
            events: context.events.clone(),
            origin: who.origin(&shared.node),
            acting: Arc::default(),
            log: context.log.clone(),
            engines: BTreeSet::new(),
        };
        let image_name = responder.origin.image_name.clone();
        tokio::spawn(responder.run(violations, words));

        let layers = root.layers.unwrap_or_default();
        let target = Target {
            container: sources::name(who.namespace(), who.id()),
            init_pid,
            rootfs: root.path,
            upper: layers.upper,
            lower: layers.lower,
            mode,
            block: match context.config.block {
                crate::config::Block::Exec => Block::Exec,
                crate::config::Block::All => Block::All,
            },
            known: Arc::clone(&image) as Arc<dyn Known>,
        };
        charter.head.init = Some(init.process());
        charter.head.cgroups = init.cgroups().to_owned();
        charter.head.pid_namespace = init.pid_namespace();
        let manifest = image.judges_by(who.beneath().manifest);
        charter.fill(mode, About::of(&who, &policy, &target, manifest));
        // Before they are armed: what changes from here on is followed.
        let armed_by = *rules.changes().borrow();
        let watched = watch(shared, &judge, prepared, target.clone(), image_name, charter).await;
        let (armed, lost) = match watched {
            Ok((Ladder { armed, lost }, unnoted)) => {
                let lost = lost.iter().map(|lost| (lost.source_name, chain(lost)));
                // Who ends it without this process could not know that it must not run on.
                let unnoted = unnoted.filter(|_| mode == Mode::Enforce);
                (armed, lost.chain(unnoted.map(|why| (Source::Fanotify, why))).collect())
            }
            Err(why) => (Vec::new(), vec![(Source::Fanotify, why)]),
        };
        if !lost.is_empty() {
            judge.blind();
        }
        let outcome = if mode == Mode::Enforce { Outcome::Denied } else { Outcome::Ran };
        let mut all = Vec::with_capacity(lost.len());
        for (source, why) in lost {
            all.push(why.clone());
            judge.tell(lacre_analyzer::source_lost(source, why, now()), outcome);
        }
        let whole = all.is_empty();
        let why = format!("not all sources watch: {}", all.join("; "));
        let blind = match (whole, cannot_guard(&rules, &why)) {
            (true, _) => None,
            (false, Err(refusal)) => {
                // Nothing of it has run.
                let _ = tokio::task::spawn_blocking(move || drop((armed, judge))).await;
                return Preparation::Refused(refusal);
            }
            // What there is watches.
            (false, Ok(blind)) => armed.is_empty().then_some(blind),
        };
        let armed = match without {
            Some(why) => match no_baseline::refuse(&judge, &rules, armed, &why).await {
                Ok(armed) => {
                    tokio::spawn(follow(wait, Arc::clone(&rules), context.log.clone()));
                    // Without a descriptor its Delete calls it off.
                    if let Ok(descriptor) = init.descriptor() {
                        call_off.follow(descriptor);
                    }
                    armed
                }
                Err(refusal) => {
                    call_off.keep();
                    let _ = tokio::task::spawn_blocking(move || drop(judge)).await;
                    return Preparation::Refused(refusal);
                }
            },
            None => armed,
        };
        let is_mapped = armed.iter().any(|source| source.source() == Source::ExecMap);
        let armed = Mutex::new(armed);
        for doubt in &doubts {
            judge.tell(lacre_analyzer::log_tampered(doubt.clone(), now()), Outcome::Ran);
        }
        let spec = Spec { bundle: charter.head.bundle.clone(), asked: spec, doubts, runtime };
        let memory = context.config.fetch || is_mapped;
        let guarded = Self {
            executor,
            rules,
            judge,
            target,
            spec,
            memory,
            armed_by,
            holds_back: Mutex::new(mode == Mode::Enforce),
            armed,
            _init: init,
        };
        let guarded = Arc::new(guarded);
        match blind {
            Some(blind) => Preparation::Blind(Blind { guarded: Some(guarded), ..blind }),
            None => Preparation::Guarded(guarded),
        }
    }
}

/// A container that runs without a baseline has it as soon as it is made.
async fn follow(wait: Wait, rules: Arc<Rules>, log: Logger) {
    if wait.comes().await {
        info!(log, "the baseline is there, and holds from now on");
        rules.image_came();
    }
}

/// Begins the container's list, where the shim keeps it, arms the sources, and notes down what
/// is armed; or gives why that could not be noted down.
async fn watch(
    shared: &Arc<Shared>,
    judge: &Arc<Judge>,
    prepared: sources::Prepared,
    target: Target,
    image_name: String,
    charter: &mut Charter,
) -> Result<(Ladder, Option<String>), String> {
    // Both start threads; the list makes files, and arming reads the mount tables.
    let armed = tokio::task::spawn_blocking({
        let (shared, judge) = (Arc::clone(shared), Arc::clone(judge));
        let mut charter = charter.clone();
        move || {
            let Context { config, log, watchdog, .. } = &shared.context;
            if !sources::kernel_keeps_list(config) {
                judge.keep_list(&config.run, &target.container, &image_name, log);
            }
            let (groups, generation) = (watchdog.groups(), &charter.head.generation);
            let (target, image, judge) = (&target, image_name.as_str(), &judge);
            let arming = Arming { config, generation, groups, target, image, judge, log };
            let ladder = arming.all(prepared);
            charter.arm(ladder.armed.iter().map(|source| source.source()));
            // Where it can't be, audit goes by the first one: less is known, and nothing wrong.
            let noted = shared.context.charters.write(&charter).inspect_err(|error| {
                warn!(log, "noting down what is armed"; "error" => chain(error));
            });
            (ladder, charter, noted.err().map(|error| chain(&error)))
        }
    });
    let (ladder, written, unnoted) =
        armed.await.map_err(|error| format!("arming the sources: {error}"))?;
    *charter = written;
    Ok((ladder, unnoted))
}
