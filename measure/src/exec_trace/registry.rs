//! Which containers the maps have, by their names: whose processes are theirs, and how one is
//! taken out, whoever put it in.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use sha2::{Digest as _, Sha256};

use super::abi::{self, Entry, Name};
use super::failure::failed;
use super::programs::{self, CONTAINERS, Programs, RINGS, SLOTS, STRAYS, Set, TAGS, VERDICTS};
use crate::SourceError;
use crate::held_process::{Held, began};

/// Containers that are looked through at a time.
const BATCH: u32 = 1024;

pub(super) fn name(container: &str) -> Name {
    Sha256::digest(container.as_bytes()).into()
}

/// The processes that carry a container's number now. Those of which the kernel has yet to let
/// go are among them.
///
/// # Errors
/// When somebody may carry it, and nobody can tell: that is not nobody.
pub(super) fn members(folder: &Path, container: &str) -> io::Result<Vec<u32>> {
    let mut slots = Vec::new();
    for set in Set::all(folder).map_err(asking)? {
        let set = set.map_err(asking)?;
        // What another set lacks is not this container's.
        if let Some(entry) = named(&set, &name(container))? {
            let map = |name| set.map(name).map_err(asking);
            slots.push((map(TAGS)?, map(STRAYS)?, entry.slot.to_ne_bytes()));
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
        for (tags, _, slot) in &slots {
            let tag = tags.lookup(&key, MapFlags::ANY).map_err(asking)?;
            if tag.is_some_and(|tag| tag.get(..8) == Some(slot)) {
                found.push(pid);
            }
        }
    }
    // Marks that found no room at their process.
    for (_, strays, slot) in &slots {
        for key in strays.keys() {
            let tag = strays.lookup(&key, MapFlags::ANY).map_err(asking)?;
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

fn named(set: &Set, name: &Name) -> io::Result<Option<Entry>> {
    let Some(found) = set.names.lookup(name, MapFlags::ANY).map_err(asking)? else {
        return Ok(None);
    };
    Entry::parse(&found).map(Some).ok_or_else(|| asking("an entry of another size"))
}

fn asking(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(why)
}

/// Takes a container out of every set, whichever process put it in; `false` when it was in none.
///
/// # Errors
/// The first one, after all has been done that could be.
pub(super) fn remove(folder: &Path, container: &str) -> Result<bool, SourceError> {
    in_each_set(folder, |set| match set.programs() {
        Ok(programs) => {
            let left = {
                let _locked = programs::lock(folder)?;
                entry(&programs, &name(container)).inspect(|entry| disarm(&programs, entry))
            };
            if let Some(entry) = &left {
                take_out(&programs, entry);
                forget(folder, &programs, &name(container), entry.slot);
            }
            sweep(folder, &programs);
            retire(folder, &programs);
            Ok(left.is_some())
        }
        Err(_) => remove_from_part(folder, set, &name(container)),
    })
}

/// The same, of a set that is not whole, which goes with the last whom it guards.
fn remove_from_part(folder: &Path, set: &Set, name: &Name) -> Result<bool, SourceError> {
    let locked = programs::lock(folder)?;
    let Some(entry) = named(set, name).map_err(looking)? else { return Ok(false) };
    let disarmed = disarm_in(set, &entry);
    let slot = entry.slot.to_ne_bytes();
    for map in [RINGS, VERDICTS].into_iter().filter_map(|map| set.map(map).ok()) {
        let _ = map.delete(&slot);
    }
    if let Ok(strays) = set.map(STRAYS) {
        forget_strays(&strays, &slot);
    }
    let _ = set.names.delete(name);
    set.unpin_unneeded(&locked);
    disarmed.map(|()| true)
}

/// Whether something was done in any.
fn in_each_set(
    folder: &Path,
    mut act: impl FnMut(&Set) -> Result<bool, SourceError>,
) -> Result<bool, SourceError> {
    let (mut done, mut failed) = (false, None);
    for set in Set::all(folder)? {
        match set.and_then(|set| act(&set)) {
            Ok(one) => done |= one,
            Err(why) => drop(failed.get_or_insert(why)),
        }
    }
    failed.map_or(Ok(done), Err)
}

fn looking(why: io::Error) -> SourceError {
    failed("looking a container up by its name".to_owned(), why)
}

pub(super) fn entry(programs: &Programs, name: &Name) -> Option<Entry> {
    Entry::parse(&programs.names.lookup(name, MapFlags::ANY).ok()??)
}

/// The first step of [`remove`], which waits for nothing.
pub(super) fn disarm_named(folder: &Path, container: &str) -> Result<(), SourceError> {
    let disarm = |set: &Set| {
        let _locked = programs::lock(folder)?;
        let Some(entry) = named(set, &name(container)).map_err(looking)? else { return Ok(false) };
        disarm_in(set, &entry).map(|()| true)
    };
    in_each_set(folder, disarm).map(drop)
}

fn disarm_in(set: &Set, entry: &Entry) -> Result<(), SourceError> {
    let (containers, slots) = (set.map(CONTAINERS), set.map(SLOTS));
    if let Ok(containers) = &containers {
        leave_namespace(containers, entry);
    }
    if let Ok(slots) = &slots {
        let _ = slots.delete(&entry.slot.to_ne_bytes());
    }
    containers.and(slots).map(drop)
}

/// Under the lock: the number of a mount namespace comes again, and may be another
/// container's by now.
pub(super) fn disarm(programs: &Programs, entry: &Entry) {
    leave_namespace(&programs.containers, entry);
    let _ = programs.slots.delete(&entry.slot.to_ne_bytes());
}

fn leave_namespace(containers: &MapHandle, entry: &Entry) {
    let inum = entry.inum.to_ne_bytes();
    if entry.inum != 0
        && let Ok(Some(found)) = containers.lookup(&inum, MapFlags::ANY)
        && found.get(..8) == Some(&entry.slot.to_ne_bytes())
    {
        let _ = containers.delete(&inum);
    }
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
    forget_strays(&programs.strays, &slot);
}

fn forget_strays(strays: &MapHandle, slot: &[u8]) {
    for stray in strays.keys() {
        if let Ok(Some(tag)) = strays.lookup(&stray, MapFlags::ANY)
            && tag.get(..8) == Some(slot)
        {
            let _ = strays.delete(&stray);
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
