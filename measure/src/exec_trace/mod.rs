//! `exec-trace`: BTF tracepoints that see every program a container executes, and kill
//! what its map does not know before its first instruction.
//!
//! The programs are loaded once per node and pinned; they stand with every lacre process
//! dead, until the container is taken out of their maps. A task carries its container's
//! number from its first exec in the container's mount namespace on, and hands it to what
//! it forks: no namespace that it enters or makes, and no parent that it loses, takes the
//! number away.
//!
//! In the kernel only the map decides. A file that is in no map costs its first user the
//! life in enforce mode, and is then measured, judged, and remembered if the baseline
//! allows it. Whoever knows of a file before it is executed (fanotify, holding its first
//! use) says so by [`Allower::allow`].
//!
//! With [`Options::fetch`], the same map decides of the file behind every page whose
//! instructions are fetched for the first time: libraries by `LD_PRELOAD` or `dlopen`,
//! programs handed to `ld.so`, mapped memfds. Not seen: pages that are in the page table
//! before they are executed (a neighbour was faulted in around them, `MAP_POPULATE`, read
//! before `mprotect`); `exec-map` sees their mapping.
//!
//! Scripts are seen as arguments of known interpreters, a moment after they began.
//! Code after `-c`, from standard input, or deleted within that moment is not.

mod abi;
mod container;
#[doc(hidden)]
pub mod fuzz;
mod interpreters;
mod programs;
mod script;
mod watch;

use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lacre_types::{CanonicalPath, FileId, Mode, Source};
use libbpf_rs::{MapHandle, RingBufferBuilder};
use rustix::event::{PollFd, PollFlags};

pub use abi::Counters;

use crate::files::{self, Digests, Layers};
use crate::process::Held;
use crate::{Armed, Judge, Loss, SourceError, Target};
use container::{Registered, Verdicts};
use programs::failed;
use watch::Watch;

/// How often the counters are read where no event wakes the reader: long enough to cost
/// nothing, and a loss is told within it.
const COUNTERS_EVERY: Duration = Duration::from_secs(5);

/// How `exec-trace` works on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where programs and maps are pinned, on a bpffs.
    pub folder: PathBuf,
    /// The ring of one container's events, in bytes: a power of two, in whole pages. An
    /// event has 0.1 to 2.4 kB; what finds no room is counted and told as lost.
    pub ring_bytes: u32,
    /// Check the file behind every page at its first fetch of instructions (x86 only).
    /// It costs about 5 % of the fork and exec of a dynamic program, and up to 3 % of every
    /// page fault of the node.
    pub fetch: bool,
    /// Tell of fetches from mapped memfds and anonymous memory, which JIT engines use,
    /// and don't kill for them.
    pub spare_memory: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            folder: "/sys/fs/bpf/lacre".into(),
            ring_bytes: 256 << 10,
            fetch: false,
            spare_memory: false,
        }
    }
}

/// Allows files from any thread; cheap to clone.
#[derive(Debug, Clone)]
pub struct Allower {
    verdicts: Verdicts,
    layers: Layers,
}

impl Allower {
    /// From now on the file may run in this state. `path` tells whether it is an
    /// interpreter, whose arguments are then looked at.
    ///
    /// # Errors
    /// When the map is full, or gone.
    pub fn allow(&self, id: &FileId, path: Option<&CanonicalPath>) -> io::Result<()> {
        let name = path.map_or(&b""[..], |path| script::base_name(path.as_bytes()));
        self.verdicts.allow(id, interpreters::flags(name))
    }

    /// From now on it may not.
    ///
    /// # Errors
    /// When it was not allowed.
    pub fn forget(&self, id: &FileId) -> io::Result<()> {
        self.verdicts.forget(id)
    }

