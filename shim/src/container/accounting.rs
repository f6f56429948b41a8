//! What a guard that died has left: in the kernel, of its containers; and in the kernel's
//! lists, the lines that it did not come to judge. containerd ends such a container, by
//! `delete`, which then stands in for the guard.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use lacre_analyzer::{Verdict, source_lost};
use lacre_baseline::Baseline;
use lacre_measure::{Answer, Block, Judge, Known, Loss, Outcome, Target, container_ima, ima};
use lacre_policy::Effective;
use lacre_report::{Record, Reporter, SpoolError, StartError, StoredPolicy, recorded};
use lacre_types::{Measurement, Mode, Source, Violation, ViolationKind, Whitelist};
use slog::Logger;

use super::bundle;
use super::charter::{About, Body, Charter, Head};
use super::generation::Generation;
use super::init::has_root;
use super::processes::NoProcess;
use crate::config::Config;
use crate::guard::container_policy::Rules;
use crate::guard::context;
use crate::guard::identity::{Identity, RootFs, Sources};
use crate::guard::image_files::ImageFiles;
use crate::guard::overlay_layers::Layers;
use crate::guard::policy::{Switchboard, of_file};
use crate::guard::responder::record_of_gone;
use crate::guard::sources;
use crate::guard::{Exempt, GuardError};
use crate::node::run_dir::Place;

/// For containerd to say whose image it is, while the container is being ended: it has five
/// seconds for all of `delete`, and may be starting, and wait for that.
const ASK: Duration = Duration::from_secs(3);
/// For the policy server to take what is told.
const TELL: Duration = Duration::from_secs(1);
/// What is said of its identity then.
const UNASKED: &str = "containerd did not say, while the container was being ended";
/// What is told where nothing can be judged.
const UNJUDGED: &str = "the shim died, and what the container ran since then was not judged: there \
                        is no baseline any more";

