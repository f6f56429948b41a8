//! What watches one container's mappings: each record is known, memory, or a file that is read,
//! and is then told and acted on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use lacre_types::{
    CanonicalPath, Content, Digest, Event, Listing, Measurement, Memory, Mode, Process, Source,
};

use super::record::{self, Behind, Mapping, Record};
use super::rewritten::is_rewritten;
use crate::files::{self, Layers, Real};
use crate::held_process::Held;
use crate::image_content::ImageContent;
use crate::verifiers::Verifiers;
use crate::{Answer, Judge, Known, Loss, Outcome, SourceError, Target, Unverified, verified};

/// Of a file that nothing leads to any more.
const GONE: &str = "it was gone before it could be read";

/// The eyes on one container's mappings.
pub(super) struct Watch {
    pub(super) judge: Arc<dyn Judge>,
    pub(super) known: Arc<dyn Known>,
    pub(super) layers: Layers,
    images: ImageContent,
    /// The device of the container's own root, if it is told.
    root: Option<u32>,
    /// Those of the file systems that the kernel mounts for itself.
    pub(super) nameless: Vec<u32>,
    init: Held,
    pub(super) verifiers: Verifiers,
    /// It kills: a policy may come to be for enforce while the container runs.
    pub(super) enforce: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn of(
        target: &Target,
        judge: Arc<dyn Judge>,
        mode: Mode,
    ) -> Result<Self, SourceError> {
        let init = Held::open(target.init_pid)
            .map_err(|why| failed(format!("opening process {}", target.init_pid), why))?;
        Ok(Self {
            judge,
            known: Arc::clone(&target.known),
            layers: target.layers(),
            images: ImageContent::default(),
            root: files::root_device(target.init_pid).ok(),
            nameless: nameless(),
            init,
            verifiers: Verifiers::new(),
            enforce: Arc::new(AtomicBool::new(mode == Mode::Enforce)),
        })
    }

    /// Memory, or a program in it: what its process was started from. Of a memfd whose process
    /// has gone nobody can tell, and a program it may have been; where memory is denied too, it
    /// is a violation either way, and went with its process.
    pub(super) fn memory(&self, mapping: &Mapping, process: Option<&Held>, behind: Behind) -> bool {
        let program = process.and_then(Program::of);
        let is_program = match &program {
            // A page of the program's own file, written over.
            Some(_) if behind == Behind::Private => false,
            Some(program) => (program.dev, program.ino) == (mapping.dev, mapping.ino),
            None => behind == Behind::Memfd && self.judge.spared().memory,
        };
        let event = match behind {
            Behind::Memfd => Event::Memfd,
            Behind::Shared => Event::Mmap,
            // Mapped and mprotect-ed leave the same record.
            _ => Event::Mprotect,
        };
        if is_program {
            return self.pass(mapping, process, event, (None, Content::Fileless));
        }
        let path = program.and_then(|program| CanonicalPath::new(program.path).ok());
        let memory = if behind == Behind::Private { Memory::Private } else { Memory::Shared };
        self.pass(mapping, process, event, (path, Content::Memory(memory)))
    }

    /// On the reader's thread, which reads no file.
    pub(super) fn record(self: &Arc<Self>, raw: &[u8]) {
        match record::parse(raw) {
            Record::Lost(count) => {
                self.judge.lost(Source::ExecMap, Loss::Overflow(Some(count)));
            }
            Record::Other => {}
            Record::Mapped(mapping) => self.mapped(mapping),
        }
    }

    fn mapped(self: &Arc<Self>, mapping: Mapping) {
        match mapping.behind(&self.nameless) {
            Behind::Kernel => {}
            Behind::File => {
                // Where memory may be executed, whose page it is says nothing.
                if !self.judge.spared().memory {
                    let process = Held::open(mapping.pid).ok();
                    if is_rewritten(&mapping, process.as_ref())
                        && self.memory(&mapping, process.as_ref(), Behind::Private)
                    {
                        return;
                    }
                }
                self.to_be_read(mapping);
            }
            behind => {
                self.memory(&mapping, Held::open(mapping.pid).ok().as_ref(), behind);
            }
        }
    }

