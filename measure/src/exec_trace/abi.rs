//! The other half of `bpf/lacre.h`: what the programs and user space share.

use lacre_types::FileId;

pub(super) const VERDICT_INTERPRETER: u32 = 1 << 0;
pub(super) const VERDICT_MULTICALL: u32 = 1 << 1;
pub(super) const VERDICT_SCRIPT_AFTER_C: u32 = 1 << 2;

pub(super) const SLOT_ENFORCE: u32 = 1 << 0;
pub(super) const SLOT_FAULTS: u32 = 1 << 1;
pub(super) const SLOT_SPARE_MEMORY: u32 = 1 << 2;

pub(super) const KEY_SIZE: usize = 24;
pub(super) const TAG_SIZE: usize = 24;
pub(super) const SLOT_SIZE: usize = 40;

const ARGV_MAX: usize = 512;
const NAMES_AT: usize = ARGV_MAX;
const FILENAME_AT: usize = NAMES_AT + 1024 + 256;
const DATA_AT: usize = 80;

/// `struct file_key`.
pub(super) fn key(id: &FileId) -> [u8; KEY_SIZE] {
    let mut bytes = [0; KEY_SIZE];
    bytes[..8].copy_from_slice(&id.ino.to_ne_bytes());
    bytes[8..12].copy_from_slice(&id.dev.to_ne_bytes());
    bytes[12..16].copy_from_slice(&id.ctime_nsec.to_ne_bytes());
    bytes[16..].copy_from_slice(&id.ctime_sec.to_ne_bytes());
    bytes
}

/// `struct tag` of a task that has not yet executed anything of the container.
pub(super) fn tag(slot: u64) -> [u8; TAG_SIZE] {
    let mut bytes = [0; TAG_SIZE];
    bytes[..8].copy_from_slice(&slot.to_ne_bytes());
    bytes
}

/// `struct slot` with its counters at zero.
pub(super) fn slot(flags: u32) -> [u8; SLOT_SIZE] {
    let mut bytes = [0; SLOT_SIZE];
    bytes[..4].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

/// What the programs counted for one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Programs executed.
    pub execs: u64,
    /// Events told.
    pub events: u64,
    /// Processes killed.
    pub kills: u64,
    /// Events that found no room, and tasks that could not be tagged.
    pub lost: u64,
}

impl Counters {
    pub(super) fn parse(slot: &[u8]) -> Option<Self> {
        Some(Self {
            execs: u64_at(slot, 8)?,
            events: u64_at(slot, 16)?,
            kills: u64_at(slot, 24)?,
            lost: u64_at(slot, 32)?,
        })
    }
}

/// `struct container_entry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) slot: u64,
    pub(super) ns_id: u64,
    /// 0: it has no mount namespace of its own, or is not armed yet.
    pub(super) inum: u32,
    /// The process that put it in, and when that began, in clock ticks since boot.
    pub(super) owner: u32,
    pub(super) owner_start: u64,
}

impl Entry {
    pub(super) fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.slot.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.ns_id.to_ne_bytes());
        bytes[16..20].copy_from_slice(&self.inum.to_ne_bytes());
        bytes[20..24].copy_from_slice(&self.owner.to_ne_bytes());
        bytes[24..].copy_from_slice(&self.owner_start.to_ne_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            slot: u64_at(bytes, 0)?,
            ns_id: u64_at(bytes, 8)?,
            inum: u32_at(bytes, 16)?,
            owner: u32_at(bytes, 20)?,
            // Not in the maps of the first version.
            owner_start: u64_at(bytes, 24).unwrap_or(0),
        })
    }

    /// `struct container`.
    pub(super) fn container(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.slot.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.ns_id.to_ne_bytes());
        bytes
    }
}

/// `enum event_kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Exec,
    Loader,
    Arguments,
    Fetch,
    Anonymous,
    Unchecked,
}

/// `struct event`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) kind: Kind,
    flags: u32,
    pub(super) pid: u32,
    pub(super) uid: u32,
    /// When the process began, nanoseconds since boot.
    pub(super) start: u64,
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) key: FileId,
    pub(super) argv: Vec<Vec<u8>>,
    /// The path that the names make, when they reach the root.
    pub(super) path: Option<Vec<u8>>,
    /// A script, as `execve` had it.
    pub(super) filename: Option<Vec<u8>>,
}

impl Told {
    pub(super) const fn killed(&self) -> bool {
        self.flags & 1 != 0
    }

    pub(super) const fn unlinked(&self) -> bool {
        self.flags & 1 << 1 != 0
    }

