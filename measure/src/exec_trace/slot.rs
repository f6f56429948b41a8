//! One container's part of the shared maps.
//!
//! It is put in by two steps. The maps of maps come first: for each change of one the kernel
//! waits for a grace period of RCU (`maybe_wait_bpf_programs`, 4 to 24 ms), and nothing of it
//! needs the container's process. Then, with the process there, a few entries of plain maps.
//! It is taken out the other way round.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lacre_types::Known;
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use rustix::process::{Pid, PidfdFlags};

use super::abi::{self, Counters, Entry, Secret, Terms};
use super::failure::{bpf_failed, failed};
use super::programs::{self, Programs};
use super::registry::{disarm, entry, forget, name, retire, sweep, take_out};
use super::verdicts::{Verdicts, create};
use crate::held_process::began;
use crate::{LetPass, SourceError};

/// A container's number and what stands under it. Dropping it takes the container out.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) programs: Programs,
    pub(super) number: u64,
    pub(super) verdicts: Verdicts,
    pub(super) ring: MapHandle,
    folder: PathBuf,
    container: String,
    owner: (u32, u64),
    rules: Mutex<Rules>,
    secret: Secret,
    keep: bool,
}

/// The rules by path that the map has.
#[derive(Debug, Default)]
struct Rules {
    number: u32,
    entries: Vec<([u8; abi::KEY_SIZE], u32)>,
}

impl Slot {
    /// The first step, for a container that may have no process yet. What was left under its
    /// name is taken out: two containers of one name are not there at the same time.
    pub(super) fn prepare(
        folder: &Path,
        fetch: bool,
        container: &str,
        ring_bytes: u32,
        known: &dyn Known,
    ) -> Result<Self, SourceError> {
        programs::prepare(folder)?;
        let number = fresh().map_err(|why| failed("drawing a number".to_owned(), why))?;
        let pid = std::process::id();
        let began = began(pid).ok_or_else(|| {
            failed("reading when this process began".to_owned(), io::ErrorKind::NotFound)
        })?;
        let verdicts = Verdicts::filled(known)?;
        let ring = create(MapType::RingBuf, 0, 0, ring_bytes)?;
        let programs = programs::lock(folder).and_then(|locked| {
            let programs = Programs::load(folder, fetch, &locked)?;
            if let Some(left) = entry(&programs, &name(container)) {
                disarm(&programs, &left);
                take_out(&programs, &left);
            }
            // Named first, so that what follows can be taken out again by the name alone.
            let entry = Entry { slot: number, ns_id: 0, inum: 0, owner: pid, owner_start: began };
            put(container, &programs.names, &name(container), &entry.bytes())?;
            if let Err(why) = programs.attach(&locked) {
                let _ = programs.names.delete(&name(container));
                programs.detach_unneeded(&locked);
                return Err(why);
            }
            Ok(programs)
        })?;
        let slot = Self {
            programs,
            number,
            verdicts,
            ring,
            folder: folder.to_owned(),
            container: container.to_owned(),
            owner: (pid, began),
            rules: Mutex::default(),
            secret: secret().map_err(|why| failed("drawing a number".to_owned(), why))?,
            keep: false,
        };
        slot.put_maps()?;
        Ok(slot)
    }

