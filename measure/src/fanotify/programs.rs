//! Which programs are interpreters.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use lacre_types::{Digest, Known, base_name};

use super::event_file::{Facts, State};
use super::opener::link;
use crate::interpreter::Family;
use crate::{files, verified};

/// Changed programs of which it is remembered what they are: more than a container changes of
/// its interpreters.
const REMEMBERED: usize = 64;

/// The image's interpreters, by their file: a program may be called otherwise where it is mounted,
/// linked or renamed, and which of a file's many it is, the first argument tells.
pub(super) struct Programs {
    known: Arc<dyn Known>,
    /// Empty until the image is known.
    listed: OnceLock<Listed>,
    read: Mutex<VecDeque<(State, Option<Family>)>>,
}

/// Mappings that are looked through for a program: a loader maps that before its libraries.
const MAPPINGS: usize = 256;

/// Those that the image's baseline lists.
#[derive(Debug, Default)]
struct Listed {
    /// That they lie on.
    devices: BTreeSet<u32>,
    files: HashMap<(u32, i64, u32), Family>,
    /// The same by what they hold, and by their sizes: that of a file whose metadata changed.
    contents: HashMap<u64, Vec<(Digest, Family)>>,
}

/// Of an image that is not known yet.
static NONE: LazyLock<Listed> = LazyLock::new(Listed::default);

/// What the kernel adds to the name of a program that has none any more.
const DELETED: &[u8] = b" (deleted)";

/// What a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Interpreter(Family),
    Other,
    /// It has an interpreter's size, and would have to be read.
    Unread,
}

impl Listed {
    fn of(known: &dyn Known) -> Self {
        let mut programs = Self::default();
        for (name, id) in known.named(&|name| Family::of(name).is_some()) {
            let Some(family) = Family::of(&name) else { continue };
            programs.devices.insert(id.dev);
            let key = state(id.ino, id.ctime_sec, id.ctime_nsec);
            let of = programs.files.entry(key).or_insert(family);
            // One of its names says that it has many, and that decides.
            if family == Family::Multicall {
                *of = family;
            }
            let of = *of;
            let Some((_, file)) = known.by_inode(id.dev, id.ino) else { continue };
            let alike = programs.contents.entry(file.size).or_default();
            match alike.iter_mut().find(|(digest, _)| *digest == file.digest) {
                Some((_, family)) => *family = of,
                None => alike.push((file.digest, of)),
            }
        }
        programs
    }
}

impl Programs {
    pub(super) fn of(known: &Arc<dyn Known>) -> Self {
        let programs =
            Self { known: Arc::clone(known), listed: OnceLock::new(), read: Mutex::default() };
        programs.listed();
        programs
    }

    fn listed(&self) -> &Listed {
        if self.listed.get().is_none() && !self.known.is_there() {
            return &NONE;
        }
        self.listed.get_or_init(|| Listed::of(&*self.known))
    }

    /// What program a process runs, as far as that is known without reading it. Nobody but the
    /// kernel is asked.
    pub(super) fn run_by(&self, pid: u32) -> Program {
        self.look(pid).1
    }

    /// The same, the program read where only that tells.
    pub(super) fn read(&self, pid: u32) -> Option<Family> {
        match self.look(pid) {
            (_, Program::Interpreter(family)) => Some(family),
            (Some((exe, state)), Program::Unread) => self.compare(&exe, state),
            _ => None,
        }
    }

    fn look(&self, pid: u32) -> (Option<(OwnedFd, State)>, Program) {
        let named = || {
            let exe = link(pid, "exe").ok()?;
            Family::of(base_name(exe.strip_suffix(DELETED).unwrap_or(&exe)))
        };
        let exe = files::open_magic(Path::new(&format!("/proc/{pid}/exe"))).ok();
        let found = exe.and_then(|exe| Some((Facts::of(&exe).ok()?.state, exe)));
        let Some((its, exe)) = found else {
            return (None, named().map_or(Program::Other, Program::Interpreter));
        };
        match self.program(&its) {
            Program::Interpreter(family) => (None, Program::Interpreter(family)),
            other => match (named(), other) {
                (Some(family), _) => (None, Program::Interpreter(family)),
                (None, Program::Unread) => (Some((exe, its)), Program::Unread),
                (None, other) => (None, other),
            },
        }
    }

    /// What program a file in that state is, whatever it is called.
    fn program(&self, its: &State) -> Program {
        let listed = self.listed();
        if let Some(family) = listed.files.get(&state(its.ino, its.ctime.0, its.ctime.1)) {
            return Program::Interpreter(*family);
        }
        if !listed.contents.contains_key(&its.size) || self.is_images(its) {
            return Program::Other;
        }
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match read.iter().find(|(of, _)| of == its) {
            Some((_, Some(family))) => Program::Interpreter(*family),
            Some((_, None)) => Program::Other,
            None => Program::Unread,
        }
    }

    /// The interpreter that a loader has mapped which was told to run it: to the kernel the loader
    /// is the program.
    pub(super) fn mapped_by(&self, pid: u32) -> Option<Family> {
        let mappings = std::fs::read_dir(format!("/proc/{pid}/map_files")).ok()?;
        mappings.flatten().take(MAPPINGS).find_map(|mapping| {
            let file = files::open_magic(&mapping.path()).ok()?;
            let its = Facts::of(&file).ok()?.state;
            let family = match self.program(&its) {
                Program::Interpreter(family) => Some(family),
                Program::Unread => self.compare(&file, its),
                Program::Other => None,
            };
            family.filter(|family| *family != Family::Loader)
        })
    }

    /// Whether it is a file of the image's, as it came: then its names have told all.
    fn is_images(&self, its: &State) -> bool {
        let numbers = [its.ino, its.ino & 0xffff_ffff];
        let mut all =
            self.listed().devices.iter().flat_map(|dev| numbers.map(|number| (*dev, number)));
        all.any(|(dev, number)| {
            let known = self.known.by_inode(dev, number);
            known.is_some_and(|(_, file)| {
                (file.id.ctime_sec, file.id.ctime_nsec) == its.ctime && file.size == its.size
            })
        })
    }

    fn compare(&self, exe: &OwnedFd, its: State) -> Option<Family> {
        let file = files::reopen(exe.as_fd()).ok()?;
        let digest = verified::hash(&file, its.size, &AtomicBool::new(false)).ok()?;
        let alike = self.listed().contents.get(&its.size)?;
        let family = alike.iter().find(|(of, _)| *of == digest).map(|(_, family)| *family);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.len() >= REMEMBERED {
            read.pop_front();
        }
        read.push_back((its, family));
        family
    }
}

/// An overlay shows the real file's number, with bits of its own above it, and change time, and
/// another device.
const fn state(ino: u64, seconds: i64, nanoseconds: u32) -> (u32, i64, u32) {
    (ino as u32, seconds, nanoseconds)
}
