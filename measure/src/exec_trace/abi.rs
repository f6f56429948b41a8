//! The other half of `bpf/lacre.h`: what the programs and user space share.

use lacre_types::FileId;

use crate::LetPass;

pub(super) const VERDICT_INTERPRETER: u32 = 1 << 0;
pub(super) const VERDICT_MULTICALL: u32 = 1 << 1;
pub(super) const VERDICT_SCRIPT_AFTER_C: u32 = 1 << 2;

pub(super) const SLOT_ENFORCE: u32 = 1 << 0;
pub(super) const SLOT_FAULTS: u32 = 1 << 1;
pub(super) const SLOT_SPARE_MEMORY: u32 = 1 << 2;
pub(super) const SLOT_SPARE_PROGRAMS: u32 = 1 << 3;
pub(super) const SLOT_ANY_NAME: u32 = 1 << 4;

pub(super) const KEY_SIZE: usize = 24;
pub(super) const TAG_SIZE: usize = 48;
pub(super) const SLOT_SIZE: usize = 88;

const ARGV_MAX: usize = 512;
const NAMES_AT: usize = ARGV_MAX;
const FILENAME_AT: usize = NAMES_AT + 1024 + 256;
const FILENAME_MAX: usize = 512;
const DATA_AT: usize = 88;
/// `TOLD_ELSEWHERE`.
pub(super) const ELSEWHERE: u32 = 1 << 10;

/// `struct file_key`.
pub(super) fn key(id: &FileId) -> [u8; KEY_SIZE] {
    let mut bytes = [0; KEY_SIZE];
    bytes[..8].copy_from_slice(&id.ino.to_ne_bytes());
    bytes[8..12].copy_from_slice(&id.dev.to_ne_bytes());
    bytes[12..16].copy_from_slice(&id.ctime_nsec.to_ne_bytes());
    bytes[16..].copy_from_slice(&id.ctime_sec.to_ne_bytes());
    bytes
}

/// The key by which a file of the container's root is kept still: its overlay, and its inode
/// there.
pub(super) fn leased_key(dev: u32, ino: u64) -> [u8; KEY_SIZE] {
    const LEASED_NSEC: u32 = u32::MAX - 1;
    key(&FileId { dev, ino, ctime_sec: 0, ctime_nsec: LEASED_NSEC })
}

/// `struct tag` of a task that has not yet executed anything of the container.
pub(super) fn tag(slot: u64) -> [u8; TAG_SIZE] {
    let mut bytes = [0; TAG_SIZE];
    bytes[..8].copy_from_slice(&slot.to_ne_bytes());
    bytes
}

/// The process of a `struct stray`, and when it began, nanoseconds since boot.
pub(super) fn stray(key: &[u8]) -> Option<(u32, u64)> {
    Some((u32_at(key, 8)?, u64_at(key, 0)?))
}

/// The container's number in a `struct tag`, and which exec brought what the task runs.
pub(super) fn exec_of(tag: &[u8]) -> Option<(u64, u64)> {
    Some((u64_at(tag, 0)?, u64_at(tag, 40)?))
}

/// Whether the task of a `struct tag` has executed anything of the container.
pub(super) fn has_executed(tag: &[u8]) -> bool {
    u32_at(tag, 8).is_some_and(|flags| flags & 1 != 0)
}

/// The overlay that is a container's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root {
    /// Its device, as the kernel numbers it.
    pub(super) dev: u32,
    /// When its upper directory was made: seconds and nanoseconds since 1970.
    pub(super) birth: (i64, u32),
}

/// By which the paths of one container are hashed: nobody in it knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Secret {
    pub(super) seed: u64,
    /// Odd, so that no byte is lost.
    pub(super) multiplier: u64,
}

impl Secret {
    /// Of a path as a walk from the file finds it: its names, each ended by a zero byte.
    fn hash(self, path: &[u8]) -> u64 {
        let names = path.split(|byte| *byte == b'/').rev().filter(|name| !name.is_empty());
        let bytes = names.flat_map(|name| name.iter().copied().chain([0]));
        bytes.fold(self.seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(self.multiplier))
    }
}

