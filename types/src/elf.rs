//! The headers of an ELF file (elf(5)), from its first bytes: the one reader of them.
//!
//! What may begin a file is anything: nothing is believed to be where a header says.

/// What every ELF file begins with.
pub const MAGIC: &[u8] = b"\x7fELF";

const ET_EXEC: u64 = 2;
const ET_DYN: u64 = 3;
const PT_INTERP: u64 = 3;

/// A file that begins as an ELF file does, and as much of it as was read.
///
/// Neither the kernel (fs/binfmt_elf.c) nor this asks whether class and byte order are of
/// those that there are: other than 64 bits is 32, other than big-endian little.
#[derive(Debug, Clone, Copy)]
pub struct Elf<'a> {
    head: &'a [u8],
    wide: bool,
    big: bool,
}

/// The table of program headers.
struct Segments {
    at: u64,
    size: u64,
    count: u64,
}

impl<'a> Elf<'a> {
    /// `head` is the file's beginning, of any length; `None` where it is not ELF's.
    #[must_use]
    pub fn of(head: &'a [u8]) -> Option<Self> {
        let ident = head.strip_prefix(MAGIC)?;
        Some(Self { head, wide: ident.first() == Some(&2), big: ident.get(1) == Some(&2) })
    }

    /// Whether it is a program: `ET_EXEC`, or `ET_DYN` with an interpreter or an entry point,
    /// as the loader itself and static-pie have. Every other is a library, and so is one
    /// whose headers are not within what was read.
    #[must_use]
    pub fn is_program(self) -> bool {
        match self.number(16, 2) {
            Some(ET_EXEC) => true,
            Some(ET_DYN) => self.segments().is_some_and(|segments| {
                self.word(24, 24).is_some_and(|entry| entry != 0)
                    || self.interpreter_header(&segments).is_some()
            }),
            _ => false,
        }
    }

