//! Whose a line of the host's list is, where its template tells.

use std::io;
use std::os::unix::fs::MetadataExt as _;

use lacre_attest::ima::Container;

/// `PROC_CGROUP_INIT_INO` (include/linux/proc_ns.h): the number of the first cgroup namespace.
const FIRST: u64 = 0xEFFF_FFFB;

/// What a line's template tells of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// This container's.
    Ours,
    /// Another's, or the host's.
    Others,
    /// It does not tell.
    Untold,
}

/// What the templates that carry a container know it by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Owner {
    /// Its cgroup's path in each hierarchy, in its distinct forms.
    cgroups: Vec<Vec<u8>>,
    /// Whether those are the paths that the kernel writes: it writes them from the root of all,
    /// and shows them from that of the reader's cgroup namespace (a node that is a container).
    absolute: bool,
    /// The number of its IMA namespace, where the kernel has such.
    namespace: Option<u64>,
}

impl Owner {
    /// The container of a process that waits to be started, in its cgroups already.
    pub(super) fn of(init: u32) -> io::Result<Self> {
        let Self { cgroups, absolute, .. } =
            Self::of_ended(&std::fs::read(format!("/proc/{init}/cgroup"))?);
        let own = std::fs::metadata("/proc/self/ns/ima").map(|meta| meta.ino());
        let its = std::fs::metadata(format!("/proc/{init}/ns/ima")).map(|meta| meta.ino());
        // Shared with the host, it tells nothing.
        let namespace = its.ok().filter(|its| own.is_ok_and(|own| own != *its));
        Ok(Self { cgroups, absolute, namespace })
    }

    /// A container of which nobody is left: by the cgroups that its first process had, as
    /// `/proc/PID/cgroup` has them.
    pub(super) fn of_ended(text: &[u8]) -> Self {
        let absolute = match std::fs::metadata("/proc/self/ns/cgroup") {
            Ok(meta) => meta.ino() == FIRST,
            Err(why) => why.kind() == io::ErrorKind::NotFound,
        };
        Self { cgroups: cgroups(text), absolute, namespace: None }
    }

    /// The container of that cgroup.
    #[cfg(test)]
    pub(super) fn in_cgroup(path: &str) -> Self {
        Self { cgroups: vec![path.into()], absolute: true, namespace: None }
    }

    pub(super) fn whose(&self, told: Option<Container<'_>>) -> Whose {
        match told {
            None => Whose::Untold,
            Some(Container::CgroupPath(path)) if self.absolute && !self.cgroups.is_empty() => {
                let within = |cgroup: &Vec<u8>| {
                    path.strip_prefix(cgroup.as_slice())
                        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
                };
                if self.cgroups.iter().any(within) { Whose::Ours } else { Whose::Others }
            }
            // A name alone may be that of a cgroup that the container has made within its own.
            Some(Container::CgroupName(name)) => {
                let is_it = |cgroup: &Vec<u8>| cgroup.rsplit(|b| *b == b'/').next() == Some(name);
                if self.cgroups.iter().any(is_it) { Whose::Ours } else { Whose::Untold }
            }
            Some(Container::Namespace(value)) => match (self.namespace, number(value)) {
                (Some(own), Some(told)) if own == told => Whose::Ours,
                (Some(_), Some(_)) => Whose::Others,
                _ => Whose::Untold,
            },
            Some(Container::CgroupPath(_)) => Whose::Untold,
        }
    }
}

/// `HIERARCHY:CONTROLLERS:PATH` a line (cgroups(7)). A root is everybody's, and a path that
/// leads out of the reader's cgroup namespace is not the one that the kernel writes.
fn cgroups(text: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.splitn(3, |byte| *byte == b':').nth(2))
        .filter(|path| path.len() > 1 && path.starts_with(b"/") && !path.starts_with(b"/.."))
        .map(<[u8]>::to_vec)
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The number of a namespace: as the kernel has it in memory, or as text.
fn number(value: &[u8]) -> Option<u64> {
    if let Ok(bytes) = value.try_into() {
        return Some(u64::from_le_bytes(bytes));
    }
    if let Ok(bytes) = value.try_into() {
        return Some(u64::from(u32::from_le_bytes(bytes)));
    }
    std::str::from_utf8(value).ok()?.trim_end_matches('\0').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        let text = b"12:memory:/lacre/web\n1:name=systemd:/\n0::/lacre/web\n5:cpu:/../x\n";
        Owner { cgroups: cgroups(text), absolute: true, namespace: Some(4_026_532_001) }
    }

    #[test]
    fn a_path_is_the_containers_own_or_one_beneath_it() {
        let whose = |path: &str| owner().whose(Some(Container::CgroupPath(path.as_bytes())));
        assert_eq!(whose("/lacre/web"), Whose::Ours);
        assert_eq!(whose("/lacre/web/init.scope"), Whose::Ours);
        assert_eq!(whose("/lacre/web2"), Whose::Others);
        assert_eq!(whose("/"), Whose::Others);
        assert_eq!(whose("/x"), Whose::Others);
    }

    #[test]
    fn a_path_that_is_shown_from_elsewhere_is_nobodys() {
        let within = Owner { absolute: false, ..owner() };
        for path in ["/lacre/web", "/docker/node/lacre/web", "/lacre/other"] {
            let whose = within.whose(Some(Container::CgroupPath(path.as_bytes())));
            assert_eq!(whose, Whose::Untold, "{path}");
        }
    }

    #[test]
    fn a_name_proves_but_its_absence_does_not() {
        let whose = |name: &str| owner().whose(Some(Container::CgroupName(name.as_bytes())));
        assert_eq!(whose("web"), Whose::Ours);
        assert_eq!(whose("init.scope"), Whose::Untold);
    }

    #[test]
    fn a_namespace_is_a_number_however_it_is_written() {
        let whose = |value: &[u8]| owner().whose(Some(Container::Namespace(value)));
        assert_eq!(whose(&4_026_532_001u32.to_le_bytes()), Whose::Ours);
        assert_eq!(whose(&4_026_532_001u64.to_le_bytes()), Whose::Ours);
        assert_eq!(whose(b"4026532001"), Whose::Ours);
        assert_eq!(whose(&7u32.to_le_bytes()), Whose::Others);
        assert_eq!(whose(b"?"), Whose::Untold);
    }

    #[test]
    fn without_a_cgroup_of_its_own_nothing_is_known() {
        let nobody = Owner { cgroups: cgroups(b"0::/\n"), absolute: true, namespace: None };
        assert_eq!(nobody.whose(Some(Container::CgroupPath(b"/"))), Whose::Untold);
        assert_eq!(nobody.whose(Some(Container::CgroupPath(b"/x"))), Whose::Untold);
        assert_eq!(nobody.whose(None), Whose::Untold);
    }
}
