//! The map of what one container may run.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use lacre_types::FileId;
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use super::abi;
use super::programs::{bpf_failed, failed};
use crate::SourceError;

/// A batch of map updates: 24 kB of keys.
const BATCH: usize = 1024;
/// Room for files that are allowed later, beside a quarter of what is there at first.
const ROOM: usize = 4096;

/// The container's map of allowed files, as the programs read it.
#[derive(Debug, Clone)]
pub(super) struct Verdicts(Arc<MapHandle>);

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

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
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