    /// The path of the loader that the kernel will open (`PT_INTERP`, the first of them), where
    /// header and path are within what was read.
    #[must_use]
    pub fn interpreter(self) -> Option<&'a [u8]> {
        let at = self.interpreter_header(&self.segments()?)?;
        let field = |narrow, wide| self.word(at.checked_add(narrow)?, at.checked_add(wide)?);
        let (start, len) = (field(4, 8)?, field(16, 32)?);
        let path = self.bytes(start, len)?.split(|byte| *byte == 0).next()?;
        (!path.is_empty()).then_some(path)
    }

    fn segments(self) -> Option<Segments> {
        let (size, count) = if self.wide { (54, 56) } else { (42, 44) };
        let (size, count) = (self.number(size, 2)?, self.number(count, 2)?);
        // Headers of no length are one and the same.
        let count = if size == 0 { count.min(1) } else { count };
        Some(Segments { at: self.word(28, 32)?, size, count })
    }

    /// Where the header of the interpreter's path is. Nothing follows the first header that
    /// was not read: they lie one behind the other.
    fn interpreter_header(self, table: &Segments) -> Option<u64> {
        (0..table.count)
            .map_while(|index| {
                let at = table.at.checked_add(index * table.size)?;
                Some((at, self.number(at, 4)?))
            })
            .find_map(|(at, kind)| (kind == PT_INTERP).then_some(at))
    }

    /// A number that is as wide as an address, by where it is in a file of 32 and of 64 bits.
    fn word(self, narrow: u64, wide: u64) -> Option<u64> {
        if self.wide { self.number(wide, 8) } else { self.number(narrow, 4) }
    }

    /// `len` is 8 at most.
    fn number(self, at: u64, len: u64) -> Option<u64> {
        let bytes = self.bytes(at, len)?.iter();
        let fold = |all: u64, byte: &u8| all << 8 | u64::from(*byte);
        Some(if self.big { bytes.fold(0, fold) } else { bytes.rev().fold(0, fold) })
    }

    fn bytes(self, at: u64, len: u64) -> Option<&'a [u8]> {
        let end = at.checked_add(len)?;
        self.head.get(usize::try_from(at).ok()?..usize::try_from(end).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file of that class and byte order, with its headers where its maker wants them.
    #[derive(Debug, Clone)]
    struct Made {
        wide: bool,
        big: bool,
        kind: u64,
        entry: u64,
        /// Between the file's header and the table.
        gap: usize,
        /// What a program header has behind its fields.
        slack: usize,
        segments: Vec<u64>,
        path: Vec<u8>,
    }

    impl Made {
        fn put(&self, out: &mut Vec<u8>, value: u64, len: usize) {
            let bytes = value.to_be_bytes();
            let mut bytes = bytes[8 - len..].to_vec();
            if !self.big {
                bytes.reverse();
            }
            out.extend(bytes);
        }

        /// As elf(5) has them, field by field.
        fn bytes(&self) -> Vec<u8> {
            let word = if self.wide { 8 } else { 4 };
            let (header, segment) = if self.wide { (64, 56) } else { (52, 32) };
            let table = header + self.gap;
            let size = segment + self.slack;
            let path = table + size * self.segments.len();
            let mut out = MAGIC.to_vec();
            out.extend([1 + u8::from(self.wide), 1 + u8::from(self.big), 1]);
            out.resize(16, 0);
            for (value, len) in [(self.kind, 2), (62, 2), (1, 4), (self.entry, word)] {
                self.put(&mut out, value, len);
            }
            for (value, len) in [(table, word), (0, word), (0, 4), (header, 2), (size, 2)] {
                self.put(&mut out, value as u64, len);
            }
            self.put(&mut out, self.segments.len() as u64, 2);
            out.resize(table, 0xaa);
            for kind in &self.segments {
                let from = out.len();
                let (path, len) = (path as u64, self.path.len() as u64 + 1);
                self.put(&mut out, *kind, 4);
                if self.wide {
                    self.put(&mut out, 4, 4);
                }
                // Offset, virtual and physical address, length in the file and in memory.
                for value in [path, 0, 0, len, len] {
                    self.put(&mut out, value, word);
                }
                out.resize(from + size, 0xaa);
            }
            out.extend(&self.path);
            out.push(0);
            out
        }
    }

    fn made() -> impl Strategy<Value = Made> {
        let segments = proptest::collection::vec(0_u64..8, 0..6);
        let path = proptest::collection::vec(1_u8.., 1..20);
        let entry = prop_oneof![Just(0), 1..=u64::from(u32::MAX)];
        let sizes = (0_usize..20, 0_usize..20);
        (any::<(bool, bool)>(), 0_u64..5, entry, sizes, segments, path).prop_map(
            |((wide, big), kind, entry, (gap, slack), segments, path)| Made {
                wide,
                big,
                kind,
                entry,
                gap,
                slack,
                segments,
                path,
            },
        )
    }

    #[test]
    fn the_own_program_has_a_loader() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let elf = Elf::of(&own[..1024]).unwrap();
        let loader = elf.interpreter().unwrap();
        assert!(loader.starts_with(b"/") && elf.is_program(), "{}", loader.escape_ascii());
        let loader = std::fs::read(std::str::from_utf8(loader).unwrap()).unwrap();
        let loader = Elf::of(&loader).unwrap();
        assert!(loader.is_program() && loader.interpreter().is_none());
    }

    #[test]
    fn what_is_cut_is_a_library_and_what_is_not_elf_is_nothing() {
        assert!(Elf::of(b"\x7fEL").is_none() && Elf::of(b"#!/bin/sh").is_none());
        for cut in 4..18 {
            let head = [MAGIC, &[2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0]].concat();
            let elf = Elf::of(&head[..cut]).unwrap();
            assert!(!elf.is_program() && elf.interpreter().is_none());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(made in made()) {
            let bytes = made.bytes();
            let elf = Elf::of(&bytes).unwrap();
            let interpreted = made.segments.contains(&PT_INTERP);
            prop_assert_eq!(elf.interpreter(), interpreted.then_some(&made.path[..]));
            let program = made.kind == ET_EXEC
                || made.kind == ET_DYN && (interpreted || made.entry != 0);
            prop_assert_eq!(elf.is_program(), program);
        }

        #[test]
        fn a_head_that_is_cut_says_nothing_that_the_whole_does_not(made in made(), cut: proptest::sample::Index) {
            let bytes = made.bytes();
            let (whole, cut) = (Elf::of(&bytes).unwrap(), &bytes[..cut.index(bytes.len())]);
            if let Some(elf) = Elf::of(cut) {
                prop_assert!(!elf.is_program() || whole.is_program());
                prop_assert!(elf.interpreter().is_none_or(|path| Some(path) == whole.interpreter()));
            }
        }

        #[test]
        fn any_head_is_survived(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            crate::fuzz::fuzz_elf(&[MAGIC, &data].concat());
        }
    }
}