/// Why not all that the kernel noted down of a container could be judged, or recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemainsError {
    #[error("waiting for the end of the kernel's list")]
    List(#[source] std::io::Error),
    #[error("finding out what of it is on record already")]
    Recorded(#[source] SpoolError),
    #[error("recording the rest")]
    Reporter(#[source] StartError),
    #[error(transparent)]
    Guard(#[from] GuardError),
}

/// What became of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// It died.
    Died,
    /// It hung, and was killed.
    Hung,
}

impl Death {
    /// What is on record of a container that it guarded in that mode.
    const fn reason(self, mode: Mode) -> &'static str {
        match (self, mode) {
            (Self::Died, Mode::Audit) => {
                "lacre died: what the container ran from then on nobody saw"
            }
            (Self::Hung, Mode::Audit) => {
                "lacre hung and was killed: what the container ran from then on nobody saw"
            }
            (Self::Died, Mode::Enforce) => "lacre died, and the container was ended",
            (Self::Hung, Mode::Enforce) => "lacre hung and was killed, and the container was ended",
        }
    }
}

/// What a guard that died has left of one container.
pub(crate) struct Remains {
    generation: Generation,
    id: String,
    namespace: String,
    config: Config,
    /// The mode that held, where that is written down.
    mode: Option<Mode>,
    about: Option<About>,
    kernel: Option<container_ima::Left>,
    host: Option<ima::Left>,
    /// Who it is, to come.
    asked: Option<JoinHandle<Option<Identity>>>,
    init_pid: u32,
    root: RootFs,
    /// When it was created.
    since: Option<SystemTime>,
    /// What became of its guard.
    death: Death,
}

impl Remains {
    /// Looks. What is written down of it is the same whether it still runs or has ended, as
    /// where a `delete` was killed over it; of one that an older lacre had, what its bundle
    /// and its processes tell is all, and `node`, this node's configuration, the rule.
    /// `address` is containerd's.
    pub(crate) fn of(charter: &Charter, node: &Config, address: &Path) -> Self {
        let Charter { head, body } = charter;
        let (config, mode, about) = match body.clone() {
            Some(Body { config, mode, about, .. }) => (config, Some(mode), about),
            None => (node.clone(), None, None),
        };
        let Head { namespace, id, bundle, .. } = head;
        let follows = |source| sources::named(&config).contains(&source);
        let root = match &about {
            Some(About { root, upper, lower, .. }) => {
                let layers = Layers { upper: upper.clone(), lower: lower.clone() };
                let layers = (!lower.is_empty()).then_some(layers);
                RootFs { path: root.clone(), layers, lazy: None }
            }
            None => RootFs::mounted(bundle),
        };
        let init = head.init.filter(|init| init.is_alive()).map(|init| init.pid);
        let init =
            init.or_else(|| bundle::init_pid(bundle).filter(|pid| has_root(*pid, &root.path)));
        let guarded = Exempt::by_config(&config, namespace, bundle).is_none();
        let kernel = container_ima::Left::of(&sources::name(namespace, id), &config.run);
        let host = (guarded && follows(Source::Ima))
            .then(|| {
                let options = ima::Options::default();
                let living = init.map(|init| ima::Left::of(init, &options));
                living.unwrap_or_else(|| ima::Left::of_ended(&head.cgroups, &options)).ok()
            })
            .flatten();
        let asks = (kernel.is_some() || host.is_some()) && about.is_none();
        let asked = asks.then(|| ask(&config, address, head)).flatten();
        Self {
            generation: head.generation.clone(),
            id: id.clone(),
            namespace: namespace.clone(),
            config,
            mode,
            about,
            kernel,
            host,
            asked,
            init_pid: init.unwrap_or_default(),
            root,
            since: bundle::created(bundle),
            death: if Place::at(head.guard.clone()).hung() { Death::Hung } else { Death::Died },
        }
    }

    /// That nobody guarded it any more. Of one that was never guarded there is nothing to tell.
    fn unguarded(&self) -> Option<Violation> {
        let source = *self.about.as_ref()?.sources.first()?;
        let reason = self.death.reason(self.mode.unwrap_or_default()).to_owned();
        Some(source_lost(source, reason, SystemTime::now()))
    }

    /// Once the container has ended: has the kernel forget it, and records each violation of
    /// its list that is not on record.
    pub(crate) fn settle(mut self, gone: &NoProcess) -> Result<(), RemainsError> {
        self.judge(gone)?;
        StoredPolicy::forget(&self.config.state, self.generation.as_str());
        let _ = lacre_executor::forget(&self.config.run, self.generation.as_str());
        Ok(())
    }

    fn judge(&mut self, _: &NoProcess) -> Result<(), RemainsError> {
        let (kernel, host) = (self.kernel.take(), self.host.take());
        let unguarded = self.unguarded();
        if kernel.is_none() && host.is_none() {
            return self.record(unguarded.as_slice(), None);
        }
        let layers = std::mem::take(&mut self.root.layers).unwrap_or_default();
        let manifest = self.about.as_ref().and_then(|about| about.manifest);
        let baselines = self.config.state.join("baselines");
        let image = ImageFiles::left(manifest.as_ref(), &layers.lower, &baselines);
        let Ok(Some(image)) = image else {
            let source = if kernel.is_some() { Source::ContainerIma } else { Source::Ima };
            if let Some(list) = kernel {
                list.release();
            }
            let lost = source_lost(source, UNJUDGED.to_owned(), SystemTime::now());
            let all: Vec<_> = unguarded.into_iter().chain([lost]).collect();
            return self.record(&all, None);
        };
        let judge = Arc::new(Late { image: image.clone(), violations: Mutex::default() });
        let known: Arc<dyn Known> = Arc::new(image.clone());
        if let Some(list) = kernel {
            let judge = Arc::clone(&judge) as _;
            list.settle(Arc::clone(&known), judge).map_err(RemainsError::List)?;
        }
        if let Some(list) = host {
            let target = Target {
                container: sources::name(&self.namespace, &self.id),
                init_pid: self.init_pid,
                rootfs: self.root.path.clone(),
                upper: layers.upper,
                lower: layers.lower,
                mode: Mode::Audit,
                block: Block::Exec,
                known,
            };
            list.settle(&target, Arc::clone(&judge) as _).map_err(RemainsError::List)?;
        }
        let all: Vec<_> = unguarded.into_iter().chain(judge.take()).collect();
        self.record(&all, Some(&image.baseline))
    }

    /// Who it is: as it was written down, else as containerd says, else by its name alone.
    fn who(&mut self) -> Identity {
        let written = self.about.as_ref();
        let written = written.and_then(|about| serde_json::from_value(about.identity.clone()).ok());
        let asked = || self.asked.take().and_then(|asked| asked.join().ok()?);
        written
            .or_else(asked)
            .unwrap_or_else(|| Identity::unknown(&self.namespace, &self.id, UNASKED))
    }

    /// The rules that held.
    fn rules(&self, who: &Identity, log: &Logger) -> Rules {
        let written = self
            .about
            .as_ref()
            .and_then(|about| Effective::from_json(&serde_json::to_vec(&about.policy).ok()?).ok());
        let stored = || {
            let policy = StoredPolicy::load(&self.config.state, self.generation.as_str())?;
            Effective::from_json(&policy.effective).ok()
        };
        // The server's last word may have come after the charter was written.
        let policy = stored().or(written).unwrap_or_else(|| of_file(&self.config, who, log));
        let floor = who.tightened(self.config.mode).max(self.mode.unwrap_or_default());
        Rules::new(Arc::new(policy), floor)
    }

    fn record(
        &mut self,
        violations: &[Violation],
        baseline: Option<&Baseline>,
    ) -> Result<(), RemainsError> {
        if violations.is_empty() {
            return Ok(());
        }
        let log = Logger::root(slog::Discard, slog::o!());
        let reports = context::reports(&self.config, &context::node())?;
        let who = self.who();
        let rules = self.rules(&who, &log);
        let origin = who.origin(&reports.node);
        let records =
            violations.iter().map(|violation| record_of_gone(&origin, &rules, baseline, violation));
        let new = self.unless_recorded(records, &reports)?;
        if !new.is_empty() {
            let silent = Arc::new(Switchboard::new(log));
            let reporter = Reporter::start(reports, silent).map_err(RemainsError::Reporter)?;
            for record in new {
                reporter.report(record);
            }
            reporter.stop(TELL);
        }
        Ok(())
    }

    /// Those that the guard did not come to record.
    fn unless_recorded(
        &self,
        records: impl Iterator<Item = Record>,
        reports: &lacre_report::Config,
    ) -> Result<Vec<Record>, RemainsError> {
        // Equal uses that several sources saw are one record, which names one of them.
        let key = |record: &Record| {
            let of_source = record.notificate == ViolationKind::SourceLost;
            (of_source.then_some(record.source), record.notificate, record.line.clone())
        };
        let mut on_record: HashMap<(Option<Source>, ViolationKind, String), u64> = HashMap::new();
        let since = self.since.unwrap_or(SystemTime::UNIX_EPOCH);
        let found = recorded(reports, &self.namespace, &self.id, since, |record| {
            *on_record.entry(key(&record)).or_default() += record.uses();
        });
        found.map_err(RemainsError::Recorded)?;
        let is_new = |record: &Record| {
            let Some(count) = on_record.get_mut(&key(record)) else { return true };
            let left = count.checked_sub(1);
            *count = left.unwrap_or_default();
            left.is_none()
        };
        Ok({ records }.filter(is_new).collect())
    }
}

/// Asks containerd whose image it is. Without an answer, the container's name is all that is
/// known.
fn ask(config: &Config, address: &Path, head: &Head) -> Option<JoinHandle<Option<Identity>>> {
    let (config, address) = (config.clone(), address.to_owned());
    let Head { namespace, id, bundle, .. } = head;
    let (namespace, id, bundle) = (namespace.clone(), id.clone(), bundle.clone());
    let asking = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let sources = Sources { containerd: &address, config: &config };
        let asking = Identity::resolve(sources, &namespace, &id, &bundle);
        runtime.block_on(async { tokio::time::timeout(ASK, asking).await }).ok()
    };
    thread::Builder::new().spawn(asking).ok()
}

/// Keeps what the baseline does not allow.
struct Late {
    image: ImageFiles,
    violations: Mutex<Vec<Violation>>,
}

impl Late {
    fn verdict(&self, measurement: &Measurement) -> Verdict {
        lacre_analyzer::judge(Some(&*self.image.baseline as &dyn Whitelist), measurement)
    }

    fn keep(&self, violation: Violation) {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).push(violation);
    }

    fn take(&self) -> Vec<Violation> {
        std::mem::take(&mut *self.violations.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Judge for Late {
    fn judge(&self, _: &Measurement) -> Answer {
        Answer::Allow
    }

    fn settled(&self, measurement: &Measurement) -> bool {
        matches!(self.verdict(measurement), Verdict::Allowed(_))
    }

    fn seen(&self, measurement: Measurement, _: Outcome) {
        if let Verdict::Violation(violation) = self.verdict(&measurement) {
            self.keep(violation);
        }
    }

    fn lost(&self, source: Source, loss: Loss) {
        self.keep(source_lost(source, loss.to_string(), SystemTime::now()));
    }
}

#[cfg(test)]
#[path = "accounting/tests.rs"]
mod tests;
