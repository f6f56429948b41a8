//! The kernel, and what it has for lacre besides its sources.

use std::fs;
use std::io;
use std::path::Path;

use rustix::thread::{CapabilitySet, capabilities};

use crate::facts::{Cgroups, FanotifyLimits, Ima, Kernel, Seen, Tpm};

/// `BPF_FS_MAGIC` (linux/magic.h).
const BPF_FS: u64 = 0xcafe_4a11;
/// `CGROUP2_SUPER_MAGIC`.
const CGROUP_2: u64 = 0x6367_7270;

fn magic(path: &str) -> Option<u64> {
    rustix::fs::statfs(path).ok().map(|found| found.f_type as u64)
}

pub(super) fn kernel() -> Kernel {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| lacre_types::escape(text.to_bytes());
    let modules = match fs::read_to_string("/sys/kernel/security/lsm") {
        Ok(list) => Seen::Seen(list.trim().split(',').map(str::to_owned).collect()),
        Err(error) => Seen::Unseen(format!("/sys/kernel/security/lsm: {error}")),
    };
    let systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    Kernel {
        release: text(uname.release()),
        machine: text(uname.machine()),
        modules,
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        bpffs: magic("/sys/fs/bpf") == Some(BPF_FS),
        overlay: systems.lines().any(|line| line.split_whitespace().last() == Some("overlay")),
    }
}

pub(super) fn ima() -> Ima {
    let folder = Path::new("/sys/kernel/security/ima");
    let lines = fs::read_to_string(folder.join("runtime_measurements_count"));
    Ima { is_there: folder.exists(), lines: lines.ok().and_then(|text| text.trim().parse().ok()) }
}

pub(super) fn tpm() -> Tpm {
    let version = fs::read_to_string("/sys/class/tpm/tpm0/tpm_version_major");
    Tpm {
        device: Path::new("/dev/tpmrm0").exists(),
        version: version.ok().map(|text| text.trim().to_owned()),
    }
}

pub(super) fn fanotify_limits() -> FanotifyLimits {
    let groups = fs::read_to_string("/proc/sys/fs/fanotify/max_user_groups");
    let set_uid = capabilities(None).is_ok_and(|had| had.effective.contains(CapabilitySet::SETUID));
    FanotifyLimits {
        groups: groups.ok().and_then(|text| text.trim().parse().ok()),
        // Those that groups are made under (lacre-measure, fanotify/groups.rs).
        other_users: set_uid && maps_whole_range(),
    }
}

/// Whether the user namespace has the users from 2³¹ on.
fn maps_whole_range() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        first.zip(count).is_some_and(|(first, count)| {
            first <= 1 << 31 && first.saturating_add(count) >= 0xffff_0000
        })
    })
}

/// The first one maps every user to itself.
pub(super) fn is_first_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

pub(super) fn cgroups() -> Cgroups {
    let root = "/sys/fs/cgroup";
    if magic(root) == Some(CGROUP_2) {
        return Cgroups::V2;
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let has = |kind: &str| mounts.lines().any(|line| line.split(' ').nth(2) == Some(kind));
    match (has("cgroup"), has("cgroup2")) {
        (true, true) => Cgroups::Hybrid,
        (true, false) => Cgroups::V1,
        (false, true) => Cgroups::V2,
        (false, false) => Cgroups::None,
    }
}

/// A directory's disk, or that of the nearest one above that is there.
///
/// # Errors
/// When not even `/` can be asked.
pub(super) fn disk(path: &Path) -> io::Result<(std::path::PathBuf, u64, u64, bool)> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let found = rustix::fs::statvfs(there)?;
    let read_only = found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok((there.to_owned(), bytes(found.f_blocks), bytes(found.f_bavail), read_only))
}
