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

/// A container's name in the maps: the SHA-256 of what it is called.
pub(super) type Name = [u8; 32];

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

/// `struct exec_id`.
pub(super) fn exec_id(slot: u64, exec: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&slot.to_ne_bytes());
    bytes[8..].copy_from_slice(&exec.to_ne_bytes());
    bytes
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
    set_root(&mut bytes, terms.root);
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

/// Which overlay the container's image is on; of none nothing is the image's.
pub(super) fn set_root(slot: &mut [u8], root: Option<Root>) {
    let Root { dev, birth: (seconds, nanoseconds) } =
        root.unwrap_or(Root { dev: 0, birth: (0, 0) });
    if let Some(bytes) = slot.get_mut(..52) {
        bytes[4..8].copy_from_slice(&dev.to_ne_bytes());
        bytes[40..48].copy_from_slice(&seconds.to_ne_bytes());
        bytes[48..52].copy_from_slice(&nanoseconds.to_ne_bytes());
    }
}

/// Whether something may be the image's by its date.
pub(super) fn has_root(slot: &[u8]) -> bool {
    u32_at(slot, 4).is_some_and(|root| root != 0)
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

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back() {
        let entry = Entry { slot: 7, ns_id: 8, inum: 9, owner: 10, owner_start: 11 };
        assert_eq!(Entry::parse(&entry.bytes()), Some(entry));
    }
}
