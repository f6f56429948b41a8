//! What a file is to the one who would run it, from its first bytes, its name and its
//! execute bits.

use lacre_types::Kind;
use lacre_types::code::{self, Named};
use lacre_types::elf::Elf;

/// How many bytes one look takes: the same for a directory and a tar, or the same file
/// would differ in kind.
pub(crate) const SNIFF: usize = 4096;

/// The rules of this file; names have theirs in [`code`]. One more whenever the same file may
/// come to be of another kind: what was cached by the ones before is not used then.
pub(crate) const RULES: u32 = 1;

/// What the first bytes alone say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Magic {
    Elf,
    Library,
    Shebang,
    Bytecode,
    /// A zip: bytecode when the name says so.
    Zip,
    Plain,
}

/// What decides a file's kind, its name apart: a hard link shares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nature {
    magic: Magic,
    executable: bool,
}

impl Nature {
    /// `head` is the file's beginning, up to [`SNIFF`] bytes.
    pub(crate) fn of(head: &[u8], mode: u32) -> Self {
        Self { magic: magic(&head[..head.len().min(SNIFF)]), executable: mode & 0o111 != 0 }
    }

    /// The same content with another mode: hard links share it, and the last one sets it.
    pub(crate) fn with_mode(self, mode: u32) -> Self {
        Self { executable: mode & 0o111 != 0, ..self }
    }

    /// The kind of a file of this nature under that name (the last part of its path);
    /// `None` for plain data.
    pub(crate) fn kind(self, name: &[u8]) -> Option<Kind> {
        match self.magic {
            Magic::Elf => return Some(Kind::Elf),
            Magic::Library => return Some(Kind::Library),
            Magic::Shebang => return Some(Kind::Script),
            Magic::Bytecode => return Some(Kind::Bytecode),
            Magic::Zip | Magic::Plain => {}
        }
        match code::named(name) {
            Some(Named::Script) => return Some(Kind::Script),
            Some(Named::Bytecode) => return Some(Kind::Bytecode),
            Some(Named::Archive) if self.magic == Magic::Zip => return Some(Kind::Bytecode),
            Some(Named::Archive) | None => {}
        }
        self.executable.then_some(Kind::Executable)
    }
}

fn magic(head: &[u8]) -> Magic {
    if let Some(elf) = Elf::of(head) {
        return if elf.is_program() { Magic::Elf } else { Magic::Library };
    }
    match head {
        [b'#', b'!', ..] => Magic::Shebang,
        // Java: the major version is 45 or more; below it is a Mach-O of many architectures.
        [0xca, 0xfe, 0xba, 0xbe, _, _, major_high, major_low, ..]
            if u16::from_be_bytes([*major_high, *major_low]) >= 45 =>
        {
            Magic::Bytecode
        }
        [0, b'a', b's', b'm', ..]
        | [0x1b, b'L', b'u' | b'J', ..]
        | [b'd', b'e', b'x', b'\n', ..]
        | [b';', b'E', b'L', b'C', ..]
        | [b'F', b'O', b'R', b'1', _, _, _, _, b'B', b'E', b'A', b'M', ..]
        // .NET assemblies, which binfmt_misc or `dotnet` runs.
        | [b'M', b'Z', ..] => Magic::Bytecode,
        [b'P', b'K', 3, 4, ..] => Magic::Zip,
        _ => Magic::Plain,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(head: &[u8], name: &str, mode: u32) -> Option<Kind> {
        Nature::of(head, mode).kind(name.as_bytes())
    }

    fn elf64(kind: u8, entry: u8, first_segment: u8) -> Vec<u8> {
        let mut head = vec![0; 120];
        head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        head[16] = kind;
        head[24] = entry;
        head[32] = 64;
        head[54] = 56;
        head[56] = 1;
        head[64] = first_segment;
        head
    }

    #[test]
    fn elf_is_told_by_its_header() {
        assert_eq!(kind(&elf64(2, 0, 1), "x", 0o644), Some(Kind::Elf), "ET_EXEC");
        assert_eq!(kind(&elf64(3, 0, 3), "x", 0o644), Some(Kind::Elf), "PT_INTERP");
        assert_eq!(kind(&elf64(3, 9, 1), "ld.so", 0o644), Some(Kind::Elf), "an entry point");
        assert_eq!(kind(&elf64(3, 0, 1), "x", 0o755), Some(Kind::Library));
        assert_eq!(kind(&elf64(1, 0, 1), "x.ko", 0o644), Some(Kind::Library), "ET_REL");
        assert_eq!(kind(b"\x7fELF", "cut", 0o644), Some(Kind::Library));
    }

    #[test]
    fn real_files_of_this_machine() {
        let of = |path: &str| {
            let bytes = std::fs::read(path).unwrap();
            kind(&bytes, path, 0o644)
        };
        assert_eq!(of("/bin/sh"), Some(Kind::Elf));
        assert_eq!(of("/lib64/ld-linux-x86-64.so.2"), Some(Kind::Elf));
        assert_eq!(of("/lib/x86_64-linux-gnu/libz.so.1"), Some(Kind::Library));
        assert_eq!(of("/usr/bin/ldd"), Some(Kind::Script));
        assert_eq!(of("/etc/passwd"), None);
    }

    #[test]
    fn content_comes_before_the_name_and_the_name_before_the_mode() {
        assert_eq!(kind(b"#!/bin/sh\n", "README", 0o644), Some(Kind::Script));
        assert_eq!(kind(b"import os\n", "site.PY", 0o644), Some(Kind::Script));
        assert_eq!(kind(b"", "__init__.py", 0o644), Some(Kind::Script));
        assert_eq!(kind(b"\x6f\r\r\n", "a.cpython-311.pyc", 0o644), Some(Kind::Bytecode));
        assert_eq!(kind(b"\xca\xfe\xba\xbe\0\0\0\x3d", "A", 0o644), Some(Kind::Bytecode));
        assert_eq!(kind(b"\xca\xfe\xba\xbe\0\0\0\x02", "fat", 0o644), None);
        assert_eq!(kind(b"PK\x03\x04", "app.jar", 0o644), Some(Kind::Bytecode));
        assert_eq!(kind(b"PK\x03\x04", "app.zip", 0o644), Some(Kind::Bytecode));
        assert_eq!(kind(b"PK\x03\x04", "data.docx", 0o644), None);
        assert_eq!(kind(b"task :default", "Rakefile", 0o644), Some(Kind::Script));
        assert_eq!(kind(b"text", "notes", 0o755), Some(Kind::Executable));
        assert_eq!(kind(b"text", "notes.txt", 0o644), None);
    }

    proptest! {
        #[test]
        fn no_elf_makes_it_panic(mut head in proptest::collection::vec(any::<u8>(), 0..200)) {
            head.splice(0..head.len().min(4), *b"\x7fELF");
            prop_assert!(kind(&head, "x", 0).is_some());
        }
    }
}
