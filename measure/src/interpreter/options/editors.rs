//! Editors and debuggers, which run what an option names.

use crate::interpreter::family::Family;
use crate::interpreter::takes::{Takes, abbreviated};

pub(super) fn short(family: Family, letter: u8) -> Takes {
    use Takes::{File, MoreText, Nothing};
    match (family, letter) {
        (Family::Ex, b's') => Nothing,
        (_, b'S' | b's' | b'u' | b'U') => File,
        (_, b'c' | b'T' | b't' | b'q' | b'w' | b'W' | b'i') => MoreText,
        _ => Nothing,
    }
}

pub(super) fn long(family: Family, name: &[u8]) -> Option<Takes> {
    use Takes::{End, File, Folder, Library, MoreText, Nothing};
    const EMACS: &[(&[u8], Takes)] = &[
        (b"script", File),
        (b"scriptload", File),
        (b"x", File),
        (b"load", Library),
        (b"l", Library),
        (b"chdir", Folder),
        (b"eval", MoreText),
        (b"execute", MoreText),
        (b"f", MoreText),
        (b"funcall", MoreText),
        (b"L", MoreText),
        (b"directory", MoreText),
    ];
    const GDB: &[(&[u8], Takes)] = &[
        (b"x", File),
        (b"command", File),
        (b"ix", File),
        (b"init-command", File),
        (b"eix", File),
        (b"early-init-command", File),
        (b"cd", Folder),
        (b"ex", MoreText),
        (b"eval-command", MoreText),
        (b"iex", MoreText),
        (b"init-eval-command", MoreText),
        (b"eiex", MoreText),
        (b"early-init-eval-command", MoreText),
        (b"args", End),
    ];
    Some(match family {
        Family::Emacs => abbreviated(EMACS, name).unwrap_or(Nothing),
        Family::Gdb => abbreviated(GDB, name).unwrap_or(Nothing),
        _ if name == b"cmd" => MoreText,
        _ => Nothing,
    })
}
