//! Whether a file that no baseline lists holds code, by its first bytes and its name.

use lacre_types::Event;

use super::opener::{Interpreter, base};

/// Names that only ever hold code; those that a web server hands out as data (`.js`,
/// `.jar`) count only when their interpreter opens them.
const CODE: [&str; 11] = ["sh", "bash", "py", "pyc", "pyo", "pl", "pm", "rb", "php", "phar", "lua"];

/// What opening it is, when its content or its name alone tells that it holds code.
pub(super) fn by_content(head: &[u8], path: &[u8]) -> Option<Event> {
    if head.is_empty() {
        None
    } else if head.starts_with(b"\x7fELF") {
        Some(Event::Open)
    } else if head.starts_with(b"#!") || has_suffix(path, &CODE) {
        Some(Event::Script)
    } else {
        None
    }
}

/// What opening it is, when only who opens it tells: an interpreter that its command line
/// has run it, or whose own kind of file it is.
pub(super) fn by_opener(
    path: &[u8],
    interpreter: &Interpreter,
    script: Option<&[u8]>,
) -> Option<Event> {
    let runs = script.is_some_and(|script| script == base(path));
    (runs || has_suffix(path, interpreter.suffixes)).then_some(Event::Script)
}

fn has_suffix(path: &[u8], list: &[&str]) -> bool {
    let name = base(path);
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let suffix = dot.and_then(|dot| name.get(dot + 1..));
    suffix.is_some_and(|suffix| list.iter().any(|entry| entry.as_bytes() == suffix))
}

/// The path of the loader or interpreter that the kernel will open next, if this begins
/// a file that has one (elf(5), `PT_INTERP`; execve(2), `#!`).
pub(super) fn interpreter(head: &[u8]) -> Option<&[u8]> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.trim_ascii_start();
        let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        return line.get(..end).filter(|path| !path.is_empty());
    }
    elf_interpreter(head)
}

fn elf_interpreter(head: &[u8]) -> Option<&[u8]> {
    let [0x7f, b'E', b'L', b'F', class @ 1..=2, order @ 1..=2, ..] = head else { return None };
    let elf = Elf { head, wide: *class == 2, little: *order == 1 };
    let (offset, size, count) = if elf.wide {
        (elf.word(32)?, elf.half(54)?, elf.half(56)?)
    } else {
        (elf.word(28)?, elf.half(42)?, elf.half(44)?)
    };
    (0..count.min(64)).find_map(|at| {
        let header = offset.checked_add(at.checked_mul(size)?)?;
        if elf.number(header, 4)? != 3 {
            return None;
        }
        let (start, length) = if elf.wide {
            (elf.word(header.checked_add(8)?)?, elf.word(header.checked_add(32)?)?)
        } else {
            (elf.word(header.checked_add(4)?)?, elf.word(header.checked_add(16)?)?)
        };
        let path = head.get(start..start.checked_add(length)?)?;
        path.split(|byte| *byte == 0).next()
    })
}

struct Elf<'a> {
    head: &'a [u8],
    wide: bool,
    little: bool,
}

impl Elf<'_> {
    fn word(&self, at: usize) -> Option<usize> {
        self.number(at, if self.wide { 8 } else { 4 })
    }

    fn half(&self, at: usize) -> Option<usize> {
        self.number(at, 2)
    }

    fn number(&self, at: usize, length: usize) -> Option<usize> {
        let bytes = self.head.get(at..at.checked_add(length)?)?;
        let shift = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        let number = if self.little {
            bytes.iter().rev().fold(0, shift)
        } else {
            bytes.iter().fold(0, shift)
        };
        usize::try_from(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_interpreter_is_read_from_the_head() {
        assert_eq!(interpreter(b"#! /bin/sh -e\necho"), Some(&b"/bin/sh"[..]));
        assert_eq!(interpreter(b"#!\n"), None);
        let own = std::fs::read("/proc/self/exe").unwrap();
        let loader = interpreter(&own[..1024]).unwrap();
        assert!(base(loader).starts_with(b"ld-"), "{}", loader.escape_ascii());
    }

    #[test]
    fn content_and_name_tell_code_from_data() {
        assert_eq!(by_content(b"\x7fELF\x02", b"/x"), Some(Event::Open));
        assert_eq!(by_content(b"#!/bin/sh", b"/x"), Some(Event::Script));
        assert_eq!(by_content(b"print(1)", b"/x.py"), Some(Event::Script));
        assert_eq!(by_content(b"let x", b"/www/x.js"), None);
        assert_eq!(by_content(b"plain", b"/py"), None);
        assert_eq!(by_content(b"", b"/x.py"), None);
    }

    proptest! {
        #[test]
        fn any_head_is_survived(data in proptest::collection::vec(any::<u8>(), 0..200), elf: bool) {
            let mut head = if elf { b"\x7fELF\x02\x01".to_vec() } else { Vec::new() };
            head.extend(data);
            interpreter(&head);
            super::super::opener::fuzz(&head);
        }
    }
}
