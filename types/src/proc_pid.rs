//! `/proc/PID/stat`, `status` and `cgroup`, as proc(5) and cgroups(7) tell them.
//!
//! A process gives itself any name, of any bytes, and so does who makes a cgroup: the files need
//! not be UTF-8. Who reads them as text takes such a process for one that has gone.

use std::str::FromStr;

/// A field of `/proc/PID/stat`, by its number in proc(5), from 3. Of the two before it one is the
/// name, in brackets, which may itself hold spaces and brackets: what follows the last one begins
/// with field 3.
#[must_use]
pub fn stat_field<T: FromStr>(stat: &[u8], number: usize) -> Option<T> {
    let after = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[after + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// The words of a line of `/proc/PID/status`, as of `NSpid`. The name, which stands before all
/// else, has no line feed there: the kernel writes it as `\n`.
pub fn status_field<'a>(
    status: &'a [u8],
    name: &str,
) -> Option<impl DoubleEndedIterator<Item = &'a str> + Clone + use<'a>> {
    let line = status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))?;
    Some(std::str::from_utf8(line).ok()?.split_ascii_whitespace())
}

/// A line of `/proc/PID/cgroup`: `6:freezer:/default/one` (v1), `0::/default/one` (v2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership<'a> {
    /// The hierarchy's number: 0 of version 2.
    pub hierarchy: &'a [u8],
    /// Its controllers, with commas between: none of version 2.
    pub controllers: &'a [u8],
    /// The cgroup, beneath the root of the reader's own cgroup namespace. It may hold colons.
    pub path: &'a [u8],
}

impl Membership<'_> {
    /// Whether the hierarchy has that controller, by version 1.
    #[must_use]
    pub fn controls(&self, controller: &str) -> bool {
        let mut all = self.controllers.split(|byte| *byte == b',');
        all.any(|name| name == controller.as_bytes())
    }

    /// Whether it is the one hierarchy of version 2.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        self.hierarchy == b"0" && self.controllers.is_empty()
    }
}

/// The cgroups of a process, one for each hierarchy.
pub fn memberships(table: &[u8]) -> impl Iterator<Item = Membership<'_>> {
    table.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let (hierarchy, controllers) = (fields.next()?, fields.next()?);
        Some(Membership { hierarchy, controllers, path: fields.next()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_name_cannot_deceive() {
        let line = b"7 (a) Z 1) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(stat_field(line, 22), Some(4242_u64));
        assert_eq!(stat_field(line, 4), Some(1_u32));
        assert_eq!(stat_field(line, 3), Some('S'));
        assert_eq!(stat_field(b"7 (\xff) S 1 7", 4), Some(1_u32));
        assert_eq!(stat_field::<u64>(b"7 (a) Z 1 7", 22), None);
        assert_eq!(stat_field::<u64>(b"7 (a) Z 1 7", 2), None);
        assert_eq!(stat_field::<u64>(b"", 22), None);
        let status = b"Name:\tPPid:\\n \xff\nUmask:\t0022\nPPid:\t7\nNSpid:\t90\t3\t1\n";
        assert!(status_field(status, "PPid").unwrap().eq(["7"]));
        assert!(status_field(status, "NSpid").unwrap().eq(["90", "3", "1"]));
        assert!(status_field(status, "NSpi").is_none() && status_field(status, "Tgid").is_none());
    }

    #[test]
    fn a_path_of_a_cgroup_may_hold_colons() {
        let table = b"6:cpu,freezer:/a:b/\xff\n1:name=systemd:/\n0::/c\nnone\n";
        let all: Vec<_> = memberships(table).collect();
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].path, all[0].controls("freezer")), (&b"/a:b/\xff"[..], true));
        assert!(!all[0].controls("freeze") && !all[0].is_unified() && !all[1].is_unified());
        assert!(all[2].is_unified() && all[2].path == b"/c");
    }

    #[test]
    fn the_kernels_own_are_read() {
        let file = |name| fs::read(format!("/proc/self/{name}")).unwrap();
        let parent = stat_field::<u32>(&file("stat"), 4).unwrap();
        let its = status_field(&file("status"), "PPid").unwrap().next().map(str::to_owned);
        assert_eq!(its, Some(parent.to_string()));
        assert!(memberships(&file("cgroup")).all(|one| one.path.starts_with(b"/")));
    }
}
