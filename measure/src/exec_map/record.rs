//! Perf records, read. Pure.

use lacre_types::FileId;

/// `PERF_RECORD_LOST` and `PERF_RECORD_MMAP2` (linux/perf_event.h).
const LOST: u32 = 2;
const MMAP2: u32 = 10;
const PROT_WRITE: u32 = 2;
const PROT_EXEC: u32 = 4;
const MAP_SHARED: u32 = 1;

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
    /// Others may map the same.
    pub(super) shared: bool,
    /// It may be written to, too.
    pub(super) writable: bool,
    pub(super) name: Vec<u8>,
}

/// What stands behind a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// A file, by its path.
    File,
    Memfd,
    /// Memory without a name that may be others' too: System V's, /dev/zero's.
    Shared,
    /// Memory of the process's own.
    Private,
    /// The kernel's own: vdso, vsyscall, uprobes.
    Kernel,
}

impl Mapping {
    /// `nameless`: the devices of the file systems that the kernel mounts for itself. A file
    /// may have any name.
    pub(super) fn behind(&self, nameless: &[u32]) -> Behind {
        let name = self.name.as_slice();
        if self.ino == 0 {
            return match name {
                b"[vdso]" | b"[vsyscall]" | b"[vectors]" | b"[uprobes]" => Behind::Kernel,
                _ => Behind::Private,
            };
        }
        match nameless.contains(&self.dev) {
            true if name.starts_with(b"/memfd:") => Behind::Memfd,
            true => Behind::Shared,
            false => Behind::File,
        }
    }

    /// Its name in `/proc/PID/map_files`.
    pub(super) fn range(&self) -> String {
        format!("{:x}-{:x}", self.start, self.start.saturating_add(self.length))
    }
}

/// A line of `/proc/PID/maps` (proc_pid_maps(5)), if it is of an executable mapping.
pub(super) fn of_maps(pid: u32, line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut next = || {
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let word = std::str::from_utf8(&rest[..end]).ok();
        rest = rest.get(end + 1..).unwrap_or_default();
        word
    };
    let (range, flags, _offset, dev, ino) = (next()?, next()?, next()?, next()?, next()?);
    if flags.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let (start, end) = range.split_once('-')?;
    let (start, end) = (hex(start)?, hex(end)?);
    let (major, minor) = dev.split_once(':')?;
    let (major, minor) = (hex(major)?, hex(minor)?);
    Some(Mapping {
        pid,
        start,
        length: end.checked_sub(start)?,
        dev: FileId::kernel_dev(u32::try_from(major).ok()?, u32::try_from(minor).ok()?),
        ino: ino.parse().ok()?,
        shared: flags.as_bytes().get(3) == Some(&b's'),
        writable: flags.as_bytes().get(1) == Some(&b'w'),
        name: unescaped(rest.trim_ascii_start()),
    })
}

/// A line feed within a name is `\012` there, and nothing else is escaped.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        match rest.strip_prefix(b"\\012") {
            Some(after) => {
                plain.push(b'\n');
                rest = after;
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

/// Reads a record; one that is cut short is a loss.
pub(super) fn parse(raw: &[u8]) -> Record {
    mapped_or_lost(raw).unwrap_or(Record::Lost(1))
}

fn mapped_or_lost(raw: &[u8]) -> Option<Record> {
    match u32_at(raw, 0)? {
        LOST => Some(Record::Lost(u64_at(raw, 16)?)),
        MMAP2 => {
            let protection = u32_at(raw, 64)?;
            if protection & PROT_EXEC == 0 {
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
                shared: u32_at(raw, 68)? & MAP_SHARED != 0,
                writable: protection & PROT_WRITE != 0,
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

    /// As the kernel writes it, with names that would deceive who splits at spaces.
    #[test]
    fn a_line_of_maps_is_a_mapping_if_it_is_executable() {
        let line =
            b"7f0000001000-7f0000003000 r-xp 00002000 08:01 4242                       /a b\\012c";
        let mapping = of_maps(7, line).unwrap();
        assert_eq!((mapping.pid, mapping.start, mapping.length), (7, 0x7f00_0000_1000, 0x2000));
        assert_eq!((mapping.dev, mapping.ino), (FileId::kernel_dev(8, 1), 4242));
        assert_eq!(mapping.name, b"/a b\nc");
        let anonymous = of_maps(7, b"1000-2000 rwxp 00000000 00:00 0 ").unwrap();
        assert_eq!((anonymous.behind(&[]), anonymous.name.len()), (Behind::Private, 0));
        assert!(of_maps(7, b"1000-2000 r-xs 00000000 00:01 7 /x").unwrap().shared);
        assert_eq!(of_maps(7, b"1000-2000 rw-p 00000000 08:01 7 /r-x"), None);
        for broken in
            [&b""[..], b"1000-2000 r-xp", b"2000-1000 r-xp 0 08:01 7 /a", b"x-y r-xp 0 8:1 7"]
        {
            assert_eq!(of_maps(7, broken), None);
        }
        let own = std::fs::read("/proc/self/maps").unwrap();
        let own = own.split(|byte| *byte == b'\n').filter_map(|line| of_maps(1, line));
        assert!(own.filter(|mapping| mapping.behind(&[]) == Behind::File).count() > 1);
    }

    fn behind(ino: u64, name: &[u8]) -> Behind {
        match parse(&mmap2(1, 5, ino, name)) {
            Record::Mapped(mapping) => mapping.behind(&[FileId::kernel_dev(8, 1)]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_stands_behind_is_told_by_inode_and_name() {
        assert_eq!(behind(7, b"/memfd:x (deleted)"), Behind::Memfd);
        assert_eq!(behind(7, b"/dev/zero (deleted)"), Behind::Shared);
        assert_eq!(behind(7, b"/SYSV00000000 (deleted)"), Behind::Shared);
        assert_eq!(behind(0, b"//anon"), Behind::Private);
        assert_eq!(behind(0, b"[heap]"), Behind::Private);
        assert_eq!(behind(0, b"[vdso]"), Behind::Kernel);
        // A file may have any name; its file system tells it from the kernel's.
        for name in [&b"/memfd:x (deleted)"[..], b"/SYSV0", b"/dev/zero (deleted)", b"/[vdso]"] {
            let Record::Mapped(mapping) = parse(&mmap2(1, 5, 7, name)) else { panic!() };
            assert_eq!(mapping.behind(&[FileId::kernel_dev(0, 1)]), Behind::File);
        }
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
                let _ = (mapping.behind(&[8]), mapping.range());
            }
        }
    }
}
