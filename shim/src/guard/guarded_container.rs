//! One guarded container, from Start to its end.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use lacre_executor::Executor;
use lacre_measure::{Armed, Judge as _, Loss, Outcome, Rest, SourceError, Target};
use lacre_types::{Mode, chain};
use slog::Logger;

use super::container_policy::Rules;
use super::judge::Judge;
use super::{Refusal, sources};
use crate::container::bundle;
use crate::container::init::Init;
use crate::container::processes::NoProcess;
use crate::container::telling::{BaselineTold, Frozen, Told};
use crate::node::runtime::Runtime;

/// What a container was asked to be, and where that stands.
pub(super) struct Spec {
    pub(super) bundle: PathBuf,
    pub(super) asked: Option<[u8; 32]>,
    /// Why what runs it is not what the node lists.
    pub(super) doubts: Vec<String>,
    /// What runs it.
    pub(super) runtime: Option<Runtime>,
}

/// A container that is watched.
pub(crate) struct Guarded {
    pub(crate) executor: Executor,
    pub(crate) rules: Arc<Rules>,
    pub(super) judge: Arc<Judge>,
    pub(super) target: Target,
    pub(super) spec: Spec,
    /// Its sources see memory without a file that is executed.
    pub(super) memory: bool,
    /// By which policy its sources were armed at the earliest, by their number.
    pub(crate) armed_by: u64,
    /// Whether its sources hold back. Who changes that, or looks at its processes, has it alone:
    /// what another has just killed did not outrun him.
    pub(super) holds_back: Mutex<bool>,
    /// Dropped first of all when the container is gone; then nobody is left to send
    /// violations, and the responder ends.
    pub(super) armed: Mutex<Vec<Box<dyn Armed>>>,
    /// Held, so that its number can't come to mean another.
    pub(super) _init: Init,
}

impl Guarded {
    pub(super) fn armed(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Armed>>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Disarms, and gives what is left to do, which nobody needs to wait for. `_gone` says that
    /// nothing of it runs any more.
    pub(crate) fn disarm(&self, _gone: &NoProcess, log: &Logger) -> Vec<Rest> {
        let mut armed = std::mem::take(&mut *self.armed());
        armed.iter_mut().for_each(|source| source.finish());
        sources::remark(&armed, log);
        armed.into_iter().filter_map(|source| source.disarm()).collect()
    }

    /// A process has entered it by exec. A source that can't follow it has lost it, and that is
    /// told; one that has ended already was no more to be seen.
    pub(crate) fn joined(&self, pid: u32) {
        let all = self.armed();
        let failed =
            all.iter().filter_map(|source| Some((source.source(), source.joined(pid).err()?)));
        let failed: Vec<_> = failed.filter(|(_, error)| !has_ended(error)).collect();
        drop(all);
        for (source, error) in failed {
            let why = format!("process {pid}, which came by exec, is not followed");
            self.judge.lost(source, Loss::Ended(format!("{why}: {}", chain(&error))));
        }
    }

    /// Whether `config.json` is still what it was when the container was asked for, as long as
    /// nothing of it has begun, and what runs it what the node lists. One that was edited
    /// meanwhile is on record, as is what is not listed; in enforce mode nothing starts then.
    ///
    /// # Errors
    /// Why nothing starts.
    pub(crate) fn check_spec(&self, has_begun: bool) -> Result<(), Refusal> {
        let Spec { bundle, asked, doubts, runtime } = &self.spec;
        // A policy for enforce has come since Create.
        if let (Some(doubt), Mode::Enforce) = (doubts.first(), self.rules.mode()) {
            return Err(Refusal::denied(doubt));
        }
        let unlisted = runtime.as_ref().and_then(|runtime| runtime.check().err());
        if let Some(why) = unlisted.map(|error| chain(&error)).filter(|why| !doubts.contains(why)) {
            // What it was to start did not run.
            let denied = self.rules.mode() == Mode::Enforce;
            let outcome = if denied { Outcome::Denied } else { Outcome::Ran };
            self.tampered(&why, &why, outcome)?;
        }
        let changed = if has_begun { None } else { bundle::spec_doubt(bundle, *asked) };
        changed.map_or(Ok(()), |why| {
            self.tampered(&why, &format!("{why}; create it anew"), Outcome::Ran)
        })
    }

    /// What there is to tell of it; with its rules and its baseline's digest where they are asked
    /// for. It reads a few files of the kernel's, and changes nothing.
    pub(crate) fn tell(&self, told: &mut Told, whole: bool) {
        told.guarded = true;
        told.mode = Some(self.rules.mode());
        told.sources = self.armed().iter().map(|source| source.source()).collect();
        let counts = self.judge.counts().into_iter();
        told.seen = counts.map(|(kind, uses)| (kind.as_str().to_owned(), uses)).collect();
        told.frozen = match self.executor.frozen() {
            lacre_executor::Frozen::No => Frozen::No,
            lacre_executor::Frozen::ByLacre => Frozen::Lacre,
            lacre_executor::Frozen::ByBoth => Frozen::LacreAndClient,
            lacre_executor::Frozen::ByOthers => Frozen::Other,
        };
        told.isolated = self.executor.is_isolated();
        let image = self.judge.image();
        told.baseline = image.baseline().map(|baseline| BaselineTold {
            manifest: image.made_from(),
            digest: whole.then(|| baseline.digest().to_string()),
            files: baseline.len() as u64,
        });
        if whole {
            told.rules = serde_json::from_slice(&self.rules.policy().to_json()).ok();
        }
    }

    fn tampered(&self, why: &str, refusal: &str, outcome: Outcome) -> Result<(), Refusal> {
        let told = lacre_analyzer::log_tampered(why.to_owned(), SystemTime::now());
        self.judge.tell(told, outcome);
        match self.rules.mode() {
            Mode::Audit => Ok(()),
            Mode::Enforce => Err(Refusal::denied(refusal)),
        }
    }
}

/// Whether a source failed for want of the process.
fn has_ended(error: &SourceError) -> bool {
    let causes =
        std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let mut system = causes.filter_map(|error| error.downcast_ref::<std::io::Error>());
    system.any(|error| error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()))
}

impl Drop for Guarded {
    /// A guard that goes without an end, as in a fault of its own, takes no wall down.
    fn drop(&mut self) {
        self.armed().drain(..).for_each(|source| source.leave());
    }
}
