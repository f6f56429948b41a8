//! Whether opening a file is running it, of one that no baseline lists, or that is not what its
//! baseline says.
//!
//! A file that is read is not run: `cat` of a script, `git add`, `ld` on its own object and
//! a web server's static file are nobody's violation. What is loaded is an ELF file that
//! its opener's loader opens; what is run as text is a file that an interpreter opens, and
//! that its own language's suffix, a `#!`, the command line, being listed, or a directory that the
//! policy declares says is code. Of what else an interpreter opens nobody can tell. Who only writes
//! runs nothing.

use std::os::fd::AsFd;

use lacre_types::code::Language;
use lacre_types::elf::{self, Elf};
use lacre_types::{Event, code};

use super::failure::Failure;
use super::limits::HEAD;
use super::programs::Programs;
use super::requester::{self, Opener, base};
use super::system_call::{loads, may_write, name_opened, only_writes};
use crate::Listing;

/// What is to be done to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// Whoever opens it, it is not run.
    Data,
    /// Who opens it tells, and asking may wait.
    Look,
}

/// What opening a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    /// Running it.
    Run(Event),
    /// An interpreter's reading, which may be running: nothing tells.
    Untold,
    /// Reading or writing.
    Data,
}

/// What tells of a file beside its content and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) listing: Listing,
    /// It lies where the policy declares that there is code.
    pub(super) declared: bool,
}

/// What the first bytes, the name and the opener's program tell without waiting.
pub(super) fn first(head: &[u8], path: &[u8], may_interpret: impl FnOnce() -> bool) -> First {
    // Though it is empty: another may write to it before it is read.
    if may_be_code(head, path) || is_library(path) || may_interpret() {
        First::Look
    } else {
        First::Data
    }
}

/// Whether somebody might take it for code, by content or name.
fn may_be_code(head: &[u8], path: &[u8]) -> bool {
    head.starts_with(elf::MAGIC) || head.starts_with(b"#!") || code::named(path).is_some()
}

/// Whether the process runs what it is about to open. It may wait, for the file and for the
/// process.
pub(super) fn look(
    file: impl AsFd,
    (path, told): (&[u8], Told),
    opener: u32,
    programs: &Programs,
) -> Result<Opened, Failure> {
    let opened = opens(file, (path, told), opener, programs);
    // Asked last: of most openers the rest tells that they run nothing.
    if !matches!(opened, Ok(Opened::Data)) && only_writes(opener) {
        Ok(Opened::Data)
    } else {
        opened
    }
}

/// The same of who may read it.
fn opens(
    file: impl AsFd,
    (path, told): (&[u8], Told),
    opener: u32,
    programs: &Programs,
) -> Result<Opened, Failure> {
    let head = head(file)?;
    let listed = told.listing != Listing::No;
    // Who makes an empty file opens it to write, too.
    if head.is_empty() && !listed && may_write(opener) {
        return Ok(Opened::Data);
    }
    let is_elf = head.starts_with(elf::MAGIC);
    // What a listed one holds now may be another's next moment.
    if (is_elf || is_library(path)) && loads(opener) {
        return Ok(Opened::Run(Event::Open));
    }
    let is_plain = code::named(path).is_none() && !told.declared;
    if is_elf && is_plain && !requester::may_interpret(opener, programs) {
        return Ok(Opened::Data);
    }
    let by = requester::opener(opener, programs);
    let run = if listed { is_run_as_listed } else { is_run };
    let is_run = run(&head, path, &by)
        || by.is_interpreter() && name_opened(opener).is_some_and(|name| run(&head, &name, &by))
        || told.declared && by.may_run(path);
    Ok(if is_run {
        Opened::Run(Event::Script)
    } else if !listed && may_be_run(&head, path, &by) {
        Opened::Untold
    } else {
        Opened::Data
    })
}

/// Whether that opener may run a file that begins so, though nothing says that it does.
fn may_be_run(head: &[u8], path: &[u8], opener: &Opener) -> bool {
    let Opener::Interpreter { languages, .. } = opener else { return false };
    (!head.starts_with(elf::MAGIC) || takes_any(languages)) && opener.may_run(path)
}

/// A shell goes on behind what it does not know, and PHP tells text outside its tags: an ELF file
/// may be theirs, and nobody else's.
fn takes_any(languages: &[Language]) -> bool {
    languages.iter().any(|language| [code::SHELL, code::PHP].contains(language))
}

fn is_library(path: &[u8]) -> bool {
    /// What a loader reads besides libraries, whatever it holds.
    const LISTS: [&[u8]; 2] = [b"ld.so.cache", b"ld.so.preload"];
    let name = base(path);
    name.windows(3).any(|part| part == b".so") && !LISTS.contains(&name)
}

/// Whether that opener runs a file that begins so.
fn is_run(head: &[u8], path: &[u8], opener: &Opener) -> bool {
    match opener {
        Opener::Interpreter { languages, scripts, works_on_text, .. } => {
            // What awk is given is its data, unless an option says that it is its program.
            (head.starts_with(b"#!") && !works_on_text)
                || scripts.iter().any(|script| script == base(path))
                || languages.iter().any(|language| language.of(path).is_some())
        }
        Opener::Other => false,
        // Nobody can tell what it does with it.
        Opener::Unknown => may_be_code(head, path),
    }
}

/// The same of a file that a baseline lists, which is code whatever it holds now: whose, its name
/// tells, or any interpreter's that takes it.
fn is_run_as_listed(head: &[u8], path: &[u8], opener: &Opener) -> bool {
    match opener {
        Opener::Interpreter { languages, works_on_text, .. } => {
            let takes =
                if head.starts_with(elf::MAGIC) { takes_any(languages) } else { !works_on_text };
            (takes && code::named(path).is_none() && !is_library(path))
                || is_run(head, path, opener)
        }
        Opener::Other => false,
        Opener::Unknown => true,
    }
}

