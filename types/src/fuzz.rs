//! Entries for fuzzing: each takes any bytes, and fails by panicking.

use crate::elf::{self, Elf};
use crate::{CanonicalPath, Digest, escape, mountinfo, proc_pid};

/// A path, and the text that shows it.
#[allow(clippy::expect_used, reason = "a fuzz entry fails by panicking")]
pub fn fuzz_path(data: &[u8]) {
    let shown = escape(data);
    assert!(!shown.contains(|c: char| c.is_control() || c == '\u{202e}'));
    let Ok(path) = CanonicalPath::new(data) else { return };
    assert!(path.as_bytes().len() <= data.len());
    assert_eq!(CanonicalPath::new(path.as_bytes()).expect("canonical is a fixed point"), path);
    assert!(path.parts().all(|part| !matches!(part, b"" | b"." | b"..")));
    let parts: Vec<u8> = path.parts().flat_map(|part| [b"/", part].concat()).collect();
    assert_eq!(if parts.is_empty() { b"/" } else { &parts[..] }, path.as_bytes());
}

/// The first bytes of an ELF file.
pub fn fuzz_elf(data: &[u8]) {
    let Some(elf) = Elf::of(data) else { return assert!(!data.starts_with(elf::MAGIC)) };
    let _ = elf.is_program();
    if let Some(path) = elf.interpreter() {
        assert!(!path.is_empty() && !path.contains(&0));
        assert!(data.windows(path.len()).any(|part| part == path));
    }
}

/// A mount table.
pub fn fuzz_mountinfo(data: &[u8]) {
    let count = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(mountinfo::lines(data).count(), count);
    match mountinfo::parse(data) {
        Ok(mounts) => assert_eq!(mounts.len(), count),
        Err(mountinfo::Malformed(line)) => {
            assert!((1..=data.len() + 1).contains(&line));
            assert!(mountinfo::lines(data).any(|one| one == Err(mountinfo::Malformed(line))));
        }
    }
}

/// `/proc/PID/stat`, `status` and `cgroup`, of a process that names itself and its cgroup.
pub fn fuzz_proc_pid(data: &[u8]) {
    let _ = proc_pid::stat_field::<u64>(data, 22);
    for name in ["NSpid", "PPid", ""] {
        let words = proc_pid::status_field(data, name).into_iter().flatten();
        assert!(words.into_iter().all(|word| !word.is_empty()));
    }
    for one in proc_pid::memberships(data) {
        let line = [one.hierarchy, one.controllers, one.path].join(&b':');
        assert!(data.split(|byte| *byte == b'\n').any(|its| its == line));
    }
}

/// A digest.
pub fn fuzz_digest(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(digest) = text.parse::<Digest>()
    {
        assert_eq!(digest.to_string(), text);
        assert_eq!(Digest::new(digest.algorithm(), digest.as_bytes()), Some(digest));
    }
}
