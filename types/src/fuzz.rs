//! Entries for fuzzing: each takes any bytes, and fails by panicking.

use crate::elf::{self, Elf};
use crate::{CanonicalPath, Digest, escape, mountinfo};

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

/// A digest.
pub fn fuzz_digest(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(digest) = text.parse::<Digest>()
    {
        assert_eq!(digest.to_string(), text);
        assert_eq!(Digest::new(digest.algorithm(), digest.as_bytes()), Some(digest));
    }
}