    /// Both at the same time, for one grace period.
    fn put_maps(&self) -> Result<(), SourceError> {
        let put = |map, inner: i32| {
            put(&self.container, map, &self.number.to_ne_bytes(), &inner.to_ne_bytes())
        };
        std::thread::scope(|scope| {
            let ring = self.ring.as_fd().as_raw_fd();
            let rings = std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, move || put(&self.programs.rings, ring))
                .map_err(|why| failed("starting a thread".to_owned(), why))?;
            put(&self.programs.verdicts, self.verdicts.fd())?;
            rings.join().unwrap_or_else(|_| {
                Err(failed("putting a ring in".to_owned(), io::ErrorKind::Other))
            })
        })
    }

    /// The second step: from now on the process, and what it forks, is watched.
    pub(super) fn arm(
        &self,
        pid: u32,
        flags: u32,
        root: Option<abi::Root>,
    ) -> Result<(), SourceError> {
        let (inum, ns_id) = own_namespace(pid)?.unwrap_or((0, 0));
        // Where it can't be told, nothing that the node opened is let pass.
        let host = std::fs::metadata("/proc/1/ns/mnt").map_or(0, |stat| stat.ino());
        let terms = Terms {
            flags,
            root,
            namespaces: (inum, u32::try_from(host).unwrap_or(0)),
            rules: self.rules().number,
            secret: Some(self.secret),
            guard: self.owner.0,
        };
        let (owner, owner_start) = self.owner;
        let entry = Entry { slot: self.number, ns_id, inum, owner, owner_start };
        let put = |map, key: &[u8], value: &[u8]| put(&self.container, map, key, value);
        let _locked = programs::lock(&self.folder)?;
        let found = self::entry(&self.programs, &name(&self.container));
        if found.is_none_or(|found| found.slot != self.number) || !self.programs.are_attached() {
            let doing = format!("arming {}, which somebody has taken out", self.container);
            return Err(failed(doing, io::ErrorKind::NotFound));
        }
        put(&self.programs.names, &name(&self.container), &entry.bytes())?;
        put(&self.programs.slots, &self.number.to_ne_bytes(), &abi::slot(&terms))?;
        tag(&self.programs, self.number, pid)?;
        if inum != 0 {
            put(&self.programs.containers, &inum.to_ne_bytes(), &entry.container())?;
        }
        Ok(())
    }

    /// From now on what the map does not know is killed.
    pub(super) fn enforce(&self) -> Result<(), SourceError> {
        self.change(|value| abi::change_flags(value, abi::SLOT_ENFORCE, 0))
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in which paths may run, before it is armed.
    pub(super) fn let_pass(&self, let_pass: &LetPass) -> Result<(), SourceError> {
        self.put_rules(let_pass).1
    }

    /// Puts a set of rules by path in beside the one that holds, which it gives back: that is to
    /// be taken out once the new one's number is known to the kernel. Where there is no room for
    /// it, none holds.
    fn put_rules(&self, let_pass: &LetPass) -> (Rules, Result<(), SourceError>) {
        let mut held = self.rules();
        let number = held.number.wrapping_add(1).max(1);
        let mut new = Rules::default();
        let mut put = Ok(());
        if !let_pass.is_empty() {
            let entries = abi::rules(number, let_pass, self.secret);
            put = self.verdicts.put_rules(&entries);
            if put.is_ok() {
                new = Rules { number, entries };
            }
        }
        (std::mem::replace(&mut *held, new), put)
    }

    /// What the judge lets run is told anew: flags to set and to clear, and paths; and which
    /// overlay the image is on, which may have come to be known. They are asked
    /// for under the lock, so that of two changes the later one holds. Whether there was room for
    /// the paths is told within.
    pub(super) fn tell_rules(
        &self,
        root: Option<abi::Root>,
        ask: impl FnOnce() -> ((u32, u32), LetPass),
    ) -> Result<(LetPass, Result<(), SourceError>), SourceError> {
        let (mut old, mut put) = (Rules::default(), Ok(()));
        let mut asked = LetPass::default();
        self.change(|value| {
            let ((set, clear), let_pass) = ask();
            abi::change_flags(value, set, clear);
            (old, put) = self.put_rules(&let_pass);
            abi::set_rules(value, self.rules().number);
            abi::set_root(value, root);
            asked = let_pass;
        })?;
        self.verdicts.take_rules(&old.entries);
        Ok((asked, put))
    }

    /// Changes what the programs know of it. What was counted in this moment may be lost with
    /// the old value.
    fn change(&self, how: impl FnOnce(&mut Vec<u8>)) -> Result<(), SourceError> {
        let _locked = programs::lock(&self.folder)?;
        let key = self.number.to_ne_bytes();
        let found = self.programs.slots.lookup(&key, MapFlags::ANY);
        let mut value = found.ok().flatten().ok_or_else(|| {
            let doing = format!("changing {}, which somebody has taken out", self.container);
            failed(doing, io::ErrorKind::NotFound)
        })?;
        how(&mut value);
        put(&self.container, &self.programs.slots, &key, &value)
    }

    /// Whether a process has executed anything of the container. One without the container's
    /// number has not, where the mount namespace gives it to whoever does.
    pub(super) fn has_begun(&self, pid: u32) -> Option<bool> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let key = process.as_fd().as_raw_fd().to_ne_bytes();
        let tag = self.programs.tags.lookup(&key, MapFlags::ANY).ok()?;
        let tag = tag.filter(|tag| tag.get(..8) == Some(&self.number.to_ne_bytes()));
        match tag {
            Some(tag) => Some(abi::has_executed(&tag)),
            None => (self.entry()?.inum != 0).then_some(false),
        }
    }

    /// Nothing of it is watched or killed from now on.
    pub(super) fn disarm(&self) {
        let _locked = programs::lock(&self.folder);
        if let Some(entry) = self.entry() {
            disarm(&self.programs, &entry);
        }
    }

    /// Leaves it where it is, until [`super::registry::remove`].
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }

    /// What stands under the name, unless that is a later container's.
    fn entry(&self) -> Option<Entry> {
        entry(&self.programs, &name(&self.container)).filter(|entry| entry.slot == self.number)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        self.disarm();
        let (owner, owner_start) = self.owner;
        let own = Entry { slot: self.number, ns_id: 0, inum: 0, owner, owner_start };
        take_out(&self.programs, &own);
        forget(&self.folder, &self.programs, &name(&self.container), self.number);
        sweep(&self.folder, &self.programs);
        retire(&self.folder, &self.programs);
    }
}

