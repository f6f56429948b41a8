//! The processes of a container: who of it is left, and that nobody is.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lacre_executor::Target;
use lacre_measure::exec_trace;
use lacre_types::Mode;

use super::bundle;
use super::charter::Head;
use crate::node::cgroup::{self, Members, Root};
use crate::node::pid_namespace::PidNamespace;
use crate::node::process::Process;

/// How long to wait for one process, before all are looked for again.
const LOOK: Duration = Duration::from_millis(200);
/// How long a container that is killed may take before it is merely waited for.
const KILLING: Duration = Duration::from_secs(5);
/// Between two looks at who is there and has ended, for the kernel to let go of them.
const MOMENT: Duration = Duration::from_millis(2);

/// There is no process of a container any more, and there will be none: who has seen it.
/// Nothing is disarmed without one. Only [`Processes`]
/// makes one, and what was never created has none.
#[derive(Debug)]
pub(crate) struct NoProcess(());

impl NoProcess {
    /// Of a container that the inner shim has not created: nothing was armed.
    pub(crate) const fn of_none() -> Self {
        Self(())
    }
}

/// By what those in a container's cgroups are its own: another container may be in them too.
#[derive(Debug, Clone, Copy)]
enum Theirs {
    /// By their pid namespace.
    Namespace(PidNamespace),
    /// Nothing tells them apart.
    All,
    /// By the container's root, since its first process is not known: it has none yet, or none any
    /// more. Who is in another root then is another's.
    Root(Option<Root>),
}

impl Theirs {
    fn of(head: &Head, bundle: Option<&Path>) -> Self {
        match (head.pid_namespace, head.init) {
            (Some(namespace), _) => Self::Namespace(namespace),
            (None, Some(_)) => Self::All,
            (None, None) => Self::Root(bundle.and_then(cgroup::root_of)),
        }
    }
}

/// The processes of a container: its first, all in its cgroups, and, where it is held back,
/// all that carry its number in the kernel, wherever they went: its first process's end is not
/// theirs where they share another's pid namespace.
#[derive(Debug, Clone)]
pub(crate) struct Processes {
    init: Option<Process>,
    members: Members,
    theirs: Theirs,
    /// Under which name `exec-trace` knows it.
    trace: Option<String>,
    killing: Arc<AtomicBool>,
}

impl Processes {
    /// By what is written down of it.
    pub(crate) fn of(head: &Head, mode: Mode) -> Self {
        let is_anothers = bundle::is_anothers(&head.bundle, &head.generation, &head.guard);
        let bundle = (!is_anothers).then_some(&*head.bundle);
        Self {
            init: head.init,
            members: Members::of(bundle, &head.cgroups),
            theirs: Theirs::of(head, bundle),
            trace: (mode == Mode::Enforce).then(|| head.generation.to_string()),
            killing: Arc::default(),
        }
    }

    /// Those that have not ended.
    ///
    /// # Errors
    /// When nobody can tell who they are: that is not nobody.
    pub(crate) fn left(&self) -> io::Result<Vec<Process>> {
        let mut all = self.members.processes()?;
        all.retain(|process| self.is_own(process));
        all.extend(self.init);
        for pid in self.trace.as_deref().map_or(Ok(Vec::new()), traced)? {
            all.extend(Process::look_up(pid)?);
        }
        all.sort_by_key(|process| process.pid);
        all.dedup();
        all.retain(|process| process.is_alive());
        Ok(all)
    }

    /// Whether one in its cgroups is its own: they may be another container's too.
    fn is_own(&self, process: &Process) -> bool {
        match &self.theirs {
            Theirs::Namespace(namespace) => {
                namespace.has(process.pid, self.init.is_some_and(Process::is_alive))
            }
            Theirs::All => true,
            Theirs::Root(root) => cgroup::is_of_root(process.pid, *root),
        }
    }

    /// Kills those in its cgroups now, and all for as long as somebody waits for their end.
    pub(crate) fn kill(&self) {
        self.kill_within(KILLING);
    }

    /// The same, with so much time.
    fn kill_within(&self, patience: Duration) {
        self.killing.store(true, Ordering::Relaxed);
        // Whatever froze it, and wherever its processes went; what it leaves is waited for.
        let target = self.init.filter(|init| init.is_alive());
        if let Some(target) = target.and_then(|init| Target::hold(init.pid).ok()) {
            let _ = target.kill_within(patience);
        }
        self.kill_members();
    }

    /// Kills those that are known, and waits for nobody.
    fn strike(&self) {
        self.killing.store(true, Ordering::Relaxed);
        if let Some(init) = self.init {
            let _ = init.kill(Duration::ZERO);
        }
        self.kill_members();
    }

    fn kill_members(&self) {
        self.members.kill(|process| self.is_own(process));
    }

    /// Waits until none is left; `None` when that takes longer.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Option<NoProcess> {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = self.left();
            if left.as_ref().is_ok_and(Vec::is_empty) {
                return Some(NoProcess(()));
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            let known = left.as_deref().unwrap_or_default();
            if self.killing.load(Ordering::Relaxed) {
                for process in known {
                    let _ = process.kill(Duration::ZERO);
                }
                self.kill_members();
            }
            match known.first() {
                Some(first) => {
                    if !first.wait(LOOK) && self.killing.load(Ordering::Relaxed) {
                        // A freezer may hold it that is not the container's.
                        for process in known {
                            if let Ok(Some(pidfd)) = process.open() {
                                lacre_executor::release_killed(process.pid, pidfd);
                            }
                        }
                    }
                    thread::sleep(MOMENT);
                }
                // Nobody can tell now; with a descriptor free again somebody may.
                None => thread::sleep(LOOK),
            }
        }
    }
}

/// Kills all of these containers, and waits until none of any is left; `None` for one of which
/// some are when the time is over. That is one time for all of them, and they are killed at the
/// same time: who does not end keeps no other waiting.
pub(crate) fn end_all(all: &[Processes], limit: Duration) -> Vec<Option<NoProcess>> {
    let until = Instant::now() + limit;
    let left = || until.saturating_duration_since(Instant::now());
    let end = |processes: &Processes| {
        processes.kill_within(left());
        processes.wait(Some(left()))
    };
    thread::scope(|scope| {
        let end = &end;
        let begin = |processes| {
            let begun = thread::Builder::new().spawn_scoped(scope, move || end(processes));
            // Without a thread none waits for it alone: it is struck now, and again while its
            // end is waited for below.
            begun.inspect_err(|_| processes.strike()).map_err(|_| processes)
        };
        let begun: Vec<_> = all.iter().map(begin).collect();
        let ended = begun.into_iter().map(|begun| match begun {
            Ok(thread) => thread.join().ok().flatten(),
            Err(processes) => processes.wait(Some(left())),
        });
        ended.collect()
    })
}

fn traced(name: &str) -> io::Result<Vec<u32>> {
    exec_trace::members(&exec_trace::Options::default().folder, name)
}

#[cfg(test)]
mod tests;