    /// The identity of the file beneath a descriptor of the container's root or of one
    /// of its other file systems.
    ///
    /// # Errors
    /// When it is not a regular file, or an overlay that is not the container's root.
    pub fn identity(&self, file: BorrowedFd<'_>) -> io::Result<FileId> {
        let real = self.layers.real(file)?;
        if real.exact {
            Ok(real.id)
        } else {
            Err(io::Error::new(io::ErrorKind::Unsupported, "the overlay's layers are not known"))
        }
    }
}

/// `exec-trace` at work on one container.
#[derive(Debug)]
pub struct ExecTraceArmed {
    container: String,
    folder: PathBuf,
    init_pid: u32,
    registered: Registered,
    allower: Allower,
    /// Closing it ends the reader.
    stop: Option<PipeWriter>,
    reader: Option<JoinHandle<()>>,
    keep: bool,
}

/// Arms the source on a container whose init waits to be started.
///
/// `target.container` names it to [`remove_container`] too, so it must be unique on the
/// node: containerd's ids are so only together with their namespace.
///
/// # Errors
/// When the node lacks BPF, BTF or bpffs, or a call fails; nothing is left armed then.
pub fn arm(
    target: &Target,
    judge: Arc<dyn Judge>,
    options: &Options,
) -> Result<ExecTraceArmed, SourceError> {
    let init = Held::open(target.init_pid)
        .map_err(|why| failed(format!("opening process {}", target.init_pid), why))?;
    let layers = Layers::new(target.upper.as_deref(), &target.lower);
    layers.comparable().map_err(|needs| SourceError::Unavailable {
        source_name: Source::ExecTrace,
        needs,
        source: None,
    })?;
    let mut flags = 0;
    if target.mode == Mode::Enforce {
        flags |= abi::SLOT_ENFORCE;
    }
    if options.fetch {
        flags |= abi::SLOT_FAULTS;
    }
    if options.spare_memory {
        flags |= abi::SLOT_SPARE_MEMORY;
    }
    let files = interpreters::marked(target, &layers);
    let registered = container::register(
        &options.folder,
        options.fetch,
        &target.container,
        target.init_pid,
        flags,
        options.ring_bytes,
        &files,
    )?;
    drop(files);
    let allower = Allower { verdicts: registered.verdicts.clone(), layers: layers.clone() };
    let mut armed = ExecTraceArmed {
        container: target.container.clone(),
        folder: options.folder.clone(),
        init_pid: target.init_pid,
        registered,
        allower,
        stop: None,
        reader: None,
        keep: false,
    };
    let watch = Watch {
        judge,
        known: Arc::clone(&target.known),
        layers,
        verdicts: armed.registered.verdicts.clone(),
        init,
        digests: Digests::default(),
    };
    armed.start(watch)?;
    Ok(armed)
}

/// Whether this node offers what `exec-trace` needs; leaves the programs pinned if so.
///
/// # Errors
/// What is missing, and how to have it.
pub fn probe(options: &Options) -> Result<(), SourceError> {
    programs::prepare(&options.folder)?;
    let locked = programs::lock(&options.folder)?;
    programs::Programs::load(&options.folder, options.fetch, &locked).map(drop)
}

/// Takes a container out of every map, from any process; `false` when it was in none.
/// Nothing of it is watched or killed from then on.
///
/// # Errors
/// When the folder can't be locked.
pub fn remove_container(folder: &Path, container: &str) -> Result<bool, SourceError> {
    container::remove(folder, container)
}

/// Detaches and frees everything that is pinned in `folder`: for every container of the
/// node.
///
/// # Errors
/// When the folder can't be locked or removed.
pub fn unpin_all(folder: &Path) -> Result<(), SourceError> {
    programs::unpin_all(folder)
}

impl ExecTraceArmed {
    /// Allows files, from any thread.
    #[must_use]
    pub fn allower(&self) -> Allower {
        self.allower.clone()
    }

    /// The identity of the real file at a path of the container.
    ///
    /// # Errors
    /// When there is none, it is not a regular file, or it can't be told which.
    pub fn resolve(&self, path: &CanonicalPath) -> io::Result<FileId> {
        let root = PathBuf::from(format!("/proc/{}/root", self.init_pid));
        self.allower.identity(files::open_in(&root, path.as_bytes())?.as_fd())
    }

