//! A guard and its watchdog lose each other, and one of them dies or hangs afterwards.

use std::fs;
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lacre_integration::Version;
use lacre_integration::fault::{Victim, find};
use lacre_integration::output::wait_for;
use lacre_integration::process::{Process, alive};
use nix::sys::signal::Signal;

use crate::field::{Field, SOON, Tries, Who};

/// Nothing is pinned: when the guard is dead, nothing in the kernel holds back.
const NOTHING_PINNED: &str = "mode: enforce\nsources: [fanotify]\nblock: all\n";

/// The sockets of whole messages that a process has: a guard has its connection to the watchdog,
/// and a watchdog one to each guard, and what it listens on.
fn links(process: &Process) -> Result<Vec<i32>> {
    let table = fs::read_to_string(format!("/proc/{}/net/unix", process.pid))?;
    // `Num RefCount Protocol Flags Type St Inode Path`; type 5 is SOCK_SEQPACKET (proc(5)).
    let inodes = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields.get(4) == Some(&"0005")).then(|| format!("socket:[{}]", fields[6]))
    });
    let inodes: Vec<_> = inodes.collect();
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{}/fd", process.pid))? {
        let entry = entry?;
        // It may be closed meanwhile.
        let Ok(leads) = fs::read_link(entry.path()) else { continue };
        if inodes.iter().any(|inode| leads.as_os_str() == inode.as_str()) {
            found.push(entry.file_name().to_string_lossy().parse()?);
        }
    }
    Ok(found)
}

/// A guard's connection to its watchdog.
fn link(process: &Process) -> Result<OwnedFd> {
    let number = *links(process)?.first().context("no connection to a watchdog")?;
    let pid = rustix::process::Pid::from_raw(process.pid).context("a number")?;
    let held = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let flags = rustix::process::PidfdGetfdFlags::empty();
    Ok(rustix::process::pidfd_getfd(&held, number, flags)?)
}

/// The connection ends first, and long after it the guard, which could make no other one.
#[test]
fn a_guard_that_loses_its_connection_and_dies_later_is_stood_in_for() -> Result<()> {
    let mut field = Field::with(Version::V2_1, NOTHING_PINNED)?;
    field.start("later")?;
    field.dies(Who::Containerd, "later")?;
    let guard = find(&field.daemon, Victim::Lacre, "later").context("a guard")?;
    let watchdog = field.watchdog().context("a watchdog")?;
    let link = link(&guard)?;
    guard.signal(Signal::SIGSTOP);
    let before = links(&watchdog)?.len();
    rustix::net::shutdown(&link, rustix::net::Shutdown::Both)?;
    drop(link);
    wait_for("the watchdog to hear of the end", SOON, || {
        Ok((links(&watchdog)?.len() < before).then_some(()))
    })?;
    guard.signal(Signal::SIGKILL);
    field.has_ended()?;
    field.is_taken_out()?;
    field.is_told("later", "died")?;
    field.ends("later")
}

/// A guard whose connection ended, and that lives, makes another.
#[test]
fn a_guard_that_loses_its_connection_makes_another() -> Result<()> {
    let mut field = Field::with(Version::V2_1, NOTHING_PINNED)?;
    field.start("again")?;
    let guard = find(&field.daemon, Victim::Lacre, "again").context("a guard")?;
    for _ in 0..3 {
        let lost = link(&guard)?;
        rustix::net::shutdown(&lost, rustix::net::Shutdown::Both)?;
        drop(lost);
        // Longer than one without a connection has.
        sleep(Duration::from_secs(8));
        field.tries_more(5)?;
        ensure!(alive(field.init) && alive(guard.pid), "somebody innocent was ended");
    }
    field.dies(Who::Containerd, "again")?;
    field.dies(Who::Lacre, "again")?;
    field.has_ended()?;
    field.is_taken_out()?;
    field.ends("again")
}

/// It could not tell the next watchdog that it is there.
#[test]
fn a_guard_that_hung_before_its_watchdog_died_keeps_nobody_waiting() -> Result<()> {
    let mut field = Field::with(Version::V2_1, NOTHING_PINNED)?;
    field.start("lives")?;
    let lives = field.init;
    field.start("stuck")?;
    let guard = find(&field.daemon, Victim::Lacre, "stuck").context("a guard")?;
    let watchdog = field.watchdog().context("a watchdog")?;
    guard.signal(Signal::SIGSTOP);
    watchdog.signal(Signal::SIGKILL);
    // The other's guard starts the next one.
    field.has_ended()?;
    wait_for("the guard's end", SOON, || Ok((!alive(guard.pid)).then_some(())))?;
    field.is_told("stuck", "hung")?;
    field.ends("stuck")?;
    Tries(lives).more(10)?;
    ensure!(alive(lives), "an innocent container was ended");
    field.daemon.remove("lives")
}

/// Nobody finds the watchdog any more, and it goes on with what it has.
#[test]
fn a_watchdog_whose_socket_is_removed_is_found_again() -> Result<()> {
    let mut field = Field::with(Version::V2_1, NOTHING_PINNED)?;
    field.start("first")?;
    let first = field.init;
    let watchdog = field.watchdog().context("a watchdog")?;
    fs::remove_file(field.daemon.node().folder().join("run/lacre/watchdog"))?;
    field.start("second")?;
    let now = field.watchdog().context("a watchdog")?;
    ensure!(now.pid == watchdog.pid, "another one holds nothing of the first one's");
    field.dies(Who::Containerd, "second")?;
    field.dies(Who::Lacre, "second")?;
    field.has_ended()?;
    Tries(first).more(5)?;
    ensure!(alive(first), "an innocent container was ended");
    field.ends("second")?;
    field.daemon.remove("first")
}
