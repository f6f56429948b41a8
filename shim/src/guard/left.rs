//! What a guard that died has left: in the kernel, of its containers; and in the kernel's
//! lists, the lines that it did not come to judge. containerd ends such a container, by
//! `delete`, which then stands in for the guard.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use lacre_analyzer::{Verdict, source_lost};
use lacre_baseline::Baseline;
use lacre_measure::{
    Answer, Block, Judge, Known, Loss, Outcome, Target, container_ima, exec_trace, ima,
};
use lacre_policy::Effective;
use lacre_report::{Record, Reporter, SpoolError, StartError, StoredPolicy, recorded};
use lacre_types::{Measurement, Mode, Source, Violation, ViolationKind, Whitelist};
use slog::Logger;

use super::container::load;
use super::identity::{RootFs, Who};
use super::judge::Rules;
use super::policies::{Switchboard, of_file};
use super::respond::record_of_gone;
use super::sources::{self, ImageFiles};
use super::{Exempt, GuardError, compose};
use crate::bundle;
use crate::config::Config;
use crate::rundir::Container;

/// For containerd to say whose image it is, while the container is being ended: it has five
/// seconds for all of `delete`, and may be starting, and wait for that.
const ASK: Duration = Duration::from_secs(3);
/// For the policy server to take what is told.
const TELL: Duration = Duration::from_secs(1);
/// What is told where nothing can be judged.
const UNJUDGED: &str = "the shim died, and what the container ran since then was not judged: there \
                        is no baseline any more";