    /// Of a file that is not known in its present state.
    fn to_be_read(self: &Arc<Self>, mapping: Mapping) {
        let path = CanonicalPath::new(&mapping.name).ok();
        if path.as_ref().is_some_and(|path| self.in_present_state(&mapping, path)) {
            return;
        }
        // Both are soon gone where the process is; this opens no file.
        let process = Held::open(mapping.pid).ok();
        let mapped = process.as_ref().and_then(|process| {
            files::open_magic(&process.proc("map_files").join(mapping.range())).ok()
        });
        let (watch, lost) = (Arc::clone(self), mapping.clone());
        let (told_path, job_path) = (path.clone(), path);
        let job = Box::new(move |dropped: &AtomicBool| {
            watch.file(&mapping, process.as_ref(), mapped, (job_path, dropped));
        });
        if self.verifiers.submit(job).is_err() {
            let why = "too many files wait to be read".to_owned();
            let process = Held::open(lost.pid).ok();
            self.pass(&lost, process.as_ref(), Event::Mmap, (told_path, Content::Unread(why)));
        }
    }

    pub(super) fn file(
        &self,
        mapping: &Mapping,
        process: Option<&Held>,
        mapped: Option<OwnedFd>,
        (path, dropped): (Option<CanonicalPath>, &AtomicBool),
    ) -> bool {
        // A name that went says still which file it was.
        let unlinked = mapped.as_ref().is_some_and(|file| is_unlinked(file.as_fd()));
        let live = mapping.name.strip_suffix(b" (deleted)").filter(|_| unlinked);
        let path = live.map_or(path, |live| CanonicalPath::new(live).ok());
        let content = match self.find(mapping, process, mapped, path.as_ref()) {
            Err(why) => Content::Unread(why),
            Ok(None) => Content::Unread(GONE.to_owned()),
            Ok(Some((Some(opened), real)))
                if path.as_ref().is_some_and(|it| self.known.listed(it) == Listing::No)
                    && (self.layers.came_with_image(opened.as_fd(), &real)
                        || self.is_images_copy(&opened, path.as_ref(), dropped)) =>
            {
                // Data of the image's, which an engine maps as code.
                return false;
            }
            Ok(Some((opened, real))) => match self.known.by_inode(real.id.dev, real.id.ino) {
                Some((_, known)) if real.exact && known.id == real.id => {
                    if self.allowed(mapping, path.as_ref(), known.digest) {
                        return false;
                    }
                    Content::Digest(known.digest)
                }
                _ => self.content(mapping, (opened, real), path.as_ref(), dropped),
            },
        };
        // What has no name and is shared, as what is written to elsewhere is, is an engine's
        // memory, as `exec-trace` has it; so is, of one that has ended, what can have been nothing
        // else.
        let is_gone =
            content == Content::Unread(GONE.to_owned()) && mapping.name.ends_with(b" (deleted)");
        if mapping.shared && (unlinked || is_gone) {
            return self.memory(mapping, process, Behind::Shared);
        }
        self.pass(mapping, process, Event::Mmap, (path, content))
    }

    /// Whether it is in the container's own layer, and holds what the image has.
    fn is_images_copy(
        &self,
        opened: &OwnedFd,
        path: Option<&CanonicalPath>,
        dropped: &AtomicBool,
    ) -> bool {
        let file = files::reopen(opened.as_fd());
        file.is_ok_and(|file| self.images.has(file.as_fd(), path, &self.layers, dropped))
    }

    /// What a file holds: the image's own content only where somebody can vouch for it.
    fn content(
        &self,
        mapping: &Mapping,
        (opened, real): (Option<OwnedFd>, Real),
        path: Option<&CanonicalPath>,
        dropped: &AtomicBool,
    ) -> Content {
        // Where nothing of the container is left, nobody writes through its overlay.
        let file = match opened.map(|opened| files::reopen(opened.as_fd())) {
            None => real.file,
            Some(Ok(file)) => file,
            Some(Err(why)) => return Content::Unread(format!("opening it failed: {why}")),
        };
        match verified::verify(file.into(), path, &self.layers, dropped) {
            Ok(verified) => Content::Digest(*verified.digest()),
            Err(Unverified { why, glimpse }) => {
                match glimpse.filter(|digest| !self.allowed(mapping, path, *digest)) {
                    Some(digest) => Content::Digest(digest),
                    None => Content::Unread(why.to_string()),
                }
            }
        }
    }

    /// Whether a lower directory's file is what was mapped: known, so nothing is read.
    /// Some kernels name the real inode where overlayfs maps it, which no container
    /// writes; others the overlay's, which stays the same when the file is replaced.
    pub(super) fn in_present_state(&self, mapping: &Mapping, path: &CanonicalPath) -> bool {
        self.known
            .by_inode(mapping.dev, mapping.ino)
            .is_some_and(|(_, known)| self.allowed(mapping, Some(path), known.digest))
    }