/// What the programs know of one container from the beginning.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    pub(super) flags: u32,
    pub(super) root: Option<Root>,
    /// Its mount namespace, if that is its own, and the node's.
    pub(super) namespaces: (u32, u32),
    /// Which set of rules by path holds; 0: none.
    pub(super) rules: u32,
    pub(super) secret: Option<Secret>,
    /// The process that keeps files still; 0: none does.
    pub(super) guard: u32,
}

/// `struct slot` with its counters at zero.
pub(super) fn slot(terms: &Terms) -> [u8; SLOT_SIZE] {
    let mut bytes = [0; SLOT_SIZE];
    bytes[..4].copy_from_slice(&terms.flags.to_ne_bytes());
    if let Some(Root { dev, birth: (seconds, nanoseconds) }) = terms.root {
        bytes[4..8].copy_from_slice(&dev.to_ne_bytes());
        bytes[40..48].copy_from_slice(&seconds.to_ne_bytes());
        bytes[48..52].copy_from_slice(&nanoseconds.to_ne_bytes());
    }
    set_rules(&mut bytes, terms.rules);
    bytes[56..60].copy_from_slice(&terms.namespaces.0.to_ne_bytes());
    bytes[60..64].copy_from_slice(&terms.namespaces.1.to_ne_bytes());
    if let Some(Secret { seed, multiplier }) = terms.secret {
        bytes[64..72].copy_from_slice(&seed.to_ne_bytes());
        bytes[72..80].copy_from_slice(&multiplier.to_ne_bytes());
    }
    bytes[80..84].copy_from_slice(&terms.guard.to_ne_bytes());
    bytes
}

/// Which rules by path hold from now on.
pub(super) fn set_rules(slot: &mut [u8], rules: u32) {
    if let Some(bytes) = slot.get_mut(52..56) {
        bytes.copy_from_slice(&rules.to_ne_bytes());
    }
}

/// The keys and values of a set of rules by path: `RULE_STEP` and `RULE_LISTED`.
pub(super) fn rules(number: u32, let_pass: &LetPass, secret: Secret) -> Vec<([u8; KEY_SIZE], u32)> {
    const STEP: u32 = 0;
    const LISTED: u32 = 1;
    const END: u64 = 257;
    let entry = |dev, ino: u64, value| {
        let id = FileId { dev, ino, ctime_sec: number.into(), ctime_nsec: u32::MAX };
        (key(&id), value)
    };
    let step = |state: u16, by: u64| u64::from(state) << 9 | by;
    let steps = let_pass.transitions.iter();
    let steps = steps.map(|(from, by, to)| entry(STEP, step(*from, (*by).into()), (*to).into()));
    let ends = let_pass.lets_run.iter().map(|state| entry(STEP, step(*state, END), 1));
    let listed = let_pass.listed.iter();
    let listed =
        listed.map(|(path, may)| entry(LISTED, secret.hash(path.as_bytes()), u32::from(*may)));
    steps.chain(ends).chain(listed).collect()
}

/// Sets some of the flags of a `struct slot`, and clears others.
pub(super) fn change_flags(slot: &mut [u8], set: u32, clear: u32) {
    let change = set.to_ne_bytes().into_iter().zip(clear.to_ne_bytes());
    for (byte, (set, clear)) in slot.iter_mut().zip(change) {
        *byte = *byte & !clear | set;
    }
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
    argv_len: usize,
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
        self.argv_len >= ARGV_MAX
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
            flags: if watched { 1 << 7 } else { 0 },
            pid,
            uid,
            start,
            exec: 0,
            address: 0,
            size: 0,
            key,
            argv: Vec::new(),
            argv_len: 0,
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
            exec: u64_at(raw, 80)?,
            address: u64_at(raw, 24)?,
            size: u64_at(raw, 32)?,
            key,
            argv: split_argv(argv),
            argv_len,
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