    pub(super) const fn memfd(&self) -> bool {
        self.flags & 1 << 2 != 0
    }

    /// Known, but somebody has it open for writing.
    pub(super) const fn written(&self) -> bool {
        self.flags & 1 << 3 != 0
    }

    /// Shared memory without a name.
    pub(super) const fn shmem(&self) -> bool {
        self.flags & 1 << 6 != 0
    }

    /// Reads an event; `None` when it is not one.
    pub(super) fn parse(raw: &[u8]) -> Option<Self> {
        const CUT: u32 = 1 << 5;
        let kind = match u32_at(raw, 0)? {
            1 => Kind::Exec,
            2 => Kind::Loader,
            3 => Kind::Arguments,
            4 => Kind::Fetch,
            5 => Kind::Anonymous,
            6 => Kind::Unchecked,
            _ => return None,
        };
        let flags = u32_at(raw, 4)?;
        let key = FileId {
            ino: u64_at(raw, 40)?,
            dev: u32_at(raw, 48)?,
            ctime_nsec: u32_at(raw, 52)?,
            ctime_sec: u64_at(raw, 56)?.cast_signed(),
        };
        let length = |at| u32_at(raw, at).and_then(|n| usize::try_from(n).ok());
        let part = |from: usize, length: usize| {
            let from = DATA_AT + from;
            raw.get(from..from.checked_add(length)?)
        };
        let argv_len = length(64)?.min(ARGV_MAX);
        let names_len = length(68)?.min(FILENAME_AT - NAMES_AT);
        let filename_len = length(72)?;
        let argv = if argv_len == 0 { &[] } else { part(0, argv_len)? };
        let path = if names_len == 0 {
            (flags & CUT == 0).then(|| b"/".to_vec())
        } else {
            let names = part(NAMES_AT, names_len)?;
            (flags & CUT == 0).then(|| join_upwards(names))
        };
        let filename = if filename_len == 0 {
            None
        } else {
            let name = part(FILENAME_AT, filename_len)?;
            Some(name.strip_suffix(b"\0").unwrap_or(name).to_vec())
        };
        Some(Self {
            kind,
            flags,
            pid: u32_at(raw, 8)?,
            uid: u32_at(raw, 12)?,
            start: u64_at(raw, 16)?,
            address: u64_at(raw, 24)?,
            size: u64_at(raw, 32)?,
            key,
            argv: split_argv(argv),
            path,
            filename,
        })
    }
}

/// NUL-ended strings; the last may be cut off, and is then left out.
fn split_argv(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut argv: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    argv.pop();
    argv
}

/// Names from the file up to the root, as a path.
fn join_upwards(names: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(names.len() + 1);
    for name in names.split(|byte| *byte == 0).rev().filter(|name| !name.is_empty()) {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    path
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(kind: u32, argv: &[u8], names: &[u8]) -> Vec<u8> {
        let mut raw = vec![0; DATA_AT + FILENAME_AT];
        raw[..4].copy_from_slice(&kind.to_ne_bytes());
        raw[64..68].copy_from_slice(&(argv.len() as u32).to_ne_bytes());
        raw[68..72].copy_from_slice(&(names.len() as u32).to_ne_bytes());
        raw[DATA_AT..DATA_AT + argv.len()].copy_from_slice(argv);
        raw[DATA_AT + NAMES_AT..][..names.len()].copy_from_slice(names);
        raw
    }

    #[test]
    fn names_become_a_path_and_arguments_a_list() {
        let told = Told::parse(&event(3, b"sh\0/x\0", b"sh\0bin\0usr\0")).unwrap();
        assert_eq!(told.kind, Kind::Arguments);
        assert_eq!(told.path.as_deref(), Some(&b"/usr/bin/sh"[..]));
        assert_eq!(told.argv, [&b"sh"[..], b"/x"]);
    }

    #[test]
    fn an_argument_that_was_cut_off_is_no_argument() {
        assert_eq!(split_argv(b"sh\0/tmp/lo"), [b"sh".to_vec()]);
        assert_eq!(split_argv(b""), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn an_entry_reads_back() {
        let entry = Entry { slot: 7, ns_id: 8, inum: 9, owner: 10, owner_start: 11 };
        assert_eq!(Entry::parse(&entry.bytes()), Some(entry));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..3000), kind in 0_u32..8) {
            let mut raw = raw;
            if raw.len() > 4 {
                raw[..4].copy_from_slice(&kind.to_ne_bytes());
            }
            let _ = Told::parse(&raw);
        }
    }
}
