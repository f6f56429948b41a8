use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use lacre_types::{CanonicalPath, FileId, Source};
use libbpf_rs::MapHandle;

use super::abi::{self, Counters, Root};
use super::allower::Allower;
use super::descendants::Descendants;
use super::failure::failed;
use super::metadata_changes::{self, catch_up};
use super::reader::{Feed, read};
use super::slot::{self, Slot};
use super::watch::Watch;
use super::watched_files::Changed;
use crate::container_root::ContainerRoot;
use crate::fanotify::Groups;
use crate::files::{self, Layers};
use crate::held_process::Held;
use crate::image_content::ImageContent;
use crate::reader_thread::Reader;
use crate::verifiers::Verifiers;
use crate::{Armed, Judge, LetPass, Rest, SourceError, Spared, Target};

/// `exec-trace` at work on one container.
pub struct ExecTraceArmed {
    init_pid: u32,
    allower: Allower,
    reader: Option<Reader>,
    /// `None` once it is disarmed.
    slot: Option<Slot>,
    watch: Arc<Watch>,
    /// The directories of an overlay: only that gives a file another inode.
    overlay: Option<(PathBuf, Vec<PathBuf>)>,
    /// The shim's, one of which tells what changes.
    groups: Groups,
    remark: OnceLock<String>,
}

impl std::fmt::Debug for ExecTraceArmed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecTraceArmed").field("init_pid", &self.init_pid).finish_non_exhaustive()
    }
}

/// What the programs are told of code without a file, and of names.
fn flags(Spared { memory, programs }: Spared, let_pass: &LetPass) -> u32 {
    let of = |is: bool, flag| if is { flag } else { 0 };
    of(memory, abi::SLOT_SPARE_MEMORY)
        | of(programs, abi::SLOT_SPARE_PROGRAMS)
        | of(let_pass.is_any(), abi::SLOT_ANY_NAME)
}

/// All of these.
const FLAGS: u32 = abi::SLOT_SPARE_MEMORY | abi::SLOT_SPARE_PROGRAMS | abi::SLOT_ANY_NAME;

impl ExecTraceArmed {
    /// Starts the reader; what it reads begins with [`Self::arm`].
    pub(super) fn start(
        slot: Slot,
        layers: Layers,
        (init, root): (Held, ContainerRoot),
        target: &Target,
        groups: &Groups,
        judge: Arc<dyn Judge>,
    ) -> Result<Self, SourceError> {
        let doing = |why| failed("starting the reader of events".to_owned(), why);
        let init_pid = init.pid();
        let verdicts = slot.verdicts.clone();
        let allower = Allower { verdicts: verdicts.clone(), layers: layers.clone() };
        let feed = Feed::of(&slot).map_err(doing)?;
        let (verifiers, remembered) = (Verifiers::new(), Mutex::default());
        let (known, changed) = (Arc::clone(&target.known), OnceLock::new());
        let handle =
            |map: &MapHandle| MapHandle::try_from(map).map_err(|why| doing(io::Error::other(why)));
        let descendants = Descendants {
            tags: handle(&slot.programs.tags)?,
            strays: handle(&slot.programs.strays)?,
            condemned: slot.programs.condemned.as_ref().map(handle).transpose()?,
            slot: slot.number,
        };
        let watch = Watch {
            judge,
            known,
            layers,
            content: ImageContent::default(),
            verdicts,
            init,
            root,
            verifiers,
            changed,
            descendants,
            remembered,
        };
        let watch = Arc::new(watch);
        let overlay = target.upper.clone().map(|upper| (upper, target.lower.clone()));
        let (groups, remark) = (groups.clone(), OnceLock::new());
        let (slot, its) = (Some(slot), Arc::clone(&watch));
        let mut armed =
            Self { init_pid, allower, reader: None, slot, watch, overlay, groups, remark };
        armed.listen();
        let reader = Reader::start("exec-trace", move |woken| read(&its, &feed, &woken));
        armed.reader = Some(reader.map_err(doing)?);
        Ok(armed)
    }

    /// Hears of what changes: who kills needs to know in time, and who records, too, which state
    /// of a file it was that ran.
    fn listen(&self) {
        let Some((upper, lower)) = &self.overlay else { return };
        let heard = Changed::of(&self.groups, upper, lower).and_then(|changed| {
            // Once for a container.
            let _ = self.watch.changed.set(changed);
            metadata_changes::begin(&self.watch)
        });
        if let Err(remark) = heard {
            let _ = self.remark.set(remark);
        }
    }

