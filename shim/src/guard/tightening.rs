//! From audit to enforce while a container runs.

use std::io;
use std::sync::{Arc, PoisonError};

use lacre_measure::{Judge, SourceError, exec_map};
use lacre_types::Source;

use super::guarded_container::Guarded;
use super::look_back::LookBack;
use crate::node::process::Process;

/// How often all processes are looked at when the mode tightens, as long as each look finds one
/// to kill: each costs some milliseconds, and who forks faster than that all the while means to.
const LOOKS: usize = 64;

/// Why a container that runs can't be held back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TightenError {
    /// One of its sources can't.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Who its processes are can't be told.
    #[error("looking for its processes")]
    Processes(#[from] io::Error),
    /// It forks what must not run faster than that is killed.
    #[error("after {LOOKS} looks at its processes there are still some that must not run")]
    Outrun,
}

impl Guarded {
    /// What saw holds back from now on: nothing more comes to run that may not. Then what its
    /// processes run already is judged as though it came to run now, until a look at all that
    /// there are finds nobody to kill: whoever was killed may have forked before.
    ///
    /// # Errors
    /// When a source can't hold back, or those who must not run outrun the one who looks.
    pub(crate) fn tighten(
        &self,
        processes: impl Fn() -> io::Result<Vec<Process>>,
    ) -> Result<(), TightenError> {
        let mut holds_back = self.holds_back.lock().unwrap_or_else(PoisonError::into_inner);
        // First what may run all the same, so that nobody is hit by it.
        self.armed().iter().try_for_each(|source| source.rules_changed())?;
        self.armed().iter().try_for_each(|source| source.enforce())?;
        *holds_back = true;
        self.look(processes)
    }

    /// Another policy holds: the kernel is told what it lets run, and where the sources hold back,
    /// what the container's processes run already is judged by it.
    ///
    /// # Errors
    /// As [`Self::tighten`].
    pub(crate) fn follow_rules(
        &self,
        processes: impl Fn() -> io::Result<Vec<Process>>,
    ) -> Result<(), TightenError> {
        let holds_back = self.holds_back.lock().unwrap_or_else(PoisonError::into_inner);
        self.armed().iter().try_for_each(|source| source.rules_changed())?;
        // Else it is looked at when they come to.
        if *holds_back { self.look(processes) } else { Ok(()) }
    }

    fn look(&self, processes: impl Fn() -> io::Result<Vec<Process>>) -> Result<(), TightenError> {
        let mut seen = Vec::new();
        for _ in 0..LOOKS {
            let mut new = processes()?;
            new.retain(|process| !seen.contains(process) && self.has_begun(process.pid));
            let pids: Vec<_> = new.iter().map(|process| process.pid).collect();
            let judge = Arc::clone(&self.judge) as Arc<dyn Judge>;
            let judge = Arc::new(LookBack { judge, source: self.sees_mappings() });
            let mapped = exec_map::sweep(&self.target, &pids, self.memory, judge)?;
            let others: usize = self.armed().iter().map(|source| source.sweep(&pids)).sum();
            if mapped + others == 0 {
                return Ok(());
            }
            seen.extend(new);
        }
        Err(TightenError::Outrun)
    }

    /// The source that sees what is mapped, else the first that watches.
    fn sees_mappings(&self) -> Source {
        let armed: Vec<_> = self.armed().iter().map(|source| source.source()).collect();
        let sees = armed.iter().find(|source| **source == Source::ExecMap).or(armed.first());
        sees.copied().unwrap_or(Source::ExecMap)
    }

    /// One that has not is the runtime's own, on its way in; what it comes to execute is held
    /// back by now.
    fn has_begun(&self, pid: u32) -> bool {
        self.armed().iter().all(|source| source.has_begun(pid) != Some(false))
    }
}