/// The first bytes of a file.
pub(super) fn head(file: impl AsFd) -> Result<Vec<u8>, Failure> {
    let mut head = vec![0; HEAD];
    let got = rustix::io::pread(file, &mut head[..], 0).map_err(|_| Failure::Unreadable)?;
    head.truncate(got);
    Ok(head)
}

/// The path of the loader or interpreter that the kernel will open next, if this begins
/// a file that has one (elf(5), `PT_INTERP`; execve(2), `#!`).
pub(super) fn interpreter(head: &[u8]) -> Option<&[u8]> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.trim_ascii_start();
        let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        return line.get(..end).filter(|path| !path.is_empty());
    }
    Elf::of(head)?.interpreter()
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
    fn what_is_read_is_not_run() {
        let opener = |language, script: Option<&str>, works_on_text| Opener::Interpreter {
            languages: vec![language],
            scripts: script.into_iter().map(|script| script.as_bytes().to_vec()).collect(),
            works_on_text,
            operands: if works_on_text { vec![b"data".to_vec()] } else { Vec::new() },
        };
        let python = || opener(code::PYTHON, Some("app"), false);
        for (head, path, runs) in [
            (&b"import os"[..], "/x/app", true),
            (b"import os", "/x/lib.py", true),
            (b"#!/bin/sh", "/x/odd", true),
            (b"a,b", "/x/data.csv", false),
            (b"let x", "/static/x.js", false),
        ] {
            assert_eq!(is_run(head, path.as_bytes(), &python()), runs, "{path}");
            assert!(!is_run(head, path.as_bytes(), &Opener::Other), "{path}");
        }
        assert!(is_run(b"let x", b"/x.js", &Opener::Unknown));
        for (path, runs) in [("/bin/odd", true), ("/x/lib.py", true), ("/x/lib.sh", false)] {
            assert_eq!(is_run_as_listed(b"", path.as_bytes(), &python()), runs, "{path}");
            assert!(!is_run_as_listed(b"", path.as_bytes(), &Opener::Other), "{path}");
            assert!(is_run_as_listed(b"", path.as_bytes(), &Opener::Unknown), "{path}");
        }
        let sh = opener(code::SHELL, None, false);
        assert!(
            is_run_as_listed(elf::MAGIC, b"/bin/odd", &sh) && !is_run(elf::MAGIC, b"/bin/odd", &sh)
        );
        assert!(!is_run_as_listed(elf::MAGIC, b"/bin/odd", &python()));
        assert!(!is_run_as_listed(b"", b"/lib/x.so", &python()));
        assert!(is_library(b"/lib/libc.so.6") && !is_library(b"/lib.so/ls"));
        let awk = |script| opener(code::AWK, script, true);
        assert!(!is_run(b"#!/bin/sh", b"/x/s.sh", &awk(None)));
        assert!(is_run(b"#!/usr/bin/awk -f", b"/x/prog", &awk(Some("prog"))));
        assert!(is_run(b"BEGIN {}", b"/x/lib.awk", &awk(None)));
    }

    #[test]
    fn what_nothing_says_to_be_code_may_be_run_by_an_interpreter_alone() {
        let interpreter = |language, works_on_text| Opener::Interpreter {
            languages: vec![language],
            scripts: Vec::new(),
            works_on_text,
            operands: if works_on_text { vec![b"data".to_vec()] } else { Vec::new() },
        };
        let python = interpreter(code::PYTHON, false);
        for (head, path, may) in [
            (&b"a,b"[..], "/x/data.csv", true),
            (b"let x", "/static/x.js", true),
            (elf::MAGIC, "/x/prog", false),
        ] {
            assert_eq!(may_be_run(head, path.as_bytes(), &python), may, "{path}");
            for nobody in [Opener::Other, Opener::Unknown] {
                assert!(!may_be_run(head, path.as_bytes(), &nobody), "{path}");
            }
        }
        assert!(may_be_run(elf::MAGIC, b"/x/prog", &interpreter(code::SHELL, false)));
        // What sed is given to work on is told by that to be no code; what it reads besides is not.
        let sed = interpreter(code::SED, true);
        assert!(!may_be_run(b"a", b"/x/data", &sed) && may_be_run(b"a", b"/x/inc", &sed));
        assert!(Opener::Unknown.may_run(b"/x") && !Opener::Other.may_run(b"/x"));
    }

    #[test]
    fn only_data_is_told_at_once() {
        assert_eq!(first(b"plain", b"/x", || false), First::Data);
        assert_eq!(first(b"plain", b"/x", || true), First::Look);
        assert_eq!(first(b"\x7fELF", b"/x", || false), First::Look);
        assert_eq!(first(b"let x", b"/www/x.js", || false), First::Look);
        assert_eq!(first(b"", b"/x", || false), First::Data);
        assert_eq!(first(b"", b"/x", || true), First::Look);
        assert_eq!(first(b"", b"/x.py", || false), First::Look);
        assert_eq!(first(b"", b"/x.so.1", || false), First::Look);
        assert_eq!(first(b"cache", b"/etc/ld.so.cache", || false), First::Data);
    }

    proptest! {
        #[test]
        fn any_head_is_survived(data in proptest::collection::vec(any::<u8>(), 0..200), elf: bool) {
            let mut head = if elf { b"\x7fELF\x02\x01".to_vec() } else { Vec::new() };
            head.extend(data);
            interpreter(&head);
            requester::fuzz(&head);
        }
    }
}
