//! What may be believed of a file without reading it, by the container's mounts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lacre_types::{CanonicalPath, FileId, Known, mountinfo};

use super::declared::{Declared, Place, of_process, other_names};
use super::event_file::{Facts, State};
use super::limits::MOUNTINFO;
use crate::birth::Birth;
use crate::file_systems;
use crate::files::same_number;
use crate::{Judge, KnownFile, Listing, Target};

/// The mounts of a container.
#[derive(Debug)]
pub(super) struct Root {
    dev: u64,
    kind: Kind,
    table: Mutex<File>,
    mounts: Mutex<Mounts>,
    /// Where files are code by their place.
    pub(super) declared: Declared,
    /// The devices that an overlay's layers are on, as the kernel numbers them.
    layers: Vec<u32>,
}

#[derive(Debug, Default)]
struct Mounts {
    by_id: BTreeMap<u64, Mount>,
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Mount {
    /// Of the root file system, whatever device its files show.
    root: bool,
    local: bool,
}

#[derive(Debug)]
enum Kind {
    /// With the birth of the container's own layer, where it has one.
    Overlay(Option<Birth>),
    /// Not an overlay; whether each change of content shows in the change time.
    Plain { timely: bool },
}

impl Root {
    pub(super) fn new(
        root: impl AsFd,
        target: &Target,
        judge: &Arc<dyn Judge>,
    ) -> io::Result<Self> {
        let declared = Declared::new(Arc::clone(judge));
        declared.refresh(root.as_fd(), &target.rootfs)?;
        let facts = Facts::of(&root)?;
        let overlay = target.upper.is_some() || !target.lower.is_empty();
        let timely = !TIMELESS.contains(&magic(&root)?);
        let root = Self {
            dev: facts.state.dev,
            kind: if overlay {
                Kind::Overlay(target.upper.as_deref().map(Birth::of).transpose()?)
            } else {
                Kind::Plain { timely }
            },
            table: Mutex::new(File::open(format!("/proc/{}/mountinfo", target.init_pid))?),
            mounts: Mutex::default(),
            declared,
            layers: devices(&target.lower)?,
        };
        root.refresh();
        Ok(root)
    }

    /// Reads the container's mounts again. Of one that is not known nothing is believed.
    pub(super) fn refresh(&self) {
        let found = self.read().unwrap_or_default();
        *self.mounts() = found;
    }

    fn mounts(&self) -> MutexGuard<'_, Mounts> {
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> io::Result<Mounts> {
        let mut bytes = Vec::new();
        {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            table.rewind()?;
            io::Read::take(&mut *table, MOUNTINFO).read_to_end(&mut bytes)?;
        }
        let mounts = mountinfo::parse(&bytes).map_err(io::Error::other)?;
        let device = |(major, minor)| rustix::fs::makedev(major, minor);
        let of = |mount: &mountinfo::Mount| Mount {
            // A root directory shows its overlay's own device.
            root: device(mount.dev) == self.dev,
            local: file_systems::answers(&mount.kind),
        };
        let by_id = mounts.iter().map(|mount| (mount.id, of(mount))).collect();
        Ok(Mounts { by_id, places: mounts.into_iter().map(Place::from).collect() })
    }

    fn mount(&self, facts: &Facts) -> Option<Mount> {
        self.mounts().by_id.get(&facts.mount).copied()
    }

    /// Whether this is the file that was hashed before, in the state it had.
    ///
    /// overlayfs shows the real inode's change time, which user space cannot set; a
    /// copy-up makes another inode, changed later, so equal times mean the lower file.
    /// Only files of the root's own file system are believed: one of an attacker's making
    /// (FUSE) can show any time. Which one it is its mount tells: an overlay over several
    /// file systems gives its files several devices.
    pub(super) fn is_same(&self, known: &KnownFile, facts: &Facts) -> bool {
        let FileId { dev, ino, ctime_sec, ctime_nsec } = known.id;
        let state = &facts.state;
        let same_state =
            self.holds(facts) && state.ctime == (ctime_sec, ctime_nsec) && state.size == known.size;
        same_state
            && match &self.kind {
                Kind::Overlay(_) => same_number(ino, state.ino),
                Kind::Plain { timely } => *timely && state.ino == ino && kernel_dev(state) == dev,
            }
    }

