//! Containers that share one guard: what becomes of one is not the others' affair, however many
//! they are and whenever they came.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lacre_integration::fault::{Victim, find};
use lacre_integration::image::Image;
use lacre_integration::images::busybox_image;
use lacre_integration::output::wait_for;
use lacre_integration::process::{Process, alive};
use lacre_integration::{Containerd, Runtime, Snapshotter, Version};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::field::{Field, SOON, TRIES, Tries, Who};

const GROUP: [&str; 2] = ["--annotation", "io.containerd.runc.v2.group=together"];
const ENFORCE: &str = "mode: enforce\n";
/// Nothing is pinned: when the guard is dead, nothing in the kernel holds back.
const NOTHING_PINNED: &str = "mode: enforce\nsources: [fanotify]\nblock: all\n";

/// One of a group, which does [`TRIES`]; its first process.
fn joins(daemon: &Containerd, options: &[&str], image: &Image, id: &str) -> Result<i32> {
    let options = [&GROUP[..], options].concat();
    daemon.spawn_with(Runtime::Lacre, &options, image, id, &["sh", "-c", TRIES])?;
    daemon.task_pid(id)?.context("it runs")
}

/// A process that is killed, and does not end for as long as this thread says so: it stands still
/// on its way out, as one that waits for a disk does.
struct Unending(Pid);

impl Unending {
    fn of(process: i32) -> Result<Self> {
        let process = Pid::from_raw(process);
        ptrace::seize(process, ptrace::Options::PTRACE_O_TRACEEXIT)?;
        Ok(Self(process))
    }

    /// Lets it go.
    fn end(self) -> Result<()> {
        wait_for("its last stop", SOON, || {
            match waitpid(self.0, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL))? {
                nix::sys::wait::WaitStatus::StillAlive => Ok(None),
                _ => Ok(Some(())),
            }
        })?;
        ptrace::detach(self.0, None)?;
        Ok(())
    }
}

/// The guard has died, and containerd stays away: all are ended, whichever does not end, and what
/// was kept of the others goes.
#[test]
fn who_does_not_end_keeps_nobody_else_of_the_group_waiting() -> Result<()> {
    let mut field = Field::with(Version::V2_1, ENFORCE)?;
    let image = busybox_image()?;
    let ids: Vec<_> = (0..6).map(|number| format!("one-{number}")).collect();
    let mut inits = Vec::new();
    for id in &ids {
        inits.push(joins(&field.daemon, &[], &image, id)?);
    }
    // Those that are looked at first and last among them.
    let (held, others): (Vec<_>, Vec<_>) = inits.iter().enumerate().partition(|(at, _)| *at < 3);
    let unending: Vec<_> =
        held.iter().map(|(_, init)| Unending::of(**init)).collect::<Result<_>>()?;
    field.init = *others[0].1;
    field.dies(Who::Containerd, &ids[0])?;
    let dead = Instant::now();
    field.dies(Who::Lacre, &ids[0])?;
    wait_for("the others' end", SOON, || {
        Ok(others.iter().all(|(_, init)| !alive(**init)).then_some(()))
    })?;
    // Killing alone would take five seconds for each that does not end, one after the other.
    ensure!(dead.elapsed() < Duration::from_secs(10), "{:?}", dead.elapsed());
    ensure!(held.iter().all(|(_, init)| alive(**init)), "they stand on their way out");
    for (at, _) in &others {
        field.is_told(&ids[*at], "died")?;
    }
    // A charter and a link of each that is there still.
    let charters = field.daemon.node().folder().join("run/lacre/containers");
    wait_for("what was kept of the others to go", SOON, || {
        Ok((fs::read_dir(&charters)?.count() == 2 * held.len()).then_some(()))
    })
    .with_context(|| format!("{:?}", field.kept()))?;
    unending.into_iter().try_for_each(Unending::end)?;
    field.is_taken_out()?;
    for (at, _) in &held {
        field.is_told(&ids[*at], "died")?;
    }
    field.daemon.up()?;
    ids.iter().try_for_each(|id| field.daemon.remove(id))
}

