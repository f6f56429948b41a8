//! The processes that run what one exec brought: who executed it, and all that was forked since
//! and has executed nothing else. A script goes on in them when its interpreter is gone.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use super::abi;
use crate::held_process::Held;

/// How often all processes are looked through with nobody found before nobody is left: one that
/// forks and ends while a look goes on may be missed by it.
const IN_VAIN: u32 = 2;

/// How long is looked.
const PATIENCE: Duration = Duration::from_millis(500);

/// What became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nobody lived.
    Before,
    /// They were killed.
    Now,
    /// Somebody may live: they fork faster than they are killed, or can't be looked for.
    Not,
}

/// The marks of the processes of one container.
#[derive(Debug)]
pub(super) struct Descendants {
    pub(super) tags: MapHandle,
    /// Marks that found no room at their process.
    pub(super) strays: MapHandle,
    /// What the kernel ends at its next fork.
    pub(super) condemned: Option<MapHandle>,
    pub(super) slot: u64,
}

impl Descendants {
    /// Kills them all, and waits until they are gone. It looks at every process of the node, some
    /// 3 µs each; who forks meanwhile is ended by the kernel's programs, with whom it forked.
    pub(super) fn kill(&self, exec: u64) -> Ended {
        let id = abi::exec_id(self.slot, exec);
        // Without it, who forks faster than it is looked for is told as one that runs.
        let _ = self.condemned.as_ref().map(|map| map.update(&id, &[0; 4], MapFlags::ANY));
        let ended = self.look_for(exec);
        if ended == Ended::Not {
            return ended;
        }
        if self.pardon(&id) == 0 { ended } else { Ended::Now }
    }

    /// Takes it out, and tells how many forks the kernel's programs have ended.
    fn pardon(&self, id: &[u8]) -> u32 {
        let Some(map) = &self.condemned else { return 0 };
        let ended = map.lookup_and_delete(id).ok().flatten();
        let ended = ended.and_then(|ended| ended.try_into().ok());
        ended.map_or(0, u32::from_ne_bytes)
    }

    fn look_for(&self, exec: u64) -> Ended {
        let (until, mut ended, mut in_vain) = (Instant::now() + PATIENCE, Ended::Before, 0);
        while in_vain < IN_VAIN {
            let Ok(living) = self.living(exec) else { return Ended::Not };
            if Instant::now() > until && !living.is_empty() {
                return Ended::Not;
            }
            if living.is_empty() {
                in_vain += 1;
                continue;
            }
            (ended, in_vain) = (Ended::Now, 0);
            for process in &living {
                // One that has just ended is what was wanted.
                let _ = process.kill();
            }
            for process in &living {
                process.wait(until.saturating_duration_since(Instant::now()));
            }
        }
        ended
    }

    fn living(&self, exec: u64) -> io::Result<Vec<Held>> {
        let processes = std::fs::read_dir("/proc")?;
        let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let held = pids.filter_map(|pid| Held::open_any(pid).transpose());
        let is_marked = |held: &io::Result<Held>| {
            held.as_ref().map_or(true, |process| self.runs(process, exec))
        };
        let marked: Vec<_> = held.filter(is_marked).collect::<io::Result<_>>()?;
        let strays = self.strays.keys().filter_map(|key| {
            let tag = self.strays.lookup(&key, MapFlags::ANY).ok()??;
            let (pid, start) = abi::stray(&key)?;
            (abi::exec_of(&tag) == Some((self.slot, exec)))
                .then(|| Held::open_started(pid, start))?
        });
        Ok(marked.into_iter().chain(strays).filter(Held::lives).collect())
    }

    fn runs(&self, process: &Held, exec: u64) -> bool {
        let key = process.as_fd().as_raw_fd().to_ne_bytes();
        let tag = self.tags.lookup(&key, MapFlags::ANY).ok().flatten();
        tag.is_some_and(|tag| abi::exec_of(&tag) == Some((self.slot, exec)))
    }
}
