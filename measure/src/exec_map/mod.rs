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

use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::SystemTime;

use lacre_sys::perf::{Mappings, Scope};
use lacre_types::{CanonicalPath, Content, Digest, Event, Measurement, Process, Source};
use rustix::event::{PollFd, PollFlags};

use crate::files::{self, Digests, Layers, Real};
use crate::process::Held;
use crate::reader::Reader;
use crate::{Answer, Armed, Judge, Known, Loss, Outcome, SourceError, Target};
use record::{Behind, Mapping, Record};

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
}

fn failed(doing: String, source: impl Into<io::Error>) -> SourceError {
    SourceError::Failed { source_name: Source::ExecMap, doing, source: source.into() }
}

/// One event for each processor: a ring can't be mapped for a task on all of them.
fn attach(scope: Scope<'_>, options: &Options) -> Result<Vec<Mappings>, SourceError> {
    let processors =
        processors().map_err(|why| failed("counting the processors".to_owned(), why))?;
    processors
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

/// The processors that are online, from `0-3,6`.
fn processors() -> io::Result<Vec<u32>> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let mut all = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<u32>().map_err(io::Error::other);
        all.extend(number(first)?..=number(last)?.min(8191));
    }
    Ok(all)
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
    let init = Held::open(target.init_pid)
        .map_err(|why| failed(format!("opening process {}", target.init_pid), why))?;
    let rings = attach(Scope::Tree(target.init_pid), options)?;
    let watch = Watch {
        judge,
        known: Arc::clone(&target.known),
        layers: Layers::new(target.upper.as_deref(), &target.lower),
        root: files::root_device(target.init_pid).ok(),
        init,
        digests: Digests::default(),
    };
    let (more, incoming) = sync_channel(WAITING);
    let reader = Reader::start("exec-map", move |woken| read(watch, rings, &incoming, woken))
        .map_err(|why| failed("starting the reader of mappings".to_owned(), why))?;
    Ok(ExecMapArmed { options: options.clone(), more, reader })
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

    fn joined(&self, pid: u32) -> Result<(), SourceError> {
        self.follow(pid)
    }
}

/// The eyes on one container's mappings.
struct Watch {
    judge: Arc<dyn Judge>,
    known: Arc<dyn Known>,
    layers: Layers,
    /// The device of the container's own root, if it is told.
    root: Option<u32>,
    init: Held,
    digests: Digests,
}

fn read(
    mut watch: Watch,
    mut rings: Vec<Mappings>,
    incoming: &Receiver<Vec<Mappings>>,
    mut woken: PipeReader,
) {
    loop {
        let mut fds: Vec<_> = rings
            .iter()
            .map(|ring| PollFd::from_borrowed_fd(ring.as_fd(), PollFlags::IN))
            .chain([PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN)])
            .collect();
        match rustix::event::poll(&mut fds, None) {
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
        for ring in &mut rings {
            ring.read(|raw| watch.record(raw));
        }
        let mut over = events.iter().map(|events| events.contains(PollFlags::HUP));
        rings.retain(|_| !over.next().unwrap_or(false));
        if events.last().is_some_and(|events| !events.is_empty()) {
            let mut bytes = [0; WAITING];
            match io::Read::read(&mut woken, &mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(_) => rings.extend(incoming.try_iter().flatten()),
            }
        }
    }
}

impl Watch {
    fn record(&mut self, raw: &[u8]) {
        match record::parse(raw) {
            Record::Lost(count) => {
                self.judge.lost(Source::ExecMap, Loss::Overflow(Some(count)));
            }
            Record::Other => {}
            Record::Mapped(mapping) => self.mapped(&mapping),
        }
    }

    fn mapped(&mut self, mapping: &Mapping) {
        match mapping.behind() {
            Behind::Kernel => {}
            Behind::Memfd => self.pass(mapping, Event::Memfd, None, Content::Fileless),
            // Mapped and mprotect-ed leave the same record.
            Behind::Anonymous => self.pass(mapping, Event::Mprotect, None, Content::Fileless),
            Behind::File => self.file(mapping),
        }
    }