/// The watchdog was killed between two Creates: its successor has both.
#[test]
fn who_comes_after_another_watchdog_did_is_ended_too() -> Result<()> {
    for lacre in [ENFORCE, NOTHING_PINNED] {
        let mut field = Field::with(Version::V2_1, lacre)?;
        let image = busybox_image()?;
        let early = joins(&field.daemon, &[], &image, "early")?;
        let watchdog = field.watchdog().context("a watchdog")?;
        watchdog.signal(Signal::SIGKILL);
        let late = joins(&field.daemon, &[], &image, "late")?;
        let next = field.watchdog().context("another watchdog")?;
        ensure!(next.pid != watchdog.pid, "it was killed");
        for init in [early, late] {
            Tries(init).more(3)?;
        }
        field.init = late;
        field.dies(Who::Containerd, "late")?;
        field.dies(Who::Lacre, "early")?;
        wait_for("their end", SOON, || Ok((!alive(early) && !alive(late)).then_some(())))
            .with_context(|| lacre)?;
        field.is_taken_out()?;
        for id in ["early", "late"] {
            field.is_told(id, "died").with_context(|| lacre)?;
        }
        field.daemon.up()?;
        for id in ["early", "late"] {
            field.daemon.remove(id)?;
        }
    }
    Ok(())
}

/// Each root that lies on one file system with others has a fanotify group of its own; they are
/// more than one message to the watchdog holds.
#[test]
fn more_roots_on_one_file_system_than_a_message_has_groups_are_watched_and_ended() -> Result<()> {
    const ROOTS: usize = 72;
    let daemon = Containerd::builder(Version::V2_1)
        .lacre(NOTHING_PINNED)
        .snapshotter(Snapshotter::Native)
        .start()?;
    let image = busybox_image()?;
    daemon.import(&image)?;
    daemon.check(|daemon| {
        let native = ["--snapshotter", Snapshotter::Native.name()];
        let sleeps = ["sleep", "1000"];
        let mut inits = Vec::new();
        for number in 0..ROOTS {
            let options = [&GROUP[..], &native].concat();
            let id = format!("root-{number}");
            daemon.spawn_with(Runtime::Lacre, &options, &image, &id, &sleeps)?;
            inits.push(daemon.task_pid(&id)?.context("it runs")?);
        }
        let guard = find(daemon, Victim::Lacre, "root-0").context("a guard")?;
        // The watchdog holds each of them.
        let groups = |process: &Process| -> usize {
            let links = fs::read_dir(format!("/proc/{}/fd", process.pid));
            let links = links.into_iter().flatten().flatten();
            let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
            links.filter(|link| link.as_os_str() == "anon_inode:[fanotify]").count()
        };
        let watchdog = || {
            let mut all = daemon.node().processes().into_iter();
            all.find(|process| process.arguments.iter().any(|word| word == "--watchdog"))
        };
        wait_for("a group for each root", SOON, || {
            Ok((groups(&watchdog().context("a watchdog")?) == ROOTS).then_some(()))
        })
        .with_context(|| format!("it has {:?}", watchdog().as_ref().map(groups)))?;
        ensure!(!daemon.log().contains("without a watchdog"), "{}", daemon.log());
        ensure!(inits.iter().all(|init| alive(*init)), "they run");
        guard.signal(Signal::SIGKILL);
        wait_for("their end", SOON, || Ok((!inits.iter().any(|init| alive(*init))).then_some(())))?;
        for number in 0..ROOTS {
            daemon.remove(&format!("root-{number}"))?;
        }
        // containerd runs a `delete` for each at once, and kills what is not done in five seconds;
        // other processes finish these.
        let bundles = format!("state/io.containerd.runtime.v2.task/{}", daemon.namespace());
        let bundles = daemon.node().folder().join(bundles);
        wait_for("each bundle to go", SOON, || {
            Ok((fs::read_dir(&bundles)?.count() == 0).then_some(()))
        })
    })
}
