//! The processes of a shim's containers, and how they end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::runc::Streams;

/// One process: a container's first, or another that was executed in it.
#[derive(Debug)]
pub struct Process {
    /// The container's bundle.
    pub bundle: PathBuf,
    /// Its streams.
    pub streams: Streams,
    state: Mutex<State>,
    changed: Condvar,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is described, and not there yet.
    New,
    /// It is there, and waits for Start.
    Created(i32),
    /// It runs.
    Running(i32),
    /// It is frozen.
    Paused(i32),
    /// It has ended, with this status.
    Ended(i32, u32),
}

impl State {
    /// Its number; 0 if it has none yet.
    #[must_use]
    pub fn pid(self) -> u32 {
        match self {
            Self::New => 0,
            Self::Created(pid) | Self::Running(pid) | Self::Paused(pid) | Self::Ended(pid, _) => {
                pid.cast_unsigned()
            }
        }
    }

    /// How it ended; 0 if it has not.
    #[must_use]
    pub fn status(self) -> u32 {
        if let Self::Ended(_, status) = self { status } else { 0 }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// One that is described.
    #[must_use]
    pub fn new(bundle: PathBuf, streams: Streams) -> Arc<Self> {
        Arc::new(Self { bundle, streams, state: Mutex::new(State::New), changed: Condvar::new() })
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> State {
        *held(&self.state)
    }

    /// Notes how far it is, unless it has ended.
    pub fn now(&self, state: State) {
        let mut now = held(&self.state);
        if !matches!(*now, State::Ended(..)) {
            *now = state;
            self.changed.notify_all();
        }
    }

    /// Waits, in a thread of its own, for the end of `pid`, which is a child of this process.
    pub fn watch(self: &Arc<Self>, pid: i32) {
        let process = Arc::clone(self);
        thread::spawn(move || {
            let status = match waitpid(Pid::from_raw(pid), None) {
                Ok(WaitStatus::Exited(_, status)) => status.cast_unsigned(),
                Ok(WaitStatus::Signaled(_, signal, _)) => 128 + (signal as i32).cast_unsigned(),
                _ => 255,
            };
            process.now(State::Ended(pid, status));
        });
    }

    /// Waits for its end.
    #[must_use]
    pub fn ended(&self) -> State {
        let mut now = held(&self.state);
        while !matches!(*now, State::Ended(..)) {
            now = self.changed.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        *now
    }
}

/// All of a shim's, by container and exec (empty: its first).
#[derive(Debug, Default)]
pub struct Processes(Mutex<HashMap<(String, String), Arc<Process>>>);

impl Processes {
    /// One of them.
    #[must_use]
    pub fn get(&self, id: &str, exec: &str) -> Option<Arc<Process>> {
        held(&self.0).get(&(id.to_owned(), exec.to_owned())).cloned()
    }

    /// Adds one.
    pub fn add(&self, id: &str, exec: &str, process: Arc<Process>) {
        held(&self.0).insert((id.to_owned(), exec.to_owned()), process);
    }

    /// Takes one out.
    pub fn remove(&self, id: &str, exec: &str) {
        held(&self.0).remove(&(id.to_owned(), exec.to_owned()));
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        held(&self.0).is_empty()
    }
}