/// Why not all that the kernel noted down of a container could be judged, or recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeftError {
    #[error("waiting for the end of the kernel's list")]
    List(#[source] std::io::Error),
    #[error("finding out what of it is on record already")]
    Recorded(#[source] SpoolError),
    #[error("recording the rest")]
    Reporter(#[source] StartError),
    #[error(transparent)]
    Guard(#[from] GuardError),
}

/// What a guard that died has left of one container.
pub(crate) struct Left {
    id: String,
    namespace: String,
    kernel: Option<container_ima::Left>,
    host: Option<ima::Left>,
    /// Who it is, to come.
    who: Option<JoinHandle<Option<Who>>>,
    init_pid: u32,
    root: RootFs,
    /// When it was created.
    since: Option<SystemTime>,
}

impl Left {
    /// Looks, while the container's root is still mounted and its processes are there.
    /// `address` is containerd's.
    pub(crate) fn of(
        config: &Config,
        namespace: &str,
        container: &Container,
        address: &Path,
    ) -> Self {
        let Container { id, bundle } = container;
        let follows = |source| sources::named(config).contains(&source);
        let root = RootFs::mounted(bundle);
        let init_pid = bundle::init_pid(bundle).filter(|pid| has_root(*pid, &root.path));
        let guarded = Exempt::by_config(config, namespace, bundle).is_none();
        let init = init_pid.filter(|_| guarded && follows(Source::Ima));
        let kernel = container_ima::Left::of(&sources::name(namespace, id), &config.run);
        let host = init.and_then(|init| ima::Left::of(init, &ima::Options::default()).ok());
        let asks = kernel.is_some() || host.is_some();
        Self {
            id: id.clone(),
            namespace: namespace.to_owned(),
            kernel,
            host,
            who: asks.then(|| ask(address, namespace, id)).flatten(),
            init_pid: init_pid.unwrap_or_default(),
            root,
            since: bundle::created(bundle),
        }
    }

    /// Once the container has ended: has the kernel forget it, and records each violation of
    /// its list that is not on record.
    pub(crate) fn settle(mut self, config: &Config) -> Result<(), LeftError> {
        untrace(&sources::name(&self.namespace, &self.id));
        let (kernel, host) = (self.kernel.take(), self.host.take());
        if kernel.is_none() && host.is_none() {
            return Ok(());
        }
        // What is worth a line is in the record file, or is this function's error.
        let log = Logger::root(slog::Discard, slog::o!());
        let layers = std::mem::take(&mut self.root.layers).unwrap_or_default();
        let lower = (!layers.lower.is_empty()).then(|| layers.lower.clone());
        let Some(image) = load(lower, &config.state.join("baselines"), &log) else {
            let source = if kernel.is_some() { Source::ContainerIma } else { Source::Ima };
            if let Some(list) = kernel {
                list.release();
            }
            let lost = source_lost(source, UNJUDGED.to_owned(), SystemTime::now());
            return self.record(&[lost], None, config);
        };
        let judge = Arc::new(Late { image: image.clone(), violations: Mutex::default() });
        let known: Arc<dyn Known> = Arc::new(image.clone());
        if let Some(list) = kernel {
            let judge = Arc::clone(&judge) as _;
            list.settle(Arc::clone(&known), judge).map_err(LeftError::List)?;
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
            list.settle(&target, Arc::clone(&judge) as _).map_err(LeftError::List)?;
        }
        self.record(&judge.take(), Some(&image.baseline), config)
    }

    fn record(
        &mut self,
        violations: &[Violation],
        baseline: Option<&Baseline>,
        config: &Config,
    ) -> Result<(), LeftError> {
        if violations.is_empty() {
            return Ok(());
        }
        let log = Logger::root(slog::Discard, slog::o!());
        let reports = compose::reports(config, &compose::node())?;
        let told = self.who.take().and_then(|asked| asked.join().ok()?);
        let who = told.unwrap_or_else(|| Who::unknown(&self.namespace, &self.id));
        let stored = StoredPolicy::load(&config.state, &self.namespace, &self.id);
        let stored = stored.and_then(|policy| Effective::from_json(&policy.effective).ok());
        let policy = stored.unwrap_or_else(|| of_file(config, &who, &log));
        let mode = who.tightened(policy.mode_on(config.mode));
        let rules = Rules::new(Arc::new(policy), mode);
        let origin = who.origin(&reports.node);
        let records =
            violations.iter().map(|violation| record_of_gone(&origin, &rules, baseline, violation));
        let new = self.unless_recorded(records, &reports)?;
        if !new.is_empty() {
            let silent = Arc::new(Switchboard::new(log));
            let reporter = Reporter::start(reports, silent).map_err(LeftError::Reporter)?;
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
    ) -> Result<Vec<Record>, LeftError> {
        let key = |record: &Record| (record.source, record.notificate, record.line.clone());
        let mut on_record: HashMap<(Source, ViolationKind, String), u64> = HashMap::new();
        let since = self.since.unwrap_or(SystemTime::UNIX_EPOCH);
        let found = recorded(reports, &self.namespace, &self.id, since, |record| {
            *on_record.entry(key(&record)).or_default() += 1;
        });
        found.map_err(LeftError::Recorded)?;
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
fn ask(address: &Path, namespace: &str, id: &str) -> Option<JoinHandle<Option<Who>>> {
    let (address, namespace, id) = (address.to_owned(), namespace.to_owned(), id.to_owned());
    let asking = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let asking = Who::ask(&address, &namespace, &id);
        runtime.block_on(async { tokio::time::timeout(ASK, asking).await }).ok()?.ok()
    };
    thread::Builder::new().spawn(asking).ok()
}

/// What a guard that died has left in the kernel for a container that is gone. Pinned
/// programs go on watching until then. `run` is the configuration's.
pub(crate) fn forget(namespace: &str, container: &str, run: &Path) {
    let name = sources::name(namespace, container);
    untrace(&name);
    if let Some(list) = container_ima::Left::of(&name, run) {
        list.release();
    }
}

/// Whether the process has that root: its number may be another's by now.
fn has_root(pid: u32, root: &Path) -> bool {
    let place = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let its = place(Path::new(&format!("/proc/{pid}/root")));
    its.is_some() && its == place(root)
}

fn untrace(name: &str) {
    // Not there, or no BPF here at all: nothing to take out.
    let _ = exec_trace::remove_container(&exec_trace::Options::default().folder, name);
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
