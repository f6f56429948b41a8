//! Which containers the maps have, by their names: whose processes are theirs, and how one is
//! taken out, whoever put it in.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use libbpf_rs::{MapCore, MapFlags};
use sha2::{Digest as _, Sha256};

use super::abi::{self, Entry};
use super::programs::{self, Programs};
use crate::SourceError;
use crate::held_process::{Held, began};

/// Containers that are looked through at a time.
const BATCH: u32 = 1024;

/// A container's name in the maps.
pub(super) type Name = [u8; 32];

pub(super) fn name(container: &str) -> Name {
    Sha256::digest(container.as_bytes()).into()
}

/// The processes that carry a container's number now. Those of which the kernel has yet to let
/// go are among them.
///
/// # Errors
/// When somebody may carry it, and nobody can tell: that is not nobody.
pub(super) fn members(folder: &Path, container: &str) -> io::Result<Vec<u32>> {
    let all = Programs::pinned(folder).map_err(asking)?;
    let mut slots = Vec::new();
    for one in &all {
        if let Some(found) = one.names.lookup(&name(container), MapFlags::ANY).map_err(asking)? {
            let entry = Entry::parse(&found).ok_or_else(|| asking("an entry of another size"))?;
            slots.push((one, entry.slot.to_ne_bytes()));
        }
    }
    let mut found = Vec::new();
    if slots.is_empty() {
        return Ok(found);
    }
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Some(process) = Held::open_any(pid)? else { continue };
        let key = process.as_fd().as_raw_fd().to_ne_bytes();
        for (programs, slot) in &slots {
            let tag = programs.tags.lookup(&key, MapFlags::ANY).map_err(asking)?;
            if tag.is_some_and(|tag| tag.get(..8) == Some(slot)) {
                found.push(pid);
            }
        }
    }
    // Marks that found no room at their process.
    for (programs, slot) in &slots {
        for key in programs.strays.keys() {
            let tag = programs.strays.lookup(&key, MapFlags::ANY).map_err(asking)?;
            let Some((pid, start)) = abi::stray(&key) else { continue };
            if tag.is_some_and(|tag| tag.get(..8) == Some(slot))
                && Held::open_any_started(pid, start)?.is_some()
            {
                found.push(pid);
            }
        }
    }
    Ok(found)
}

fn asking(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(why)
}

/// Takes a container out, whichever process put it in; `false` when it was in none.
pub(super) fn remove(folder: &Path, container: &str) -> Result<bool, SourceError> {
    if !folder.exists() {
        return Ok(false);
    }
    let mut found = false;
    for programs in Programs::pinned(folder)? {
        let left = {
            let _locked = programs::lock(folder)?;
            entry(&programs, &name(container)).inspect(|entry| disarm(&programs, entry))
        };
        if let Some(entry) = left {
            take_out(&programs, &entry);
            forget(folder, &programs, &name(container), entry.slot);
            found = true;
        }
        sweep(folder, &programs);
        retire(folder, &programs);
    }
    Ok(found)
}

pub(super) fn entry(programs: &Programs, name: &Name) -> Option<Entry> {
    Entry::parse(&programs.names.lookup(name, MapFlags::ANY).ok()??)
}

/// The first step of [`remove`], which waits for nothing.
pub(super) fn disarm_named(folder: &Path, container: &str) -> Result<(), SourceError> {
    if !folder.exists() {
        return Ok(());
    }
    for programs in Programs::pinned(folder)? {
        let _locked = programs::lock(folder)?;
        if let Some(entry) = entry(&programs, &name(container)) {
            disarm(&programs, &entry);
        }
    }
    Ok(())
}

/// Under the lock: the number of a mount namespace comes again, and may be another
/// container's by now.
pub(super) fn disarm(programs: &Programs, entry: &Entry) {
    let inum = entry.inum.to_ne_bytes();
    if entry.inum != 0
        && let Ok(Some(found)) = programs.containers.lookup(&inum, MapFlags::ANY)
        && found.get(..8) == Some(&entry.slot.to_ne_bytes())
    {
        let _ = programs.containers.delete(&inum);
    }
    let _ = programs.slots.delete(&entry.slot.to_ne_bytes());
}

/// What waits for grace periods. What is missing already was taken out already.
pub(super) fn take_out(programs: &Programs, entry: &Entry) {
    let slot = entry.slot.to_ne_bytes();
    std::thread::scope(|scope| {
        let rings = std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn_scoped(scope, || programs.rings.delete(&slot));
        let _ = programs.verdicts.delete(&slot);
        if rings.is_err() {
            let _ = programs.rings.delete(&slot);
        }
    });
    for stray in programs.strays.keys() {
        if let Ok(Some(tag)) = programs.strays.lookup(&stray, MapFlags::ANY)
            && tag.get(..8) == Some(&slot[..])
        {
            let _ = programs.strays.delete(&stray);
        }
    }
}

/// The name last, unless it is a later container's by now.
pub(super) fn forget(folder: &Path, programs: &Programs, name: &Name, slot: u64) {
    let _locked = programs::lock(folder);
    if entry(programs, name).is_some_and(|entry| entry.slot == slot) {
        let _ = programs.names.delete(name);
    }
}

/// Takes out what processes left that were killed within one of the two steps: what is armed
/// is not of these, and stays.
pub(super) fn sweep(folder: &Path, programs: &Programs) {
    let Ok(names) = programs.names.lookup_batch(BATCH, MapFlags::ANY, MapFlags::ANY) else {
        return;
    };
    for (name, left) in names {
        let (Ok(name), Some(left)) = (Name::try_from(name), Entry::parse(&left)) else { continue };
        let armed = programs.slots.lookup(&left.slot.to_ne_bytes(), MapFlags::ANY);
        if matches!(armed, Ok(None)) && began(left.owner) != Some(left.owner_start) {
            take_out(programs, &left);
            forget(folder, programs, &name, left.slot);
        }
    }
}

pub(super) fn retire(folder: &Path, programs: &Programs) {
    if let Ok(locked) = programs::lock(folder) {
        programs.detach_unneeded(&locked);
    }
}
