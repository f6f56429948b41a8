//! Pages of a file's mapping that are the process's own: what it wrote there is no file's, and
//! what is executed there is memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::record::Mapping;
use crate::held_process::Held;

/// Of an entry of /proc/PID/pagemap (admin-guide/mm/pagemap.rst): the page is a file's or shared,
/// it is swapped out, it is there.
const OF_FILE: u64 = 1 << 61;
const SWAPPED: u64 = 1 << 62;
const PRESENT: u64 = 1 << 63;

/// What is read at a time: 512 KiB of memory.
const ENTRIES: usize = 128;

/// The most that is looked through, 1 GiB: as much of a file as is read.
const MOST: u64 = 1 << 30;

/// Whether a mapping of a file has memory of its process's own in it, or may come to have: one
/// that is written to and executed is not told of again.
pub(super) fn is_rewritten(mapping: &Mapping, process: Option<&Held>) -> bool {
    !mapping.shared
        && (mapping.writable || process.is_some_and(|process| has_own_pages(mapping, process)))
}

/// Of a process that has ended nobody can tell.
fn has_own_pages(mapping: &Mapping, process: &Held) -> bool {
    let page = rustix::param::page_size() as u64;
    let entry = size_of::<u64>() as u64;
    let Ok(mut pagemap) = File::open(process.proc("pagemap")) else { return false };
    if pagemap.seek(SeekFrom::Start(mapping.start / page * entry)).is_err() {
        return false;
    }
    let mut left = mapping.length.min(MOST) / page * entry;
    let mut buffer = [0; ENTRIES * size_of::<u64>()];
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let Ok(got @ 1..) = pagemap.read(&mut buffer[..most]) else { return false };
        let own = |entry: &[u8; 8]| {
            let entry = u64::from_ne_bytes(*entry);
            entry & (PRESENT | SWAPPED) != 0 && entry & OF_FILE == 0
        };
        if buffer[..got].as_chunks().0.iter().any(own) {
            return process.lives();
        }
        left -= got as u64;
    }
    false
}
