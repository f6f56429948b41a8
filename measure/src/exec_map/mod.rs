//! `exec-map`: perf events that record every executable mapping of a container's tasks:
//! programs, libraries, memory made executable, memfds. It sees what has happened, and
//! acts a moment after.
//!
//! The events hang on the container's own tasks and follow every fork, whatever namespace
//! or parent a task takes; what enters from outside is added by [`ExecMapArmed::follow`]
//! before its Start. The kernel copies the events of a task at each fork: on the machine
//! of `docs/benchmarks.md` that is about 15 % of a fork and exec, so the source is not part of
//! `auto`, and is for those who want every mapping told more than that.

#[doc(hidden)]
pub mod fuzz;
mod record;
mod rewritten;
mod sweep;
mod watch;

use std::collections::BTreeSet;
use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use lacre_sys::perf::{Mappings, Scope};
use lacre_types::Source;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::reader_thread::{GRACE, Reader};
use crate::{Armed, Judge, Loss, SourceError, Target};
pub use sweep::sweep;
use watch::{Watch, failed};

/// Processes that may wait to be taken in by the reader: more enter a container at once
/// only if somebody floods it, and then waits.
const WAITING: usize = 64;

/// How `exec-map` works on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The pages of one ring, a power of two; there is one for each processor and each
    /// process that is followed. A record has about 128 bytes.
    pub ring_pages: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { ring_pages: 16 }
    }
}

/// `exec-map` at work on one container.
#[derive(Debug)]
pub struct ExecMapArmed {
    options: Options,
    more: SyncSender<Vec<Mappings>>,
    reader: Reader,
    enforce: Arc<AtomicBool>,
}

/// One event for each processor: a ring can't be mapped for a task on all of them. Not for those
/// that may come: each event costs every fork of the container's.
fn attach(scope: Scope<'_>, options: &Options) -> Result<Vec<Mappings>, SourceError> {
    let online = processors().map_err(|why| failed("counting the processors".to_owned(), why))?;
    online
        .into_iter()
        .map(|cpu| {
            Mappings::open(scope, cpu, options.ring_pages).map_err(|why| match why.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => {
                    SourceError::Unavailable {
                        source_name: Source::ExecMap,
                        needs: "perf events (CONFIG_PERF_EVENTS, CAP_PERFMON)".to_owned(),
                        source: Some(why),
                    }
                }
                _ => failed(format!("attaching a perf event to {scope:?} on processor {cpu}"), why),
            })
        })
        .collect()
}

/// The processors that are online.
fn processors() -> io::Result<BTreeSet<u32>> {
    list(&std::fs::read_to_string("/sys/devices/system/cpu/online")?)
}

/// From `0-3,6`.
fn list(text: &str) -> io::Result<BTreeSet<u32>> {
    let mut all = BTreeSet::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<u32>().map_err(io::Error::other);
        all.extend(number(first)?..=number(last)?.min(8191));
    }
    Ok(all)
}

/// How often it is looked whether a processor came: a hypervisor's operator or cloud adds one now
/// and then, and nothing that could be polled tells in every network namespace.
const COUNT_EVERY: Duration = Duration::from_secs(1);
const COUNT_AFTER: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The processors that every task is followed on. One that comes later sees only who enters
/// after it: what else is mapped there is not seen, and that is told once.
struct Processors {
    followed: BTreeSet<u32>,
    told: BTreeSet<u32>,
}

impl Processors {
    /// Those that came since the last call, of those that are online now.
    fn came(&mut self, online: BTreeSet<u32>) -> Vec<u32> {
        let came = online.into_iter().filter(|cpu| !self.followed.contains(cpu));
        came.filter(|cpu| self.told.insert(*cpu)).collect()
    }
}

/// Arms the source on a container whose init waits to be started.
///
/// # Errors
/// When the node has no perf events, or a call fails.
pub fn arm(
    target: &Target,
    judge: Arc<dyn Judge>,
    options: &Options,
) -> Result<ExecMapArmed, SourceError> {
    let watch = Watch::of(target, judge, target.mode)?;
    let enforce = Arc::clone(&watch.enforce);
    // Before the rings: one that comes in between has one all the same, and is told of.
    let counting = |why| failed("counting the processors".to_owned(), why);
    let followed = processors().map_err(counting)?;
    let online = Processors { followed, told: BTreeSet::new() };
    let rings = attach(Scope::Tree(target.init_pid), options)?;
    let (more, incoming) = sync_channel(WAITING);
    let reader =
        Reader::start("exec-map", move |woken| read(watch, (rings, online), &incoming, woken))
            .map_err(|why| failed("starting the reader of mappings".to_owned(), why))?;
    Ok(ExecMapArmed { options: options.clone(), more, reader, enforce })
}