    fn file(&mut self, mapping: &Mapping) {
        let process = Held::open(mapping.pid).ok();
        let path = CanonicalPath::new(&mapping.name).ok();
        if let Some(path) = &path
            && self.in_present_state(mapping, path)
        {
            return;
        }
        let content = match self.find(mapping, process.as_ref(), path.as_ref()) {
            Err(why) => Content::Unread(why),
            Ok(None) if mapping.name.ends_with(b" (deleted)") => Content::Fileless,
            Ok(None) => Content::Unread("it was gone before it could be read".to_owned()),
            Ok(Some(mut real)) => match self.known.by_inode(real.id.dev, real.id.ino) {
                Some((_, known)) if real.exact && known.id == real.id => {
                    if self.allowed(mapping, path.as_ref(), known.digest) {
                        return;
                    }
                    Content::Digest(known.digest)
                }
                _ => self.digests.of(&mut real).map_or_else(Content::Unread, Content::Digest),
            },
        };
        let path = path.filter(|_| content != Content::Fileless);
        self.pass(mapping, Event::Mmap, path, content);
    }

    /// Whether a lower directory's file is what was mapped: known, so nothing is read.
    /// Some kernels name the real inode where overlayfs maps it, which no container
    /// writes; others the overlay's, which stays the same when the file is replaced.
    fn in_present_state(&self, mapping: &Mapping, path: &CanonicalPath) -> bool {
        self.known
            .by_inode(mapping.dev, mapping.ino)
            .is_some_and(|(_, known)| self.allowed(mapping, Some(path), known.digest))
    }

    fn allowed(&self, mapping: &Mapping, path: Option<&CanonicalPath>, digest: Digest) -> bool {
        let content = Content::Digest(digest);
        let measurement = self.measurement(mapping, Event::Mmap, path.cloned(), content);
        self.judge.settled(&measurement)
    }

    fn find(
        &self,
        mapping: &Mapping,
        process: Option<&Held>,
        path: Option<&CanonicalPath>,
    ) -> Result<Option<Real>, String> {
        let held: Vec<&Held> = process.into_iter().chain([&self.init]).collect();
        if let Some(kind) = held.iter().find_map(|one| files::unsteady(one.pid(), mapping.dev)) {
            return Err(format!("it lies on {kind}, which may answer each reader differently"));
        }
        let mapped = process.and_then(|process| {
            files::open_magic(&process.proc("map_files").join(mapping.range())).ok()
        });
        let by_root = held
            .iter()
            .filter(|one| one.lives())
            .filter_map(|one| files::open_in(&one.proc("root"), path?.as_bytes()).ok());
        // When no process is left to ask, what lies on the container's own root still says
        // where: nothing else has its device.
        let left = path.filter(|_| self.root == Some(mapping.dev));
        Ok(mapped
            .into_iter()
            .chain(by_root)
            .filter_map(|file| self.layers.real(file.as_fd()).ok())
            .chain(left.into_iter().filter_map(|path| self.layers.topmost(path.as_bytes())))
            // A record has no change time: the inode must do.
            .find(|real| real.id.ino as u32 == mapping.ino as u32))
    }

    fn measurement(
        &self,
        mapping: &Mapping,
        event: Event,
        path: Option<CanonicalPath>,
        content: Content,
    ) -> Measurement {
        Measurement {
            source: Source::ExecMap,
            event,
            path,
            content,
            process: Process { pid: mapping.pid, uid: None },
            time: SystemTime::now(),
        }
    }

    fn pass(&self, mapping: &Mapping, event: Event, path: Option<CanonicalPath>, content: Content) {
        let measurement = self.measurement(mapping, event, path, content);
        let held = Held::open(mapping.pid).ok();
        let stopped = self.judge.judge(&measurement) == Answer::Deny
            && held.is_some_and(|process| process.kill().is_ok());
        self.judge.seen(measurement, if stopped { Outcome::Killed } else { Outcome::Ran });
    }
}

#[cfg(test)]
mod tests;
