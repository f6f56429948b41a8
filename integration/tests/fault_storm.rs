//! Many containers in enforce, each of which tries a foreign program again and again, while
//! containerd, inner shims and lacre are killed, stopped and restarted, singly and in pairs, at
//! random: nothing foreign runs, and nobody runs on unguarded.
//!
//! `LACRE_STORM` containers (12), `LACRE_STORM_SEED` draws who is hit and how.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use lacre_integration::fault::{Victim, find, kill};
use lacre_integration::images::busybox_image;
use lacre_integration::output::wait_for;
use lacre_integration::process::{Process, alive};
use lacre_integration::{Containerd, Runtime, Version};
use nix::sys::signal::Signal;

/// How long a container that lost its guard may take to be ended, beside all the others.
const SOON: Duration = Duration::from_secs(240);
/// How long those who are stopped stay so, at most.
const STOPPED_MS: u64 = 2000;
/// Who starts and removes them at the same time.
const HANDS: usize = 8;

/// Once a second: what ran says so on the host.
const TRIES: &str = "cp /bin/busybox /tmp/busybox; n=0; while :; do n=$((n+1)); echo $n >/out/tried; \
                     /tmp/busybox touch /out/ran; sleep 1; done";

/// xorshift64*: which fault comes next needs to be repeatable, and no more.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap_or_default()]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Containerd,
    Inner,
    Lacre,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Killed,
    Stopped,
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Storm {
    daemon: Containerd,
    runtime: Runtime,
    total: u64,
    draw: Draw,
    stopped: Vec<(Instant, Process)>,
    hits: BTreeMap<(Who, How), usize>,
}

/// What a storm leaves.
#[derive(Debug, Default)]
struct Wreck {
    ended: usize,
    guarded: usize,
    tries: u64,
    leaks: usize,
    not_removed: usize,
    hits: BTreeMap<(Who, How), usize>,
}

impl fmt::Display for Wreck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ended, guarded, tries, leaks, not_removed, hits } = self;
        write!(f, "{tries} tries, {ended} ended, {guarded} run on, guarded; ")?;
        write!(f, "{leaks} left behind, {not_removed} not removed; hit: ")?;
        hits.iter().try_for_each(|((who, how), count)| write!(f, "{who:?} {how:?} {count} times, "))
    }
}

impl Storm {
    fn new(version: Version, runtime: Runtime, total: u64, seed: u64) -> Result<Self> {
        let daemon = Containerd::builder(version).lacre("mode: enforce\n").start()?;
        daemon.import(&busybox_image()?)?;
        let (stopped, hits) = (Vec::new(), BTreeMap::new());
        Ok(Self { daemon, runtime, total, draw: Draw(seed | 1), stopped, hits })
    }

    fn id(number: u64) -> String {
        format!("tries-{number}")
    }

