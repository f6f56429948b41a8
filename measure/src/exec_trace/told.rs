//! What the kernel's programs tell: `struct event` of `bpf/lacre.h`, read.

use lacre_types::FileId;

use super::abi::{u32_at, u64_at};
use crate::interpreter::Extent;

/// The bytes of an argument that are told, without its NUL.
const ARG_MAX: usize = 511;
pub(super) const ARGV_MAX: usize = 4096;
/// From here on, bare arguments behind bare ones may be left out.
const BARE_MAX: usize = 2048;
const NAMES_MAX: usize = 1024 + 256;
const FILENAME_MAX: usize = 512;
const DATA_AT: usize = 88;
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

    /// How much of its arguments is told.
    pub(super) fn extent(&self) -> Extent {
        const ARGV_CUT: u32 = 1 << 11;
        const LEFT_OUT: u32 = 1 << 12;
        let mut at = 0;
        let before = self.argv.iter().take_while(|argument| {
            let is_before = at < BARE_MAX;
            at += argument.len() + 1;
            is_before
        });
        let behind = self.argv.len() - before.count();
        Extent {
            longest: ARG_MAX,
            is_open: self.flags & ARGV_CUT != 0,
            gaps: (self.flags & LEFT_OUT != 0).then_some(behind),
        }
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
        let names_len = length(68)?.min(NAMES_MAX);
        let filename_len = length(72)?.min(FILENAME_MAX);
        let argv = part(0, argv_len)?;
        let path = if names_len == 0 {
            (flags & CUT == 0).then(|| b"/".to_vec())
        } else {
            let names = part(argv_len, names_len)?;
            (flags & CUT == 0).then(|| join_upwards(names))
        };
        let filename = if filename_len == 0 {
            None
        } else {
            let name = part(argv_len + names_len, filename_len)?;
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
        let mut raw = vec![0; DATA_AT];
        raw[..4].copy_from_slice(&kind.to_ne_bytes());
        raw[64..68].copy_from_slice(&(argv.len() as u32).to_ne_bytes());
        raw[68..72].copy_from_slice(&(names.len() as u32).to_ne_bytes());
        raw.extend_from_slice(argv);
        raw.extend_from_slice(names);
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
    fn what_may_be_left_out_begins_behind_the_first_bare_ones() {
        let line: Vec<u8> = [&b"sed\0p\0"[..], &b"file\0".repeat(450)].concat();
        let mut raw = event(3, &line, b"bin\0");
        let told = Told::parse(&raw).unwrap();
        assert_eq!(told.path.as_deref(), Some(&b"/bin"[..]));
        assert_eq!((told.extent().gaps, told.extent().is_open), (None, false));
        raw[4..8].copy_from_slice(&(1_u32 << 12 | 1 << 11).to_ne_bytes());
        let told = Told::parse(&raw).unwrap();
        let (gaps, at) = (told.extent().gaps.unwrap(), BARE_MAX);
        let before: usize = told.argv.iter().rev().skip(gaps).map(|it| it.len() + 1).sum();
        assert!((at..at + 5).contains(&before), "{before}");
        assert!(told.extent().is_open);
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
