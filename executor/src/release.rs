//! An operator's word that a container may go on: PAUSE and ISOLATE are undone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lacre_types::{Action, chain};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::cgroup::Cgroup;
use crate::container::Held;
use crate::freeze_arbiter::Frozen;
use crate::freezer::Freezer;
use crate::network::state::{UndoError, is_isolated, shared_with, undo};
use crate::pause_mark;

/// What runs again and does at once what it was paused for has done it by then: an exec that is
/// tried again needs milliseconds.
const AGAIN: Duration = Duration::from_secs(1);

/// A stack for two dumps and a page of JSON.
const STACK: usize = 256 << 10;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Release {
    /// What was undone.
    pub undone: Vec<Action>,
    /// What was not, and why.
    pub failed: Vec<String>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
    /// What lacre has done again since.
    pub again: Vec<Action>,
}

pub(crate) async fn release(held: Arc<Held>) -> Release {
    let mut freezes = held.arbiter.freezes();
    freezes.mark_unchanged();
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("lacre-release".into()).stack_size(STACK);
    let work = Arc::clone(&held);
    let started = thread.spawn(move || drop(tell.send(now(&work))));
    let mut done = match started {
        Ok(_) => told.await.unwrap_or_else(|_| failed("it panicked")),
        Err(error) => failed(&format!("no thread to do it on: {error}")),
    };
    if done.undone.is_empty() {
        return done;
    }
    if timeout(AGAIN, freezes.changed()).await.is_ok() {
        done.again.push(Action::Pause);
    }
    let Held { settings, container, .. } = &*held;
    if done.undone.contains(&Action::Isolate) && is_isolated(&settings.run, &container.generation) {
        done.again.push(Action::Isolate);
    }
    done
}

fn failed(why: &str) -> Release {
    Release { failed: vec![why.to_owned()], ..Release::default() }
}

fn now(held: &Held) -> Release {
    let (run, generation) = (&held.settings.run, &held.container.generation);
    // The network first: what it is cut off for is still there when it runs again.
    let mut done = reconnect(run, generation, held.target.init().pid());
    match held.arbiter.release() {
        Ok(true) => {
            let _ = pause_mark::remove(run, generation);
            done.undone.push(Action::Pause);
        }
        Ok(false) => {}
        Err(error) => done.failed.push(format!("it stays frozen: {}", chain(&error))),
    }
    done
}

fn reconnect(run: &Path, generation: &str, pid: u32) -> Release {
    let mut done = Release::default();
    if !is_isolated(run, generation) {
        return done;
    }
    let others = shared_with(run, generation);
    match undo(run, generation, pid) {
        Ok(()) => {
            done.undone.push(Action::Isolate);
            if others > 0 {
                done.notes.push(format!(
                    "{others} more that were isolated share its network, and have it back too"
                ));
            }
        }
        Err(error) => done.failed.push(cut(&error)),
    }
    done
}

fn cut(error: &UndoError) -> String {
    format!("its network stays cut: {}", chain(error))
}

/// The same for a container whose guard has died, by the pid of its init, which the caller has
/// proven to be that still. What no note says to be lacre's freezing is let alone.
#[must_use]
pub fn release_without_guard(run: &Path, generation: &str, pid: u32) -> Release {
    let mut done = reconnect(run, generation, pid);
    let freezer = match Cgroup::of(pid) {
        Ok(cgroup) => Freezer::new(Arc::new(cgroup)),
        Err(error) => {
            done.failed.push(format!("whether it is frozen is not known: {}", chain(&error)));
            return done;
        }
    };
    match freezer.is_asked() {
        Ok(false) => {}
        Ok(true) if !pause_mark::is_marked(run, generation) => done.failed.push(
            "it stays frozen: nothing says that lacre froze it; who did is the one to thaw it"
                .to_owned(),
        ),
        Ok(true) => match freezer.thaw() {
            Ok(()) => {
                let _ = pause_mark::remove(run, generation);
                done.undone.push(Action::Pause);
            }
            Err(error) => done.failed.push(format!("it stays frozen: {}", chain(&error))),
        },
        Err(error) => {
            done.failed.push(format!("whether it is frozen is not known: {}", chain(&error)));
        }
    }
    done
}

/// Who has a container frozen whose guard does not tell, by the pid of its init; `None`: that can't
/// be found out.
#[must_use]
pub fn frozen(run: &Path, generation: &str, pid: u32) -> Option<Frozen> {
    let freezer = Freezer::new(Arc::new(Cgroup::of(pid).ok()?));
    Some(match freezer.is_asked().ok()? {
        false => Frozen::No,
        true if pause_mark::is_marked(run, generation) => Frozen::ByLacre,
        true => Frozen::ByOthers,
    })
}