    fn ids(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.total).map(Self::id)
    }

    fn out(&self, id: &str) -> PathBuf {
        self.daemon.node().folder().join("out").join(id)
    }

    fn tried(&self, id: &str) -> u64 {
        let text = fs::read_to_string(self.out(id).join("tried")).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    }

    /// Does it for each container, some at a time; what failed.
    fn each(&self, step: impl Fn(&str) -> Result<()> + Sync) -> Vec<anyhow::Error> {
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let ids: Vec<_> = self.ids().collect();
        thread::scope(|scope| {
            for _ in 0..HANDS {
                scope.spawn(|| {
                    while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = step(id) {
                            let error = error.context(id.clone());
                            failed.lock().unwrap_or_else(|e| e.into_inner()).push(error);
                        }
                    }
                });
            }
        });
        failed.into_inner().unwrap_or_else(|e| e.into_inner())
    }

    fn start(&self, id: &str) -> Result<()> {
        let out = self.out(id);
        fs::create_dir_all(&out)?;
        let mount = format!("type=bind,src={},dst=/out,options=rbind:rw", out.display());
        let script = ["sh", "-c", TRIES];
        self.daemon.spawn_with(self.runtime, &["--mount", &mount], &busybox_image()?, id, &script)
    }

    fn hit(&mut self, who: Who, how: How) -> Result<()> {
        let id = Self::id(self.draw.below(self.total));
        let until = Instant::now() + Duration::from_millis(self.draw.below(STOPPED_MS));
        let process = match who {
            Who::Containerd if how == How::Killed => {
                self.daemon.down(Signal::SIGKILL)?;
                *self.hits.entry((who, how)).or_default() += 1;
                return Ok(());
            }
            Who::Containerd => self.daemon.pid().and_then(Process::by_pid),
            Who::Inner => find(&self.daemon, Victim::Inner, &id),
            Who::Lacre => find(&self.daemon, Victim::Lacre, &id),
        };
        // One that an earlier fault has ended.
        let Some(process) = process else { return Ok(()) };
        *self.hits.entry((who, how)).or_default() += 1;
        match (who, how) {
            (_, How::Stopped) => {
                process.signal(Signal::SIGSTOP);
                self.stopped.push((until, process));
            }
            (Who::Inner, How::Killed) => drop(kill(&self.daemon, Victim::Inner, &id)?),
            (_, How::Killed) => drop(kill(&self.daemon, Victim::Lacre, &id)?),
        }
        Ok(())
    }

    /// Lets go on who was stopped long enough.
    fn go_on(&mut self, now: Instant) {
        self.stopped.retain(|(until, process)| {
            let stays = *until > now;
            if !stays {
                process.signal(Signal::SIGCONT);
            }
            stays
        });
    }

    fn blow(&mut self, steps: u64) -> Result<()> {
        let mut victims = vec![Who::Containerd, Who::Inner, Who::Inner, Who::Inner];
        if self.runtime == Runtime::Lacre {
            victims.extend([Who::Lacre, Who::Lacre, Who::Lacre]);
        }
        for _ in 0..steps {
            for _ in 0..=self.draw.below(2) {
                let (who, how) =
                    (self.draw.of(&victims), self.draw.of(&[How::Killed, How::Stopped]));
                self.hit(who, how)?;
            }
            // What the storm itself is made of: time that passes, at random.
            thread::sleep(Duration::from_millis(self.draw.below(300)));
            self.go_on(Instant::now());
            if self.draw.below(2) == 0 {
                self.all_up()?;
            }
        }
        self.go_on(Instant::now() + Duration::from_millis(STOPPED_MS));
        self.all_up()
    }

    /// containerd is there and runs.
    fn all_up(&mut self) -> Result<()> {
        if let Some(process) = self.daemon.pid().and_then(Process::by_pid) {
            process.signal(Signal::SIGCONT);
        }
        if self.daemon.up().is_ok() {
            return Ok(());
        }
        // It asks one shim after another, and those who are stopped let it wait.
        self.go_on(Instant::now() + Duration::from_millis(STOPPED_MS));
        wait_for("containerd answering", SOON, || {
            Ok((self.daemon.ctr(&["version"])?.code == 0).then_some(()))
        })
    }

    /// Whether what nobody may run there has run; under plain runc anybody may.
    fn foreign_ran(&self, id: &str) -> bool {
        self.runtime == Runtime::Lacre && self.out(id).join("ran").exists()
    }

    /// Whether it runs on, under a guard, in vain; or has ended, and containerd knows.
    fn fate(&self, id: &str) -> Result<bool> {
        let before = self.tried(id);
        wait_for(format!("{id} being guarded or ended"), SOON, || {
            ensure!(!self.foreign_ran(id), "{id}: what is foreign has run");
            let runs = match self.daemon.task_pid(id)? {
                Some(pid) => alive(pid) && self.daemon.status(id)?.as_deref() == Some("RUNNING"),
                None => false,
            };
            if !runs {
                return Ok(Some(false));
            }
            let guarded =
                self.runtime != Runtime::Lacre || find(&self.daemon, Victim::Lacre, id).is_some();
            Ok((guarded && self.tried(id) >= before + 2).then_some(true))
        })
    }

    fn run(mut self, steps: u64) -> Result<Wreck> {
        let before = self.daemon.snapshot();
        let failed = self.each(|id| self.start(id));
        ensure!(failed.is_empty(), "{failed:?}");
        self.blow(steps)?;
        let (ended, guarded) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let failed = self.each(|id| {
            if self.fate(id)? {
                guarded.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            ended.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        ensure!(failed.is_empty(), "{failed:?}");
        let tries = self.ids().map(|id| self.tried(&id)).sum();
        let not_removed = self.each(|id| {
            let mut last = String::new();
            let gone = wait_for(format!("{id} going"), SOON, || {
                let removed = self.daemon.remove(id);
                last = removed.err().map_or_else(String::new, |error| format!("{error:#}"));
                Ok((last.is_empty() || last.contains("not found")).then_some(()))
            });
            gone.map_err(|error| anyhow!("{error:#}: {last}"))
        });
        not_removed.iter().for_each(|error| eprintln!("{error:#}"));
        self.daemon.forget_client_fifos()?;
        let ran = self.ids().filter(|id| self.foreign_ran(id)).count();
        ensure!(ran == 0, "foreign programs have run in {ran}");
        let leaks = self.daemon.leaks_since(&before);
        leaks.iter().for_each(|leak| eprintln!("left: {leak}"));
        let wreck = Wreck {
            ended: ended.into_inner(),
            guarded: guarded.into_inner(),
            tries,
            leaks: leaks.len(),
            not_removed: not_removed.len(),
            hits: self.hits.clone(),
        };
        self.daemon.abandon();
        Ok(wreck)
    }
}

#[test]
fn nothing_foreign_runs_and_nobody_is_left_unguarded_whoever_dies() -> Result<()> {
    let total = number("LACRE_STORM", 12);
    let seed = number("LACRE_STORM_SEED", u64::from(std::process::id()) * 7919);
    let storm = Storm::new(Version::V2_1, Runtime::Lacre, total, seed)?;
    let wreck = storm.run(total * 2).with_context(|| format!("LACRE_STORM_SEED={seed}"))?;
    println!("figure: {total} containers under lacre, seed {seed}: {wreck}");
    let control = Storm::new(Version::V2_1, Runtime::Runc, total, seed)?;
    let bare = control.run(total * 2)?;
    println!("figure: {total} containers under plain runc, seed {seed}: {bare}");
    ensure!(
        wreck.leaks <= bare.leaks && wreck.not_removed <= bare.not_removed,
        "LACRE_STORM_SEED={seed}: under lacre: {wreck}; under plain runc: {bare}"
    );
    Ok(())
}