fn put(container: &str, map: &MapHandle, key: &[u8], value: &[u8]) -> Result<(), SourceError> {
    map.update(key, value, MapFlags::ANY).map_err(|why| {
        bpf_failed(format!("registering {container} in {}", map.name().display()), why)
    })
}

/// The mount namespace of a process, unless the host's processes share it.
fn own_namespace(pid: u32) -> Result<Option<(u32, u64)>, SourceError> {
    let open = |path: &str| File::open(path).map_err(|why| failed(format!("opening {path}"), why));
    let file = open(&format!("/proc/{pid}/ns/mnt"))?;
    let inode = |file: &File| {
        file.metadata()
            .map(|stat| stat.ino())
            .map_err(|why| failed("reading the number of a mount namespace".to_owned(), why))
    };
    let inum = inode(&file)?;
    for host in ["/proc/self/ns/mnt", "/proc/1/ns/mnt"] {
        // pid 1's may be out of reach where lacre itself runs in a container
        if let Ok(host) = File::open(host)
            && inode(&host)? == inum
        {
            return Ok(None);
        }
    }
    let id = lacre_sys::namespace::mount_namespace_id(file.as_fd()).unwrap_or(0);
    let inum = u32::try_from(inum)
        .map_err(|_| failed(format!("mount namespace {inum}"), io::ErrorKind::InvalidData))?;
    Ok(Some((inum, id)))
}

/// Marks a process, and so all that it will fork, as the container's.
pub(super) fn tag(programs: &Programs, slot: u64, pid: u32) -> Result<(), SourceError> {
    let doing = || format!("tagging process {pid}");
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| failed(doing(), io::ErrorKind::InvalidInput))?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(|why| failed(doing(), why))?;
    let key = process.as_fd().as_raw_fd().to_ne_bytes();
    // A task that has executed something of the container must stay checked.
    match programs.tags.lookup(&key, MapFlags::ANY) {
        Ok(Some(old)) if old.get(..8) == Some(&slot.to_ne_bytes()) => Ok(()),
        _ => programs
            .tags
            .update(&key, &abi::tag(slot), MapFlags::ANY)
            .map_err(|why| bpf_failed(doing(), why)),
    }
}

pub(super) fn counters(slots: &MapHandle, slot: u64) -> Option<Counters> {
    Counters::parse(&slots.lookup(&slot.to_ne_bytes(), MapFlags::ANY).ok()??)
}

/// Nothing is the image's by its date any more. What is counted in this moment may be lost.
pub(super) fn forget_root(slots: &MapHandle, slot: u64) -> io::Result<()> {
    let key = slot.to_ne_bytes();
    let found = slots.lookup(&key, MapFlags::ANY).map_err(io::Error::other)?;
    let Some(mut value) = found.filter(|value| abi::has_root(value)) else { return Ok(()) };
    abi::set_root(&mut value, None);
    slots.update(&key, &value, MapFlags::EXIST).map_err(io::Error::other)
}

fn secret() -> io::Result<Secret> {
    Ok(Secret { seed: fresh()?, multiplier: fresh()? })
}

/// Random, so that no counter must be kept; never 0, which is no slot.
fn fresh() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes) | 1)
}
