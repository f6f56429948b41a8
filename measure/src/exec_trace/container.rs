//! One container's part of the shared maps.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use lacre_types::FileId;
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use rustix::process::{Pid, PidfdFlags};
use sha2::{Digest as _, Sha256};

use super::abi::{self, Counters, Entry};
use super::programs::{self, Programs, bpf_failed, failed};
use crate::SourceError;

/// A batch of map updates: 24 kB of keys.
const BATCH: usize = 1024;
/// Room for files that are allowed later, beside a quarter of what is there at first.
const ROOM: usize = 4096;

/// The container's map of allowed files, as the programs read it.
#[derive(Debug, Clone)]
pub(super) struct Verdicts(Arc<MapHandle>);

/// What was registered.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) programs: Programs,
    pub(super) slot: u64,
    pub(super) verdicts: Verdicts,
    pub(super) ring: MapHandle,
}

fn name(container: &str) -> [u8; 32] {
    Sha256::digest(container.as_bytes()).into()
}

fn create(kind: MapType, key: u32, value: u32, entries: u32) -> Result<MapHandle, SourceError> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        // As in the template: the kernel compares them.
        map_flags: if kind == MapType::Hash { libbpf_sys::BPF_F_NO_PREALLOC } else { 0 },
        ..Default::default()
    };
    MapHandle::create(kind, Some("lacre"), key, value, entries, &options)
        .map_err(|why| bpf_failed(format!("making a {kind:?} map of {entries} entries"), why))
}

impl Verdicts {
    pub(super) fn filled(files: &[(FileId, u32)]) -> Result<Self, SourceError> {
        let entries = files.len() + files.len() / 4 + ROOM;
        let entries = u32::try_from(entries)
            .map_err(|_| failed(format!("mapping {entries} files"), io::ErrorKind::OutOfMemory))?;
        let map = create(MapType::Hash, abi::KEY_SIZE as u32, 4, entries)?;
        for batch in files.chunks(BATCH) {
            let keys: Vec<u8> = batch.iter().flat_map(|(id, _)| abi::key(id)).collect();
            let values: Vec<u8> = batch.iter().flat_map(|(_, flags)| flags.to_ne_bytes()).collect();
            map.update_batch(&keys, &values, batch.len() as u32, MapFlags::ANY, MapFlags::ANY)
                .map_err(|why| {
                    bpf_failed(format!("filling a map with {} files", files.len()), why)
                })?;
        }
        Ok(Self(Arc::new(map)))
    }

    pub(super) fn allow(&self, id: &FileId, flags: u32) -> io::Result<()> {
        self.0.update(&abi::key(id), &flags.to_ne_bytes(), MapFlags::ANY).map_err(io::Error::other)
    }

    pub(super) fn forget(&self, id: &FileId) -> io::Result<()> {
        self.0.delete(&abi::key(id)).map_err(io::Error::other)
    }

    pub(super) fn allows(&self, id: &FileId) -> bool {
        matches!(self.0.lookup(&abi::key(id), MapFlags::ANY), Ok(Some(_)))
    }
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

/// Puts a container in, or takes it over where a lacre that died left it.
pub(super) fn register(
    folder: &Path,
    fetch: bool,
    container: &str,
    pid: u32,
    flags: u32,
    ring_bytes: u32,
    files: &[(FileId, u32)],
) -> Result<Registered, SourceError> {
    programs::prepare(folder)?;
    let locked = programs::lock(folder)?;
    let programs = Programs::load(folder, fetch, &locked)?;
    let own = own_namespace(pid)?;
    let (inum, ns_id) = own.unwrap_or((0, 0));
    let put = |map: &MapHandle, key: &[u8], value: &[u8]| {
        map.update(key, value, MapFlags::ANY).map_err(|why| {
            bpf_failed(format!("registering {container} in {}", map.name().display()), why)
        })
    };
    let left = entry(&programs, container);
    if let Some(left) = left
        && (left.inum, left.ns_id) != (inum, ns_id)
    {
        take_out(&programs, container, &left);
    }
    let slot = match left {
        Some(left) if (left.inum, left.ns_id) == (inum, ns_id) => left.slot,
        _ => fresh_slot().map_err(|why| failed("drawing a number".to_owned(), why))?,
    };
    let entry = Entry { slot, ns_id, inum };
    let verdicts = Verdicts::filled(files)?;
    let ring = create(MapType::RingBuf, 0, 0, ring_bytes)?;
    // Named first, so that what follows can be taken out again by the name alone.
    put(&programs.names, &name(container), &entry.bytes())?;
    let done = (|| {
        let slot_key = slot.to_ne_bytes();
        put(&programs.rings, &slot_key, &ring.as_fd().as_raw_fd().to_ne_bytes())?;
        put(&programs.verdicts, &slot_key, &verdicts.0.as_fd().as_raw_fd().to_ne_bytes())?;
        put(&programs.slots, &slot_key, &abi::slot(flags))?;
        tag(&programs, slot, pid)?;
        if inum != 0 {
            put(&programs.containers, &inum.to_ne_bytes(), &entry.container())?;
        }
        Ok(())
    })();
    if let Err(why) = done {
        take_out(&programs, container, &entry);
        return Err(why);
    }
    Ok(Registered { programs, slot, verdicts, ring })
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

/// Takes a container out, whichever process put it in; `false` when it was in none.
pub(super) fn remove(folder: &Path, container: &str) -> Result<bool, SourceError> {
    if !folder.exists() {
        return Ok(false);
    }
    let _locked = programs::lock(folder)?;
    let mut found = false;
    for programs in Programs::pinned(folder) {
        if let Some(entry) = entry(&programs, container) {
            take_out(&programs, container, &entry);
            found = true;
        }
    }
    Ok(found)
}

/// Takes out what was registered under this slot, and nothing that came after it.
pub(super) fn remove_slot(folder: &Path, programs: &Programs, container: &str, slot: u64) {
    let _locked = programs::lock(folder);
    if let Some(entry) = entry(programs, container)
        && entry.slot == slot
    {
        take_out(programs, container, &entry);
    }
}

fn entry(programs: &Programs, container: &str) -> Option<Entry> {
    Entry::parse(&programs.names.lookup(&name(container), MapFlags::ANY).ok()??)
}

/// What is missing already was taken out already.
fn take_out(programs: &Programs, container: &str, entry: &Entry) {
    let slot = entry.slot.to_ne_bytes();
    if entry.inum != 0 {
        let _ = programs.containers.delete(&entry.inum.to_ne_bytes());
    }
    let _ = programs.slots.delete(&slot);
    let _ = programs.verdicts.delete(&slot);
    let _ = programs.rings.delete(&slot);
    for stray in programs.strays.keys() {
        if let Ok(Some(tag)) = programs.strays.lookup(&stray, MapFlags::ANY)
            && tag.get(..8) == Some(&slot[..])
        {
            let _ = programs.strays.delete(&stray);
        }
    }
    let _ = programs.names.delete(&name(container));
}

pub(super) fn counters(slots: &MapHandle, slot: u64) -> Option<Counters> {
    Counters::parse(&slots.lookup(&slot.to_ne_bytes(), MapFlags::ANY).ok()??)
}

/// Random, so that no counter must be kept; never 0, which is no slot.
fn fresh_slot() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes) | 1)
}
