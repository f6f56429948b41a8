//! Perf records, read. Pure.

use lacre_types::FileId;

/// `PERF_RECORD_LOST` and `PERF_RECORD_MMAP2` (linux/perf_event.h).
const LOST: u32 = 2;
const MMAP2: u32 = 10;
const PROT_EXEC: u32 = 4;

/// What a ring told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Mapped(Mapping),
    Lost(u64),
    Other,
}

/// An executable mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) pid: u32,
    pub(super) start: u64,
    pub(super) length: u64,
    /// As the kernel keeps it; the overlay's own where the file is on one.
    pub(super) dev: u32,
    pub(super) ino: u64,
    pub(super) name: Vec<u8>,
}

/// What stands behind a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// A file, by its path.
    File,
    Memfd,
    /// Memory of the process's own.
    Anonymous,
    /// The kernel's own: vdso, vsyscall, uprobes.
    Kernel,
}

impl Mapping {
    pub(super) fn behind(&self) -> Behind {
        let name = self.name.as_slice();
        if name.starts_with(b"/memfd:") {
            return Behind::Memfd;
        }
        if self.ino == 0 {
            return match name {
                b"[vdso]" | b"[vsyscall]" | b"[vectors]" | b"[uprobes]" => Behind::Kernel,
                _ => Behind::Anonymous,
            };
        }
        if name == b"/dev/zero (deleted)" || name.starts_with(b"/SYSV") {
            return Behind::Anonymous;
        }
        Behind::File
    }

    /// Its name in `/proc/PID/map_files`.
    pub(super) fn range(&self) -> String {
        format!("{:x}-{:x}", self.start, self.start.saturating_add(self.length))
    }
}

/// Reads a record; one that is cut short is a loss.
pub(super) fn parse(raw: &[u8]) -> Record {
    mapped_or_lost(raw).unwrap_or(Record::Lost(1))
}

fn mapped_or_lost(raw: &[u8]) -> Option<Record> {
    match u32_at(raw, 0)? {
        LOST => Some(Record::Lost(u64_at(raw, 16)?)),
        MMAP2 => {
            if u32_at(raw, 64)? & PROT_EXEC == 0 {
                return Some(Record::Other);
            }
            let name = raw.get(72..)?;
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            Some(Record::Mapped(Mapping {
                pid: u32_at(raw, 8)?,
                start: u64_at(raw, 16)?,
                length: u64_at(raw, 24)?,
                dev: FileId::kernel_dev(u32_at(raw, 40)?, u32_at(raw, 44)?),
                ino: u64_at(raw, 48)?,
                name: name[..end].to_vec(),
            }))
        }
        _ => Some(Record::Other),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn mmap2(pid: u32, prot: u32, ino: u64, name: &[u8]) -> Vec<u8> {
        let mut raw = vec![0; 72];
        raw[..4].copy_from_slice(&MMAP2.to_ne_bytes());
        raw[8..12].copy_from_slice(&pid.to_ne_bytes());
        raw[16..24].copy_from_slice(&0x1000_u64.to_ne_bytes());
        raw[24..32].copy_from_slice(&0x2000_u64.to_ne_bytes());
        raw[40..44].copy_from_slice(&8_u32.to_ne_bytes());
        raw[44..48].copy_from_slice(&1_u32.to_ne_bytes());
        raw[48..56].copy_from_slice(&ino.to_ne_bytes());
        raw[64..68].copy_from_slice(&prot.to_ne_bytes());
        raw.extend_from_slice(name);
        raw.push(0);
        raw
    }

    fn behind(ino: u64, name: &[u8]) -> Behind {
        match parse(&mmap2(1, 5, ino, name)) {
            Record::Mapped(mapping) => mapping.behind(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_stands_behind_is_told_by_inode_and_name() {
        assert_eq!(behind(7, b"/bin/sh"), Behind::File);
        assert_eq!(behind(7, b"/memfd:x (deleted)"), Behind::Memfd);
        assert_eq!(behind(7, b"/dev/zero (deleted)"), Behind::Anonymous);
        assert_eq!(behind(0, b"//anon"), Behind::Anonymous);
        assert_eq!(behind(0, b"[heap]"), Behind::Anonymous);
        assert_eq!(behind(0, b"[vdso]"), Behind::Kernel);
        // A file may have any name; its inode tells it from the kernel's mappings.
        assert_eq!(behind(7, b"/[vdso]"), Behind::File);
    }

    #[test]
    fn a_mapping_that_is_not_executable_is_nothing() {
        assert_eq!(parse(&mmap2(1, 1, 7, b"/etc/passwd")), Record::Other);
    }

    #[test]
    fn a_loss_has_its_number_and_a_cut_record_is_one() {
        let mut raw = vec![0; 24];
        raw[..4].copy_from_slice(&LOST.to_ne_bytes());
        raw[16..].copy_from_slice(&9_u64.to_ne_bytes());
        assert_eq!(parse(&raw), Record::Lost(9));
        assert_eq!(parse(&raw[..20]), Record::Lost(1));
        assert_eq!(parse(&[]), Record::Lost(1));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_u32..12) {
            let mut raw = raw;
            if raw.len() > 4 {
                raw[..4].copy_from_slice(&kind.to_ne_bytes());
            }
            if let Record::Mapped(mapping) = parse(&raw) {
                let _ = (mapping.behind(), mapping.range());
            }
        }
    }
}
