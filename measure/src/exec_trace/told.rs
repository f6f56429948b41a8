//! What the kernel's programs tell: `struct event` of `bpf/lacre.h`, read.

use lacre_types::FileId;

use super::abi::{u32_at, u64_at};

const ARGV_MAX: usize = 512;
const NAMES_AT: usize = ARGV_MAX;
const FILENAME_AT: usize = NAMES_AT + 1024 + 256;
const FILENAME_MAX: usize = 512;
pub(super) const WHOLE_MAX: usize = 4096;
const WHOLE_AT: usize = FILENAME_AT + FILENAME_MAX;
const DATA_AT: usize = 96;
/// `TOLD_ELSEWHERE`.
pub(super) const ELSEWHERE: u32 = 1 << 10;

/// `enum event_kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Exec,
    Loader,
    Arguments,
    Fetch,
    Memory,
    Unchecked,
}

/// `struct event`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) kind: Kind,
    pub(super) flags: u32,
    pub(super) pid: u32,
    pub(super) uid: u32,
    /// When the process began, nanoseconds since boot.
    pub(super) start: u64,
    /// When it executed what it runs, nanoseconds since boot, and so which exec it was; 0 where
    /// that is not told.
    pub(super) exec: u64,
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) key: FileId,
    pub(super) argv: Vec<Vec<u8>>,
    /// There are more arguments, or the last is longer.
    argv_cut: bool,
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

    /// Somebody has it open for writing, or mapped so.
    pub(super) const fn written(&self) -> bool {
        self.flags & 1 << 3 != 0
    }

    /// Of no file system that anybody mounts.
    pub(super) const fn nameless(&self) -> bool {
        self.flags & 1 << 6 != 0
    }

    /// Memory of several mappings.
    pub(super) const fn shared(&self) -> bool {
        self.flags & 1 << 8 != 0
    }

    /// It came with the image, whether as code or not, and was let run.
    pub(super) const fn images(&self) -> bool {
        self.flags & 1 << 9 != 0
    }

    /// Its root or its mounts were not its container's.
    pub(super) const fn elsewhere(&self) -> bool {
        self.flags & ELSEWHERE != 0
    }

    /// Nothing was to be killed at that moment.
    pub(super) const fn watched(&self) -> bool {
        self.flags & 1 << 7 != 0
    }

    /// Whether there are more arguments, or the last is longer.
    pub(super) const fn argv_cut(&self) -> bool {
        self.argv_cut
    }

    /// Whether the script's name may be longer.
    pub(super) fn filename_cut(&self) -> bool {
        self.filename.as_ref().is_some_and(|name| name.len() + 1 >= FILENAME_MAX)
    }

    /// An interpreter that runs already, as though it were executed now: its arguments are
    /// still to be read. `watched` where nothing is to be killed for it.
    pub(super) const fn running(
        (pid, uid, start): (u32, u32, u64),
        key: FileId,
        watched: bool,
    ) -> Self {
        Self {
            kind: Kind::Arguments,
            // Which root it had, nobody has noted.
            flags: ELSEWHERE | if watched { 1 << 7 } else { 0 },
            pid,
            uid,
            start,
            exec: 0,
            address: 0,
            size: 0,
            key,
            argv: Vec::new(),
            argv_cut: false,
            path: None,
            filename: None,
        }
    }

    /// Reads an event; `None` when it is not one.
    pub(super) fn parse(raw: &[u8]) -> Option<Self> {
        const CUT: u32 = 1 << 5;
        let kind = match u32_at(raw, 0)? {
            1 => Kind::Exec,
            2 => Kind::Loader,
            3 => Kind::Arguments,
            4 => Kind::Fetch,
            5 => Kind::Memory,
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
        let whole_len = length(88)?.min(WHOLE_MAX);
        let (argv, argv_cut) = match (argv_len, whole_len) {
            (0, 0) => (&[][..], false),
            (_, 0) => (part(0, argv_len)?, argv_len == ARGV_MAX),
            _ => (part(WHOLE_AT, whole_len)?, whole_len == WHOLE_MAX),
        };
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
            exec: u64_at(raw, 80)?,
            address: u64_at(raw, 24)?,
            size: u64_at(raw, 32)?,
            key,
            argv: split_argv(argv),
            argv_cut,
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(kind: u32, argv: &[u8], names: &[u8]) -> Vec<u8> {
        let mut raw = vec![0; DATA_AT + WHOLE_AT + WHOLE_MAX];
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
    fn a_long_command_line_is_whole() {
        let line = b"sed\0-n\0".iter().chain([b'p'; 1000].iter()).chain(b"\0-f\0x\0");
        let line: Vec<u8> = line.copied().collect();
        let mut raw = event(3, &line[..ARGV_MAX], b"");
        assert!(Told::parse(&raw).unwrap().argv_cut());
        raw[88..92].copy_from_slice(&(line.len() as u32).to_ne_bytes());
        raw[DATA_AT + WHOLE_AT..][..line.len()].copy_from_slice(&line);
        let told = Told::parse(&raw).unwrap();
        assert!(!told.argv_cut());
        assert_eq!(told.argv.len(), 5);
        assert_eq!(told.argv.last().map(Vec::as_slice), Some(&b"x"[..]));
        raw[88..92].copy_from_slice(&(WHOLE_MAX as u32).to_ne_bytes());
        assert!(Told::parse(&raw).unwrap().argv_cut());
    }

    #[test]
    fn an_argument_that_was_cut_off_is_no_argument() {
        assert_eq!(split_argv(b"sh\0/tmp/lo"), [b"sh".to_vec()]);
        assert_eq!(split_argv(b""), Vec::<Vec<u8>>::new());
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
