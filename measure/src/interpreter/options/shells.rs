//! Shells.

use crate::interpreter::family::Family;
use crate::interpreter::takes::{Takes, abbreviated};

pub(super) fn short(family: Family, letter: u8) -> Takes {
    use Takes::{MoreText, Nothing, Stdin, Text, Value};
    match (family, letter) {
        (_, b'c') => Text,
        (Family::Shell | Family::Csh, b's') => Stdin,
        (Family::Shell, b'o' | b'O') => Value,
        (Family::Fish, b'C') => MoreText,
        (Family::Fish, b'd' | b'D' | b'f' | b'o' | b'p') => Value,
        _ => Nothing,
    }
}

pub(super) fn long(family: Family, name: &[u8]) -> Option<Takes> {
    use Takes::{File, MoreText, Nothing, Perhaps, Text, Value};
    const FISH: &[(&[u8], Takes)] = &[
        (b"command", Text),
        (b"init-command", MoreText),
        (b"debug", Value),
        (b"debug-output", Value),
        (b"debug-stack-frames", Value),
        (b"features", Value),
        (b"profile", Value),
        (b"profile-startup", Value),
        (b"interactive", Nothing),
        (b"login", Nothing),
        (b"no-config", Nothing),
        (b"no-execute", Nothing),
        (b"print-debug-categories", Nothing),
        (b"print-rusage-self", Nothing),
        (b"private", Nothing),
    ];
    match (family, name) {
        (Family::Fish, name) => abbreviated(FISH, name),
        // busybox's shell passes over long options, and takes no value of theirs.
        (_, b"emulate") => Some(Perhaps),
        (_, name) => Some(match name {
            b"rcfile" | b"init-file" | b"profile" => File,
            _ => Nothing,
        }),
    }
}

/// Of bash's, which may have one dash: as letters some of them would be a command's text.
pub(super) fn word(name: &[u8]) -> Option<Takes> {
    const BASH: [&[u8]; 14] = [
        b"debugger",
        b"dump-po-strings",
        b"dump-strings",
        b"help",
        b"login",
        b"noediting",
        b"noprofile",
        b"norc",
        b"posix",
        b"pretty-print",
        b"protected",
        b"restricted",
        b"verbose",
        b"wordexp",
    ];
    match name {
        b"rcfile" | b"init-file" => Some(Takes::File),
        name => BASH.contains(&name).then_some(Takes::Nothing),
    }
}