    pub(super) fn allowed(
        &self,
        mapping: &Mapping,
        path: Option<&CanonicalPath>,
        digest: Digest,
    ) -> bool {
        let content = Content::Digest(digest);
        let measurement = self.measurement(mapping, Event::Mmap, path.cloned(), content);
        self.judge.settled(&measurement)
    }

    fn find(
        &self,
        mapping: &Mapping,
        process: Option<&Held>,
        mapped: Option<OwnedFd>,
        path: Option<&CanonicalPath>,
    ) -> Result<Option<(Option<OwnedFd>, Real)>, String> {
        let held: Vec<&Held> = process.into_iter().chain([&self.init]).collect();
        if let Some(kind) = held.iter().find_map(|one| files::unsteady(one.pid(), mapping.dev)) {
            return Err(format!("it lies on {kind}, which may answer each reader differently"));
        }
        let by_root = held
            .iter()
            .filter(|one| one.lives())
            .filter_map(|one| files::open_in(&one.proc("root"), path?.as_bytes()).ok());
        // When no process is left to ask, what lies on the container's own root still says
        // where: nothing else has its device.
        let left = path.filter(|_| self.root == Some(mapping.dev));
        // What the mapping itself leads to is told by the number that it shows too, which on an
        // overlay is the lower file's where that was copied up. A name may lead to another.
        let shown = |file: &OwnedFd| files::regular(file.as_fd()).map_or(0, |(id, _)| id.ino);
        let opened =
            |file: OwnedFd| self.layers.real(file.as_fd()).ok().map(|real| (Some(file), real));
        let mapped = mapped.and_then(|file| {
            let is_shown = shown(&file) as u32 == mapping.ino as u32;
            opened(file).map(|found| (is_shown, found))
        });
        let mapped = match mapped {
            Some((true, found)) => return Ok(Some(found)),
            other => other.map(|(_, found)| found),
        };
        Ok(mapped
            .into_iter()
            .chain(by_root.filter_map(opened))
            .chain(
                left.into_iter()
                    .filter_map(|path| Some((None, self.layers.topmost(path.as_bytes())?))),
            )
            // A record has no change time: the inode must do.
            .find(|(_, real)| real.id.ino as u32 == mapping.ino as u32))
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

    /// Whether the process was killed.
    fn pass(
        &self,
        mapping: &Mapping,
        process: Option<&Held>,
        event: Event,
        (path, content): (Option<CanonicalPath>, Content),
    ) -> bool {
        let measurement = self.measurement(mapping, event, path, content);
        // Read first: where it comes to be enforce in between, this was an audit's.
        let enforce = self.enforce.load(Ordering::Acquire);
        let stopped = enforce
            && self.judge.judge(&measurement) == Answer::Deny
            && process.is_some_and(Held::end);
        let outcome = match (enforce, stopped) {
            (false, _) => Outcome::Watched,
            (true, false) => Outcome::Ran,
            (true, true) => Outcome::Killed,
        };
        self.judge.seen(measurement, outcome);
        stopped
    }
}

/// What a process was started from.
struct Program {
    path: Vec<u8>,
    dev: u32,
    ino: u64,
}

impl Program {
    fn of(process: &Held) -> Option<Self> {
        let link = process.proc("exe");
        let path = std::fs::read_link(&link).ok()?.into_os_string().into_encoded_bytes();
        let (id, _) = files::regular(files::open_magic(&link).ok()?.as_fd()).ok()?;
        Some(Self { path, dev: id.dev, ino: id.ino })
    }
}

fn is_unlinked(file: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink == 0)
}

/// Those of memfds, shared memory and huge pages. One that can't be had is nobody's memory, and
/// is judged as a file is.
fn nameless() -> Vec<u32> {
    use rustix::fs::MemfdFlags;
    let sorts = [MemfdFlags::CLOEXEC, MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB];
    let files = sorts.into_iter().filter_map(|sort| rustix::fs::memfd_create("lacre", sort).ok());
    files.filter_map(|file| Some(files::regular(file.as_fd()).ok()?.0.dev)).collect()
}

pub(super) fn failed(doing: String, source: impl Into<std::io::Error>) -> SourceError {
    SourceError::Failed { source_name: Source::ExecMap, doing, source: source.into() }
}

#[cfg(test)]
mod tests;