/// Whether this node offers what `exec-map` needs.
///
/// # Errors
/// What is missing, and how to have it.
pub fn probe() -> Result<(), SourceError> {
    attach(Scope::Tree(std::process::id()), &Options { ring_pages: 1 }).map(drop)
}

impl ExecMapArmed {
    /// Follows a process that enters the container from outside, and all that it forks;
    /// before its Start.
    ///
    /// # Errors
    /// When the process is gone, or too many are being taken in.
    pub fn follow(&self, pid: u32) -> Result<(), SourceError> {
        let rings = attach(Scope::Tree(pid), &self.options)?;
        self.more.try_send(rings).map_err(|why| {
            let kind = match why {
                TrySendError::Full(_) => io::ErrorKind::WouldBlock,
                TrySendError::Disconnected(_) => io::ErrorKind::BrokenPipe,
            };
            failed(format!("handing process {pid} to the reader"), kind)
        })?;
        self.reader.wake().map_err(|why| failed("waking the reader of mappings".to_owned(), why))
    }
}

impl Armed for ExecMapArmed {
    fn source(&self) -> Source {
        Source::ExecMap
    }

    fn enforce(&self) -> Result<(), SourceError> {
        self.enforce.store(true, Ordering::Release);
        Ok(())
    }

    fn joined(&self, pid: u32) -> Result<(), SourceError> {
        self.follow(pid)
    }
}

fn read(
    watch: Watch,
    (mut rings, online): (Vec<Mappings>, Processors),
    incoming: &Receiver<Vec<Mappings>>,
    mut woken: PipeReader,
) {
    let watch = Arc::new(watch);
    follow(&watch, (&mut rings, online), incoming, &mut woken);
    watch.verifiers.finish(GRACE);
}

fn follow(
    watch: &Arc<Watch>,
    (rings, mut online): (&mut Vec<Mappings>, Processors),
    incoming: &Receiver<Vec<Mappings>>,
    woken: &mut PipeReader,
) {
    let mut counted = Instant::now();
    loop {
        if counted.elapsed() >= COUNT_EVERY {
            counted = Instant::now();
            // Unread, it is as it was.
            for cpu in processors().map(|now| online.came(now)).unwrap_or_default() {
                let why = format!("processor {cpu} came, and what is mapped on it is not seen");
                watch.judge.lost(Source::ExecMap, Loss::Ended(why));
            }
        }
        let mut fds: Vec<_> = rings
            .iter()
            .map(|ring| PollFd::from_borrowed_fd(ring.as_fd(), PollFlags::IN))
            .chain([PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN)])
            .collect();
        match rustix::event::poll(&mut fds, Some(&COUNT_AFTER)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => {
                let why = format!("waiting for mappings failed: {why}");
                watch.judge.lost(Source::ExecMap, Loss::Ended(why));
                return;
            }
        }
        // A ring hangs up when the last task that it follows has gone.
        let events: Vec<_> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        for ring in rings.iter_mut() {
            ring.read(|raw| watch.record(raw));
        }
        let mut over = events.iter().map(|events| events.contains(PollFlags::HUP));
        rings.retain(|_| !over.next().unwrap_or(false));
        if events.last().is_some_and(|events| !events.is_empty()) {
            let mut bytes = [0; WAITING];
            match io::Read::read(woken, &mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(_) => rings.extend(incoming.try_iter().flatten()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_processor_has_a_ring_and_one_that_comes_later_is_told_of_once() {
        let online = processors().unwrap();
        assert!(online.len() >= std::thread::available_parallelism().unwrap().get());
        let options = Options { ring_pages: 1 };
        let rings = attach(Scope::Tree(std::process::id()), &options).unwrap();
        assert_eq!(rings.len(), online.len());
        assert!(list("0-2,5,8-9\n").unwrap().into_iter().eq([0, 1, 2, 5, 8, 9]));
        assert!(list("").is_err() && list("x").is_err());
        let mut followed = Processors { followed: list("0-1").unwrap(), told: BTreeSet::new() };
        assert_eq!(followed.came(list("0-1").unwrap()), [0_u32; 0]);
        // One that leaves and comes back was followed all the time.
        assert_eq!(followed.came(list("0").unwrap()), [0_u32; 0]);
        assert_eq!(followed.came(list("0-3").unwrap()), [2, 3]);
        assert_eq!(followed.came(list("0-2,4").unwrap()), [4]);
    }
}
