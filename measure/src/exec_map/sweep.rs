//! What is mapped already, when a container comes to be held back.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lacre_types::{CanonicalPath, Mode};

use super::Watch;
use super::record::{self, Behind, Mapping};
use super::rewritten::is_rewritten;
use crate::files;
use crate::held_process::Held;
use crate::{Judge, SourceError, Target};

/// Looks through what processes of a container have mapped executable already, as though it
/// were mapped now: where a policy has come to be for enforce while they ran. Nothing of it
/// needs perf events. Gives how many were killed.
///
/// Memory counts where `memory` says so, or where it is the program itself: a sweep must not be
/// stricter than the sources that watch.
///
/// # Errors
/// When the container's init is gone.
pub fn sweep(
    target: &Target,
    pids: &[u32],
    memory: bool,
    judge: Arc<dyn Judge>,
) -> Result<usize, SourceError> {
    let watch = Watch::of(target, judge, Mode::Enforce)?;
    // Held before its mappings are read, so that they are those of whom it kills. One that has
    // gone meanwhile has nothing mapped.
    let held = pids.iter().filter_map(|pid| Held::open(*pid).ok());
    Ok(held.filter(|process| watch.sweep(process, memory)).count())
}

impl Watch {
    /// Whether the process was killed: at the first mapping that the policy does not let pass.
    fn sweep(&self, process: &Held, memory: bool) -> bool {
        let maps = std::fs::read(process.proc("maps")).unwrap_or_default();
        let program = std::fs::read_link(process.proc("exe")).unwrap_or_default();
        let program = program.into_os_string().into_encoded_bytes();
        let lines = maps.split(|byte| *byte == b'\n');
        lines.filter_map(|line| record::of_maps(process.pid(), line)).any(|mapping| {
            let counts = memory || mapping.name == program;
            let process = Some(process);
            match mapping.behind(&self.nameless) {
                Behind::Kernel => false,
                Behind::File if memory && is_rewritten(&mapping, process) => {
                    self.memory(&mapping, process, Behind::Private)
                }
                // Read here and now: whoever tightens waits for all of it.
                Behind::File => self.file_now(&mapping, process),
                behind => counts && self.memory(&mapping, process, behind),
            }
        })
    }

    fn file_now(&self, mapping: &Mapping, process: Option<&Held>) -> bool {
        let path = CanonicalPath::new(&mapping.name).ok();
        if path.as_ref().is_some_and(|path| self.in_present_state(mapping, path)) {
            return false;
        }
        let mapped = process.and_then(|process| {
            files::open_magic(&process.proc("map_files").join(mapping.range())).ok()
        });
        if mapped.as_ref().is_some_and(|mapped| self.is_images_unlinked(mapping, mapped)) {
            return false;
        }
        self.file(mapping, process, mapped, (path, &AtomicBool::new(false)))
    }

    /// Whether it is a file of the image that was deleted or replaced since it was mapped: the
    /// layer below has it still, in the same state, which user space can't feign.
    fn is_images_unlinked(&self, mapping: &Mapping, mapped: &OwnedFd) -> bool {
        let Some(name) = mapping.name.strip_suffix(b" (deleted)") else { return false };
        let Ok(path) = CanonicalPath::new(name) else { return false };
        let Some(known) = self.known.by_path(&path) else { return false };
        let on_overlay = self.layers.is_overlay(mapped.as_fd()).unwrap_or(false);
        files::regular(mapped.as_fd()).is_ok_and(|(shown, size)| {
            on_overlay
                && files::same_number(known.id.ino, shown.ino)
                && (known.id.ctime_sec, known.id.ctime_nsec, known.size)
                    == (shown.ctime_sec, shown.ctime_nsec, size)
        }) && self.allowed(mapping, Some(&path), known.digest)
    }
}