    /// The container's overlay, once its image is known: of what is in no baseline nothing is the
    /// image's.
    fn root(&self) -> Option<Root> {
        let Watch { known, layers, .. } = &*self.watch;
        let root = layers.overlay().zip(layers.birth());
        let root = root.filter(|_| known.allowed().next().is_some());
        root.map(|(dev, birth)| Root { dev, birth })
    }

    pub(super) fn arm(&self, flags: u32) -> Result<(), SourceError> {
        let Some(slot) = &self.slot else { return Ok(()) };
        // It may have come to be known since the slot was made.
        slot.verdicts.fill(&*self.watch.known)?;
        let judge = &self.watch.judge;
        // In audit nothing is killed; what is let pass then is asked for when the mode tightens.
        let let_pass = match flags & abi::SLOT_ENFORCE {
            0 => LetPass::default(),
            _ => judge.let_pass(),
        };
        self.remark_rules(&let_pass, slot.let_pass(&let_pass));
        slot.arm(self.init_pid, flags | self::flags(judge.spared(), &let_pass), self.root())
    }

    fn remark_rules(&self, let_pass: &LetPass, put: Result<(), SourceError>) {
        let why = match put {
            Err(why) => format!(": {}", lacre_types::chain(&why)),
            Ok(()) if let_pass.is_too_much => String::new(),
            Ok(()) => return,
        };
        let _ = self.remark.set(format!(
            "the rules by path are more than the kernel's map takes, and what they let run is \
             killed{why}"
        ));
    }

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
        let real = self.allower.layers.real(files::open_in(&root, path.as_bytes())?.as_fd())?;
        if real.exact {
            Ok(real.id)
        } else {
            Err(io::Error::new(io::ErrorKind::Unsupported, "the overlay's layers are not known"))
        }
    }

    /// Takes a process in that no exec in the container's mount namespace brought in: a
    /// container that shares the host's has no other sign.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn adopt(&self, pid: u32) -> Result<(), SourceError> {
        self.slot.as_ref().map_or(Ok(()), |slot| slot::tag(&slot.programs, slot.number, pid))
    }

    /// What the programs counted so far.
    #[must_use]
    pub fn counters(&self) -> Option<Counters> {
        self.slot.as_ref().and_then(|slot| slot::counters(&slot.programs.slots, slot.number))
    }

    /// Where this version of the programs is pinned.
    #[must_use]
    pub fn pinned(&self) -> &Path {
        self.slot.as_ref().map_or(Path::new(""), |slot| slot.programs.dir())
    }
}

impl Armed for ExecTraceArmed {
    fn source(&self) -> Source {
        Source::ExecTrace
    }

    fn remark(&self) -> Option<String> {
        self.remark.get().cloned()
    }

    /// The map first, then the flag: nothing of the image is unknown to who kills.
    fn enforce(&self) -> Result<(), SourceError> {
        let Some(slot) = &self.slot else { return Ok(()) };
        catch_up(&self.watch);
        slot.enforce()
    }

    fn rules_changed(&self) -> Result<(), SourceError> {
        let Some(slot) = &self.slot else { return Ok(()) };
        // First the files: by the rules for an image that is known, what is in no map is killed.
        slot.verdicts.fill(&*self.watch.known)?;
        let (judge, root) = (&self.watch.judge, self.root());
        let (let_pass, put) = slot.tell_rules(root, || {
            let let_pass = judge.let_pass();
            let set = flags(judge.spared(), &let_pass);
            ((set, FLAGS & !set), let_pass)
        })?;
        self.remark_rules(&let_pass, put);
        Ok(())
    }

    fn has_begun(&self, pid: u32) -> Option<bool> {
        self.slot.as_ref()?.has_begun(pid)
    }

    fn sweep(&self, pids: &[u32]) -> usize {
        pids.iter().filter(|pid| self.watch.sweep_script(**pid)).count()
    }

    /// The container stays guarded, until [`remove_container`](super::remove_container).
    fn leave(mut self: Box<Self>) {
        if let Some(slot) = &mut self.slot {
            slot.keep();
        }
    }

    fn disarm(mut self: Box<Self>) -> Option<Rest> {
        let slot = self.slot.take()?;
        slot.disarm();
        self.reader = None;
        // Closing a group waits for the kernel, some 12 ms.
        let telling = self.watch.changed.get().map(|changed| Arc::clone(changed.telling()));
        Some(Box::new(move || drop((slot, telling))))
    }
}

impl Drop for ExecTraceArmed {
    fn drop(&mut self) {
        // Before the reader goes: until then it may be told something.
        self.slot = None;
        self.reader = None;
    }
}
