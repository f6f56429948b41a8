//! What the watchdog does: a guard that dies or hangs leaves nobody unguarded and nobody
//! standing still, whether or not containerd ever runs a `delete`.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lacre_integration::Version;
use lacre_integration::fault::{Victim, find};
use lacre_integration::output::{Output, wait_for};
use lacre_integration::process::{Process, alive};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::field::{Field, SOON, Who};

const ENFORCE: &str = "mode: enforce\n";
/// Nothing is pinned: when the guard is dead, nothing in the kernel holds back.
const NOTHING_PINNED: &str = "mode: enforce\nsources: [fanotify]\nblock: all\n";

fn guard(field: &Field, id: &str) -> Result<Process> {
    find(&field.daemon, Victim::Lacre, id).context("a guard")
}

/// Nobody comes to run a `delete`: the wall, the charter and the place go all the same.
#[test]
fn a_dead_guards_container_is_ended_and_taken_out_though_containerd_stays_away() -> Result<()> {
    for lacre in [ENFORCE, NOTHING_PINNED] {
        let mut field = Field::with(Version::V2_1, lacre)?;
        field.start("away")?;
        field.dies(Who::Containerd, "away")?;
        field.dies(Who::Lacre, "away")?;
        field.has_ended()?;
        field.is_taken_out()?;
        field.is_told("away", "died")?;
        assert!(find(&field.daemon, Victim::Inner, "away").is_none(), "{lacre}");
        field.ends("away")?;
    }
    Ok(())
}

/// The kernel lets pass who waits for an answer when the last holder of the group has gone:
/// what did not come with the image is asked about at that very moment, again and again.
#[test]
fn who_waits_for_an_answer_when_lacre_dies_does_not_pass() -> Result<()> {
    let mut field = Field::with(Version::V2_1, NOTHING_PINNED)?;
    for turn in 0..10 {
        let id = format!("waits-{turn}");
        field.start(&id)?;
        let guard = guard(&field, &id)?;
        guard.signal(Signal::SIGSTOP);
        // It stands still: the next try waits for the answer.
        let (mut last, mut still) = (field.tries(), 0);
        wait_for("a try that waits", SOON, || {
            let now = field.tries();
            still = if now == last { still + 1 } else { 0 };
            last = now;
            Ok((still > 10).then_some(()))
        })?;
        guard.signal(Signal::SIGKILL);
        field.has_ended()?;
        field.ends(&id)?;
    }
    Ok(())
}

/// What a guard has written down can't be read any more when it dies.
#[test]
fn what_is_written_down_of_a_container_is_damaged() -> Result<()> {
    for (folder, kind) in [("containers", "charter"), ("s", "state")] {
        for containerd in [Who::Containerd, Who::Lacre] {
            let mut field = Field::with(Version::V2_1, ENFORCE)?;
            field.start("torn")?;
            field.damages(folder)?;
            // With containerd there, its `delete` comes first.
            field.dies(containerd, "torn")?;
            field.dies(Who::Lacre, "torn")?;
            field.has_ended().with_context(|| kind)?;
            field.is_taken_out().with_context(|| kind)?;
            field.is_told("torn", "died").with_context(|| kind)?;
            field.ends("torn")?;
        }
    }
    Ok(())
}

#[test]
fn a_stopped_guard_keeps_nobody_waiting() -> Result<()> {
    for lacre in [ENFORCE, NOTHING_PINNED] {
        let mut field = Field::with(Version::V2_1, lacre)?;
        field.start("stopped")?;
        let guard = guard(&field, "stopped")?;
        guard.signal(Signal::SIGSTOP);
        field.has_ended()?;
        wait_for("the guard's end", SOON, || Ok((!alive(guard.pid)).then_some(())))?;
        field.is_told("stopped", "hung")?;
        field.ends("stopped")?;
    }
    Ok(())
}

/// The guard answers its watchdog, and one of its threads does nothing any more.
#[test]
fn a_responder_that_hangs_keeps_nobody_waiting() -> Result<()> {
    let mut field = Field::new(Version::V2_1)?;
    field.start("thread")?;
    let guard = guard(&field, "thread")?;
    let thread = thread(&guard, "fanotify")?;
    // Held for as long as this thread lives, or that one.
    ptrace::seize(thread, ptrace::Options::empty())?;
    ptrace::interrupt(thread)?;
    field.has_ended()?;
    wait_for("the guard's end", SOON, || {
        // Who is traced ends once its tracer has heard of it.
        let _ = waitpid(thread, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL));
        Ok((!alive(guard.pid)).then_some(()))
    })?;
    field.is_told("thread", "hung")?;
    field.ends("thread")
}

