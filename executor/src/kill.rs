//! Ending all processes of a container, also those that fork meanwhile or have left its cgroup.

use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::Signal;

use crate::freeze_arbiter::FreezeArbiter;
use crate::freezer::wait;
use crate::proc_facts::send;
use crate::target::{Look, Member, Target};
use crate::thaw::{melt, release_killed};

/// How long killed processes get to be gone. One in uninterruptible sleep dies when it
/// wakes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at who can't be told whose it is.
const LOOK: Duration = Duration::from_millis(5);

/// Until it is looked at whether a freezer holds what does not end.
const MOMENT: Duration = Duration::from_millis(50);

/// How long who can't be told whose it is gets to become somebody's: a parent that ends while
/// its children are looked at hides them for a moment.
const TELLING: Duration = Duration::from_millis(500);

/// How often a container without a pid namespace of its own is looked through for processes
/// that were forked before their parents stood still.
const SWEEPS: usize = 8;

/// What killing came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Killed {
    /// The container's processes that are still there.
    pub left: Vec<u32>,
    /// Processes in its cgroup of which nothing tells whether they are the container's; they
    /// were left alone.
    pub untold: Vec<u32>,
    /// What could not be done on the way.
    pub trouble: Vec<String>,
}

impl Killed {
    fn trouble(&mut self, what: String) {
        if !self.trouble.contains(&what) {
            self.trouble.push(what);
        }
    }
}

/// Sends SIGKILL to the init, and to who is known to be the container's in its cgroup; waits
/// for nothing.
pub(crate) fn strike(target: &Target, look: &Look) {
    target.keep_mounts();
    let _ = target.init().signal(Signal::KILL);
    for member in &look.ours {
        let _ = send(&member.fd, Signal::KILL);
    }
}

impl Target {
    /// Kills every process of the container, and no other, and waits for their end, five
    /// seconds at most. Whatever froze them, and whichever cgroup they are in: afterwards the
    /// inner shim can delete the container.
    #[must_use]
    pub fn kill(&self) -> Killed {
        kill(self, None)
    }

    /// The same, with so much time at most: who has several containers to kill waits for none of
    /// them longer than for all.
    #[must_use]
    pub fn kill_within(&self, patience: Duration) -> Killed {
        kill_by(self, None, Instant::now() + patience.min(PATIENCE))
    }
}

pub(crate) fn kill(target: &Target, arbiter: Option<&FreezeArbiter>) -> Killed {
    kill_by(target, arbiter, Instant::now() + PATIENCE)
}

fn kill_by(target: &Target, arbiter: Option<&FreezeArbiter>, deadline: Instant) -> Killed {
    target.keep_mounts();
    let killed = kill_all(target, arbiter, deadline);
    target.let_go();
    killed
}

fn kill_all(target: &Target, arbiter: Option<&FreezeArbiter>, deadline: Instant) -> Killed {
    let mut killed = Killed::default();
    let mut telling = None;
    let init = target.init();
    loop {
        if let Err(error) = init.signal(Signal::KILL) {
            killed.trouble(format!("SIGKILL to the init, process {}: {error}", init.pid()));
        }
        let look = who(target);
        killed.untold = if init.is_first() { Vec::new() } else { look.unknown.clone() };
        let alone = look.is_alone();
        let untold = !look.unknown.is_empty() || !alone && !look.entering.is_empty();
        let mut doomed = look.ours;
        if alone {
            doomed.extend(look.entering);
        }
        for Member { pid, fd } in &doomed {
            if let Err(error) = send(fd, Signal::KILL) {
                killed.trouble(format!("SIGKILL to {pid}: {error}"));
            }
        }
        let nobody = doomed.is_empty();
        if nobody && untold && !init.is_first() {
            let until = *telling.get_or_insert_with(|| Instant::now() + TELLING);
            if Instant::now() < until.min(deadline) {
                std::thread::sleep(LOOK);
                continue;
            }
        }
        let thaws = alone || arbiter.is_some_and(FreezeArbiter::is_ours_to_thaw);
        if let Ok(cgroup) = target.cgroup()
            && thaws
        {
            melt(cgroup);
        }
        let until = deadline.min(Instant::now() + MOMENT);
        let left = wait_for(doomed, until);
        killed.left = left.iter().map(|member| member.pid).collect();
        let moment = until.saturating_duration_since(Instant::now());
        let init_lives = !init.wait(moment).unwrap_or(false);
        if init_lives && !killed.left.contains(&init.pid()) {
            killed.left.push(init.pid());
        }
        if !killed.left.is_empty() {
            if init_lives {
                release_killed(init.pid(), init.fd());
            }
            for Member { pid, fd } in left.iter().chain(&target.who_ends_with_init()) {
                release_killed(*pid, fd);
            }
            if Instant::now() >= deadline {
                return killed;
            }
        } else if nobody || init.is_first() && !target.look().is_any_ours() {
            if let Ok(cgroup) = target.cgroup()
                && (thaws && target.look().is_alone())
            {
                melt(cgroup);
            }
            return killed;
        }
    }
}

/// Whom to kill. Without a pid namespace that ends with the init, they are stopped first, so
/// that none forks away meanwhile.
fn who(target: &Target) -> Look {
    if target.init().is_first() {
        return target.look();
    }
    let mut look = target.look_everywhere();
    for _ in 0..SWEEPS {
        for member in &look.ours {
            let _ = send(&member.fd, Signal::STOP);
        }
        let again = target.look_everywhere();
        let grown = again.ours.iter().any(|new| look.ours.iter().all(|old| old.pid != new.pid));
        look = again;
        if !grown {
            break;
        }
    }
    look
}

/// Waits for the end of all of them; gives those that are left.
fn wait_for(mut doomed: Vec<Member>, deadline: Instant) -> Vec<Member> {
    let left = || deadline.saturating_duration_since(Instant::now());
    doomed.retain(|member| !wait(&member.fd, PollFlags::IN, left()).unwrap_or(false));
    doomed
}
