//! The map of what one container may run.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, LazyLock, OnceLock};

use lacre_types::{Digest, FileId, Known};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use super::abi;
use super::failure::{bpf_failed, failed};
use super::interpreters::Interpreters;
use crate::{SourceError, Verified};

/// A batch of map updates: 24 kB of keys.
const BATCH: usize = 1024;
/// Room for files that are allowed later, that are kept still and for rules by path, beside a
/// quarter of what is there at first, and what a rule by path may have to name.
const ROOM: usize = 4096;
/// Room for the files of an image that is not known yet: more than all but the largest have. One
/// that has more is told of as what it is, rules that the kernel's map does not take. With
/// [`ROOM`] a power of two, which the kernel rounds up to: 2 MiB.
const UNKNOWN: usize = (1 << 17) - ROOM;

/// The container's map of allowed files, as the programs read it.
#[derive(Debug, Clone)]
pub(super) struct Verdicts {
    map: Arc<MapHandle>,
    /// Empty until the image is known.
    interpreters: Arc<OnceLock<Interpreters>>,
}

/// Of an image that is not known yet.
static NONE: LazyLock<Interpreters> = LazyLock::new(Interpreters::default);

/// A map that will stand in one of the maps of maps.
pub(super) fn create(
    kind: MapType,
    key: u32,
    value: u32,
    entries: u32,
) -> Result<MapHandle, SourceError> {
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
    pub(super) fn filled(known: &dyn Known) -> Result<Self, SourceError> {
        let files = known.allowed().count();
        let listed = if known.is_there() { known.count() } else { UNKNOWN };
        // Without values in it, a place costs 16 bytes.
        let entries = files + files / 4 + listed + ROOM;
        let entries = u32::try_from(entries)
            .map_err(|_| failed(format!("mapping {entries} files"), io::ErrorKind::OutOfMemory))?;
        let map = create(MapType::Hash, abi::KEY_SIZE as u32, 4, entries)?;
        let verdicts = Self { map: Arc::new(map), interpreters: Arc::default() };
        verdicts.fill(known)?;
        Ok(verdicts)
    }

    /// Puts the image's files in, once they are known: whether they are.
    pub(super) fn fill(&self, known: &dyn Known) -> Result<bool, SourceError> {
        if self.interpreters.get().is_some() {
            return Ok(true);
        }
        if !known.is_there() {
            return Ok(false);
        }
        let interpreters = Interpreters::of(known);
        let files = interpreters.marked(known);
        for batch in files.chunks(BATCH) {
            let keys: Vec<u8> = batch.iter().flat_map(|(id, _)| abi::key(id)).collect();
            let values: Vec<u8> = batch.iter().flat_map(|(_, flags)| flags.to_ne_bytes()).collect();
            self.map
                .update_batch(&keys, &values, batch.len() as u32, MapFlags::ANY, MapFlags::ANY)
                .map_err(|why| {
                    bpf_failed(format!("filling a map with {} files", files.len()), why)
                })?;
        }
        let _ = self.interpreters.set(interpreters);
        Ok(true)
    }

    pub(super) fn interpreters(&self) -> &Interpreters {
        self.interpreters.get().unwrap_or_else(|| &*NONE)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.map.as_fd().as_raw_fd()
    }

    /// What came with the image was filled in before; all else was verified. No flag that its
    /// bytes have under another name is lost.
    pub(super) fn allow(&self, file: &Verified, flags: u32) -> io::Result<()> {
        let id = file.lasting().ok_or(io::ErrorKind::Unsupported)?;
        let flags = flags | self.interpreters().flags_of(file.digest());
        self.interpreters().changed(id, file.digest());
        self.map
            .update(&abi::key(id), &flags.to_ne_bytes(), MapFlags::ANY)
            .map_err(io::Error::other)
    }

    /// Puts a set of rules by path in, which is looked at once the container's `struct slot`
    /// names it. Nothing of it is left where it finds no room.
    pub(super) fn put_rules(
        &self,
        rules: &[([u8; abi::KEY_SIZE], u32)],
    ) -> Result<(), SourceError> {
        for batch in rules.chunks(BATCH) {
            let keys: Vec<u8> = batch.iter().flat_map(|(key, _)| *key).collect();
            let values: Vec<u8> = batch.iter().flat_map(|(_, to)| to.to_ne_bytes()).collect();
            let put = self.map.update_batch(
                &keys,
                &values,
                batch.len() as u32,
                MapFlags::ANY,
                MapFlags::ANY,
            );
            put.map_err(|why| {
                self.take_rules(rules);
                bpf_failed(format!("telling the kernel of {} rules by path", rules.len()), why)
            })?;
        }
        Ok(())
    }

    pub(super) fn take_rules(&self, rules: &[([u8; abi::KEY_SIZE], u32)]) {
        for (key, _) in rules {
            let _ = self.map.delete(key);
        }
    }

    /// A file of the container's root is under a lease, by its inode on that overlay.
    pub(super) fn leased(
        &self,
        (overlay, ino): (u32, u64),
        (digest, flags): (&Digest, u32),
    ) -> io::Result<()> {
        let flags = flags | self.interpreters().flags_of(digest);
        self.map
            .update(&abi::leased_key(overlay, ino), &flags.to_ne_bytes(), MapFlags::ANY)
            .map_err(io::Error::other)
    }

    /// Its lease will end.
    pub(super) fn lease_ends(&self, overlay: u32, ino: u64) {
        let _ = self.map.delete(&abi::leased_key(overlay, ino));
    }

    pub(super) fn forget(&self, id: &FileId) -> io::Result<()> {
        self.map.delete(&abi::key(id)).map_err(io::Error::other)
    }

    pub(super) fn allows(&self, id: &FileId) -> bool {
        self.flags(id).is_some()
    }

    /// The verdict's flags, of a file that may run.
    pub(super) fn flags(&self, id: &FileId) -> Option<u32> {
        let flags = self.map.lookup(&abi::key(id), MapFlags::ANY).ok()??;
        Some(u32::from_ne_bytes(flags.try_into().ok()?))
    }
}