    /// Takes a process in that no exec in the container's mount namespace brought in: a
    /// container that shares the host's has no other sign.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn adopt(&self, pid: u32) -> Result<(), SourceError> {
        container::tag(&self.registered.programs, self.registered.slot, pid)
    }

    /// What the programs counted so far.
    #[must_use]
    pub fn counters(&self) -> Option<Counters> {
        container::counters(&self.registered.programs.slots, self.registered.slot)
    }

    /// Where this version of the programs is pinned.
    #[must_use]
    pub fn pinned(&self) -> &Path {
        self.registered.programs.dir()
    }

    /// Ends the reading and leaves the container guarded, until [`remove_container`].
    pub fn leave(mut self) {
        self.keep = true;
    }

    fn start(&mut self, watch: Watch) -> Result<(), SourceError> {
        let doing = |why| failed("starting the reader of events".to_owned(), why);
        let (stopped, stop) = io::pipe().map_err(doing)?;
        let slots = MapHandle::try_from(&self.registered.programs.slots)
            .map_err(|why| doing(io::Error::other(why)))?;
        let ring = MapHandle::try_from(&self.registered.ring)
            .map_err(|why| doing(io::Error::other(why)))?;
        let slot = self.registered.slot;
        let reader = std::thread::Builder::new()
            .name("exec-trace".to_owned())
            // Nothing recurses; the largest buffers are on the heap.
            .stack_size(256 << 10)
            .spawn(move || read(watch, &ring, &slots, slot, stopped.as_fd()))
            .map_err(doing)?;
        self.stop = Some(stop);
        self.reader = Some(reader);
        Ok(())
    }
}

fn read(mut watch: Watch, ring: &MapHandle, slots: &MapHandle, slot: u64, stopped: BorrowedFd<'_>) {
    let judge = Arc::clone(&watch.judge);
    if let Err(why) = follow(&mut watch, ring, slots, slot, stopped) {
        judge.lost(Source::ExecTrace, Loss::Ended(why.to_string()));
    }
}

/// Reads until told to stop; what was told before is read to the end.
fn follow(
    watch: &mut Watch,
    ring: &MapHandle,
    slots: &MapHandle,
    slot: u64,
    stopped: BorrowedFd<'_>,
) -> io::Result<()> {
    let judge = Arc::clone(&watch.judge);
    let mut builder = RingBufferBuilder::new();
    builder
        .add(ring, |raw| {
            watch.event(raw);
            0
        })
        .map_err(io::Error::other)?;
    let events = builder.build().map_err(io::Error::other)?;
    let mut told_lost = 0;
    let every =
        rustix::time::Timespec { tv_sec: COUNTERS_EVERY.as_secs().cast_signed(), tv_nsec: 0 };
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(ring.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stopped, PollFlags::empty()),
        ];
        match rustix::event::poll(&mut fds, Some(&every)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        let ending = !fds[1].revents().is_empty();
        events.consume().map_err(io::Error::other)?;
        if let Some(counters) = container::counters(slots, slot)
            && counters.lost > told_lost
        {
            let lost = counters.lost - told_lost;
            told_lost = counters.lost;
            judge.lost(Source::ExecTrace, Loss::Overflow(Some(lost)));
        }
        if ending {
            return Ok(());
        }
    }
}

impl Armed for ExecTraceArmed {
    fn source(&self) -> Source {
        Source::ExecTrace
    }
}

impl Drop for ExecTraceArmed {
    fn drop(&mut self) {
        if !self.keep {
            let Registered { programs, slot, .. } = &self.registered;
            container::remove_slot(&self.folder, programs, &self.container, *slot);
        }
        self.stop = None;
        if let Some(reader) = self.reader.take() {
            // It tells its own failures; a panic in the judge is the judge's to tell.
            let _ = reader.join();
        }
    }
}