    /// The file of the image that this is, untouched, by its inode: whatever name, link,
    /// chroot or bind mount it was reached by.
    pub(super) fn of_image(
        &self,
        known: &dyn Known,
        facts: &Facts,
    ) -> Option<(CanonicalPath, KnownFile)> {
        let shown = facts.state.ino;
        self.layers
            .iter()
            .flat_map(|device| [shown, shown & 0xffff_ffff].map(|number| (*device, number)))
            .filter_map(|(device, number)| known.by_inode(device, number))
            .find(|(_, file)| self.is_same(file, facts))
    }

    /// Whether the file is a layer's and is as it came with the image, listed or not: it last
    /// changed before the container's own layer was made. Of one that did where dates say nothing,
    /// its layers tell (`verification.rs`).
    pub(super) fn came_with_image(&self, facts: &Facts) -> bool {
        self.holds(facts)
            && match &self.kind {
                Kind::Overlay(Some(birth)) => birth.is_after(facts.state.ctime),
                Kind::Overlay(None) => true,
                Kind::Plain { .. } => false,
            }
    }

    /// Whether the file is code by its place, if an interpreter opens it; `opener` does.
    pub(super) fn is_declared(
        &self,
        name: Option<&CanonicalPath>,
        facts: &Facts,
        opener: u32,
    ) -> bool {
        self.declared.hold(name, |name| {
            let mounts = self.mounts();
            let is_own = |place: &&Place| place.id == facts.mount;
            let known = mounts.places.iter().find(is_own).cloned();
            match known.or_else(|| of_process(opener, facts.mount)) {
                Some(own) => Some(other_names(name, &own, &mounts.places)),
                // A kernel that tells no mounts (before 5.8) gives it the one name.
                None => (facts.mount == 0).then(Vec::new),
            }
        })
    }

    /// Whether the file is the image's data: as it came with the image, and no code that a
    /// baseline lists, by its inode or by that name.
    pub(super) fn is_data_of_image(
        &self,
        known: &dyn Known,
        facts: &Facts,
        name: &CanonicalPath,
    ) -> bool {
        facts.regular
            && self.came_with_image(facts)
            && self.of_image(known, facts).is_none()
            && known.listed(name) == Listing::No
            // What is data may come to lie where it is code.
            && !self.declared.any()
    }

    /// Whether a file of the image in its first state can be deleted to free its space: the
    /// layers of an image stay.
    pub(super) const fn owns_image(&self) -> bool {
        !matches!(self.kind, Kind::Overlay(_))
    }

    /// Whether the file is on the root file system, and not on one that is mounted in it.
    pub(super) fn has(&self, facts: &Facts) -> bool {
        self.mount(facts).is_some_and(|mount| mount.root)
    }

    /// The same of one that is reached by a mount that our table does not have, which came
    /// just now or is a nested namespace's: its device tells, where the layers are on one
    /// file system. Nothing of such a mount may be held on to.
    fn holds(&self, facts: &Facts) -> bool {
        self.mount(facts).map_or(facts.state.dev == self.dev, |mount| mount.root)
    }

    /// Whether reading a few bytes of the file waits for a disk at most, not for a server.
    pub(super) fn is_local(&self, facts: &Facts) -> bool {
        self.mount(facts).is_some_and(|mount| mount.local)
    }
}

fn devices(layers: &[PathBuf]) -> io::Result<Vec<u32>> {
    let mut devices = Vec::new();
    for layer in layers {
        let device = rustix::fs::stat(layer)?.st_dev;
        let device = FileId::kernel_dev(rustix::fs::major(device), rustix::fs::minor(device));
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    Ok(devices)
}

/// `TMPFS_MAGIC`, `RAMFS_MAGIC` (linux/magic.h): a store to a shared mapping doesn't
/// change their files' times.
const TIMELESS: [i64; 2] = [0x0102_1994, 0x8584_58f6];

#[allow(clippy::useless_conversion, reason = "the field's type differs between targets")]
fn magic(file: impl AsFd) -> io::Result<i64> {
    Ok(rustix::fs::fstatfs(file)?.f_type.into())
}

/// `s_dev` of what `stat` gave.
fn kernel_dev(state: &State) -> u32 {
    FileId::kernel_dev(rustix::fs::major(state.dev), rustix::fs::minor(state.dev))
}
