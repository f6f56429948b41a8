//! `exec-trace`: BTF tracepoints that see every program a container executes, and kill
//! what its map does not know before its first instruction.
//!
//! The programs are loaded once per node and pinned. They are attached while a container
//! needs them, and stand with every lacre process dead, until the container is taken out of
//! their maps. A task carries its container's
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
//! programs handed to `ld.so`, memory that several mappings share. Not seen: pages that are in the page table
//! before they are executed (a neighbour was faulted in around them, `MAP_POPULATE`, read
//! before `mprotect`); `exec-map` sees their mapping.
//!
//! Scripts are seen as arguments of known interpreters, a moment after they began.
//! Code after `-c`, from standard input, or deleted within that moment is not.

mod abi;
mod allower;
mod descendants;
mod events;
mod failure;
#[doc(hidden)]
pub mod fuzz;
mod handle;
mod interpreters;
mod metadata_changes;
mod object;
mod path_walk;
mod programs;
mod reader;
mod registry;
mod running;
mod script_file;
mod script_search;
mod scripts;
mod slot;
mod told;
mod verdicts;
mod watch;
mod watched_files;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacre_types::{Known, Mode, Source};

pub use abi::Counters;
pub use allower::Allower;
pub use handle::ExecTraceArmed;

use crate::container_root::ContainerRoot;
use crate::fanotify::Groups;
use crate::held_process::Held;
use crate::{Judge, SourceError, Target};
use failure::failed;
use slot::Slot;

/// How `exec-trace` works on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where programs and maps are pinned, on a bpffs.
    pub folder: PathBuf,
    /// The ring of one container's events, in bytes: a power of two, in whole pages. An
    /// event has 0.1 to 2.4 kB; what finds no room is counted and told as lost.
    pub ring_bytes: u32,
    /// Check the file behind every page at its first fetch of instructions (x86 only).
    /// It costs about 4 % of the fork and exec of a dynamic program, and up to 3 % of every
    /// page fault of the node.
    pub fetch: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { folder: "/sys/fs/bpf/lacre".into(), ring_bytes: 256 << 10, fetch: false }
    }
}

/// `exec-trace` made ready for a container that may have no process yet; dropping it takes
/// everything back. Whatever waits for the kernel is done.
#[derive(Debug)]
pub struct Prepared {
    slot: Slot,
    options: Options,
}

/// Makes ready what needs no process, which takes some 10 ms, on a node's first container
/// 50: while the container is being created, nobody waits for that.
///
/// `container` names it to [`remove_container`] too, so it must be unique on the node:
/// containerd's ids are so only together with their namespace. `known` is what it may run.
///
/// # Errors
/// When the node lacks BPF, BTF or bpffs, or a call fails; nothing is left then.
pub fn prepare(
    container: &str,
    known: &dyn Known,
    options: &Options,
) -> Result<Prepared, SourceError> {
    let Options { folder, fetch, ring_bytes, .. } = options;
    let slot = Slot::prepare(folder, *fetch, container, *ring_bytes, known)?;
    Ok(Prepared { slot, options: options.clone() })
}

impl Prepared {
    /// [`Self::arm_at`], with groups of its own.
    ///
    /// # Errors
    /// As there.
    pub fn arm(
        self,
        target: &Target,
        judge: Arc<dyn Judge>,
    ) -> Result<ExecTraceArmed, SourceError> {
        self.arm_at(&Groups::new(), target, judge)
    }

    /// Arms the source on the container that it was made ready for, and whose init waits to
    /// be started; `groups` are the shim's.
    ///
    /// # Errors
    /// When the init is gone, or a call fails; nothing is left armed then.
    pub fn arm_at(
        self,
        groups: &Groups,
        target: &Target,
        judge: Arc<dyn Judge>,
    ) -> Result<ExecTraceArmed, SourceError> {
        let init = Held::open(target.init_pid)
            .map_err(|why| failed(format!("opening process {}", target.init_pid), why))?;
        let container = ContainerRoot::of(&init)
            .map_err(|why| failed(format!("opening the root of process {}", init.pid()), why))?;
        let layers = target.layers().with(groups.unlinked());
        layers.comparable().map_err(|needs| SourceError::Unavailable {
            source_name: Source::ExecTrace,
            needs,
            source: None,
        })?;
        let mut flags = 0;
        if target.mode == Mode::Enforce {
            flags |= abi::SLOT_ENFORCE;
        }
        if self.options.fetch {
            flags |= abi::SLOT_FAULTS;
        }
        let armed =
            ExecTraceArmed::start(self.slot, layers, (init, container), target, groups, judge)?;
        armed.arm(flags)?;
        Ok(armed)
    }
}

/// [`prepare`] and [`Prepared::arm`] in one.
///
/// # Errors
/// As either.
pub fn arm(
    target: &Target,
    judge: Arc<dyn Judge>,
    options: &Options,
) -> Result<ExecTraceArmed, SourceError> {
    prepare(&target.container, &*target.known, options)?.arm(target, judge)
}

/// Whether this node offers what `exec-trace` needs; leaves the programs loaded if so, and
/// attached as long as a container needs them.
///
/// # Errors
/// What is missing, and how to have it.
pub fn probe(options: &Options) -> Result<(), SourceError> {
    programs::prepare(&options.folder)?;
    let locked = programs::lock(&options.folder)?;
    let programs = programs::Programs::load(&options.folder, options.fetch, &locked)?;
    let attached = programs.attach(&locked);
    programs.detach_unneeded(&locked);
    attached
}

/// Whether this node's kernel takes the programs, with the hook for fetches or without. They are
/// loaded for the question, attached to nothing, and gone when it is answered.
///
/// # Errors
/// What is missing, and how to have it.
pub fn offered(fetch: bool) -> Result<(), SourceError> {
    object::load(fetch).map(drop)
}

/// Nothing of a container is watched or killed from then on, whichever process put it in. What
/// takes its time is left to [`remove_container`].
///
/// # Errors
/// When the folder can't be locked.
pub fn disarm_container(folder: &Path, container: &str) -> Result<(), SourceError> {
    registry::disarm_named(folder, container)
}

/// Takes a container out of every map, from any process; `false` when it was in none.
/// Nothing of it is watched or killed from then on.
///
/// # Errors
/// When the folder can't be locked.
pub fn remove_container(folder: &Path, container: &str) -> Result<bool, SourceError> {
    registry::remove(folder, container)
}

/// The processes of a container, wherever they went: each that executed something of it, or
/// was forked by one that did. Looks at every process of the node.
///
/// # Errors
/// When nobody can tell: then it may have some.
pub fn members(folder: &Path, container: &str) -> std::io::Result<Vec<u32>> {
    registry::members(folder, container)
}

/// Detaches and frees everything that is pinned in `folder`: for every container of the
/// node.
///
/// # Errors
/// When the folder can't be locked or removed.
pub fn unpin_all(folder: &Path) -> Result<(), SourceError> {
    programs::unpin_all(folder)
}