fn thread(process: &Process, name: &str) -> Result<Pid> {
    for entry in fs::read_dir(format!("/proc/{}/task", process.pid))? {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("comm"))?.trim() == name {
            let number = entry.file_name().to_string_lossy().parse()?;
            return Ok(Pid::from_raw(number));
        }
    }
    anyhow::bail!("no thread {name}")
}

/// Who stops containerd, or the inner shim, stops nothing of what guards.
#[test]
fn a_stopped_containerd_or_inner_shim_changes_nothing_for_the_container() -> Result<()> {
    let mut field = Field::new(Version::V2_1)?;
    field.start("others")?;
    let guard = guard(&field, "others")?;
    let daemon = Process::by_pid(field.daemon.pid().context("a daemon")?).context("it runs")?;
    let inner = find(&field.daemon, Victim::Inner, "others").context("an inner shim")?;
    for stopped in [&daemon, &inner] {
        stopped.signal(Signal::SIGSTOP);
        field.tries_more(300)?;
        stopped.signal(Signal::SIGCONT);
        ensure!(alive(field.init) && alive(guard.pid), "somebody innocent was ended");
    }
    field.daemon.remove("others")
}

/// A watchdog that dies has a successor, which holds what the first one held.
#[test]
fn another_watchdog_comes_when_one_dies() -> Result<()> {
    let mut field = Field::with(Version::V2_1, NOTHING_PINNED)?;
    field.start("another")?;
    for _ in 0..3 {
        let first = field.watchdog().context("a watchdog")?;
        first.signal(Signal::SIGKILL);
        wait_for("another watchdog", SOON, || {
            Ok(field.watchdog().filter(|next| next.pid != first.pid).map(drop))
        })?;
        field.tries_more(5)?;
        assert!(alive(field.init));
    }
    field.dies(Who::Containerd, "another")?;
    field.dies(Who::Lacre, "another")?;
    field.has_ended()?;
    field.is_taken_out()?;
    field.ends("another")
}

/// As a unit does that runs one at all times.
#[test]
fn who_died_together_with_the_watchdog_is_found_by_the_next() -> Result<()> {
    let mut field = Field::new(Version::V2_1)?;
    field.start("both")?;
    field.dies(Who::Containerd, "both")?;
    let watchdog = field.watchdog().context("a watchdog")?;
    let guard = guard(&field, "both")?;
    // Stopped first: neither sees the other die.
    watchdog.signal(Signal::SIGSTOP);
    guard.signal(Signal::SIGKILL);
    watchdog.signal(Signal::SIGKILL);
    wait_for("both", SOON, || Ok((!alive(guard.pid) && !alive(watchdog.pid)).then_some(())))?;
    // What is pinned holds it back meanwhile.
    field.tries_more(20)?;
    let mut command = field.daemon.command("containerd-shim-lacre-v1");
    Output::of(command.args(["--watchdog", "/run/lacre"]).stdin(Stdio::null()))?.ok()?;
    field.has_ended()?;
    field.is_taken_out()?;
    field.is_told("both", "died")?;
    field.ends("both")
}

/// Audit ends nobody; when the container has ended by itself, nothing of it is left.
#[test]
fn in_audit_a_dead_guards_container_runs_on_and_is_taken_out_when_it_has_ended() -> Result<()> {
    let mut field = Field::with(Version::V2_1, "mode: audit\n")?;
    field.runs("audit", "sleep 1000")?;
    field.dies(Who::Containerd, "audit")?;
    field.dies(Who::Lacre, "audit")?;
    // As long as a watchdog waits for a `delete`, and longer.
    std::thread::sleep(std::time::Duration::from_secs(20));
    ensure!(alive(field.init), "audit touches nobody");
    ensure!(!field.kept().is_empty(), "what ends it is still known");
    Process::by_pid(field.init).context("it runs")?.signal(Signal::SIGKILL);
    field.is_taken_out()?;
    field.is_told("audit", "died")?;
    field.ends("audit")
}

/// One a run directory, and none where nothing runs.
#[test]
fn a_watchdog_ends_a_while_after_the_last_guard() -> Result<()> {
    let mut field = Field::new(Version::V2_1)?;
    field.start("first")?;
    let watchdog = field.watchdog().context("a watchdog")?;
    field.start("second")?;
    let all = field.daemon.node().processes().into_iter();
    let count = all.filter(|process| process.arguments.iter().any(|word| word == "--watchdog"));
    assert_eq!(count.count(), 1);
    field.daemon.remove("second")?;
    field.daemon.remove("first")?;
    wait_for("its end", SOON, || Ok((!alive(watchdog.pid)).then_some(())))?;
    let run = field.daemon.node().folder().join("run/lacre");
    assert!(!run.join("watchdog").exists());
    Ok(())
}
