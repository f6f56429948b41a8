//! What each option of an interpreter takes, by its manual, and by what it was seen to do.

mod editors;
mod languages;
mod scripting;
mod shells;
mod streams;

use super::family::Family;

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// The next argument, or what follows in its own.
    Value,
    /// What follows in its own argument, be that nothing.
    Rest,
    /// The same up to a space, behind which options go on if there is a dash.
    Word,
    /// Its digits, and no more of its argument.
    Digits,
    /// The text of the program: no operand is a script then.
    Text,
    /// Text beside the script.
    MoreText,
    /// A file that is run, beside the script.
    File,
    /// The script: what follows is its own.
    Script,
    /// A file that is run, by its name as a library.
    Library,
    /// The same behind a name that it is given: `NAME=LIBRARY`.
    NamedLibrary,
    /// The name of a module that is run.
    Module,
    /// Its program is read from standard input.
    Stdin,
    /// The script is searched for along `PATH`.
    Search,
    /// What may be a setting that names a file which is run.
    Setting,
    /// Of awk: a long option by its name alone, or some of them with commas between.
    Words,
    /// The folder that names behind it are relative to.
    Folder,
    /// It may take the next argument, and that be a file which is run.
    Perhaps,
    /// What follows is another program's.
    End,
    /// What follows in its own argument is nothing, but for options behind a space and a dash.
    Space,
}

impl Takes {
    /// Of options that an abbreviation may stand for, the one that matters most.
    const fn rank(self) -> u8 {
        match self {
            Self::File | Self::Script | Self::Library | Self::Folder => 3,
            Self::Text | Self::MoreText | Self::Value => 2,
            _ => 1,
        }
    }
}

/// Of a letter behind one dash, with what follows it in its argument.
pub(super) fn short(family: Family, letter: u8, rest: &[u8]) -> Takes {
    match family {
        Family::Shell | Family::Fish | Family::Csh => shells::short(family, letter),
        Family::Awk | Family::Sed => streams::short(family, letter),
        Family::Vim | Family::Ex => editors::short(family, letter),
        Family::Perl
        | Family::Python
        | Family::Ruby
        | Family::Node
        | Family::Php
        | Family::Lua
        | Family::Expect => scripting::short(family, letter, rest),
        family => languages::short(family, letter),
    }
}

/// Of a long one, by its name without dashes; `None` where it is not known, and so may take the
/// next argument.
pub(super) fn long(family: Family, name: &[u8]) -> Option<Takes> {
    match family {
        Family::Shell | Family::Fish => shells::long(family, name),
        Family::Awk | Family::Sed => Some(streams::long(family, name)),
        Family::Vim | Family::Ex | Family::Emacs | Family::Gdb => editors::long(family, name),
        Family::Perl | Family::Python | Family::Ruby | Family::Node | Family::Php | Family::Tcl => {
            scripting::long(family, name)
        }
        family => languages::long(family, name),
    }
}

/// Of one behind a single dash that counts as a word all the same.
pub(super) fn word(family: Family, name: &[u8]) -> Option<Takes> {
    if are_words(family) {
        return Some(long(family, name).unwrap_or(Takes::Perhaps));
    }
    (family == Family::Shell).then(|| shells::word(name)).flatten()
}

/// One of a table's options, by its name or what it may be abbreviated to.
fn abbreviated(table: &[(&[u8], Takes)], name: &[u8]) -> Option<Takes> {
    let exact = table.iter().find(|(known, _)| *known == name);
    let begun = table.iter().filter(|(known, _)| !name.is_empty() && known.starts_with(name));
    exact.or_else(|| begun.max_by_key(|(_, takes)| takes.rank())).map(|(_, takes)| *takes)
}

/// Of awk, by the name that is given to `-W`.
pub(super) fn awk_word(name: &[u8]) -> Takes {
    streams::long(Family::Awk, &name.to_ascii_lowercase())
}

/// Whether its options are words, behind one dash or two.
pub(super) const fn are_words(family: Family) -> bool {
    matches!(
        family,
        Family::Java
            | Family::Tcl
            | Family::Emacs
            | Family::Gdb
            | Family::Lisp
            | Family::Clisp
            | Family::Gnuplot
            | Family::Ocaml
    )
}

/// Whether its first operand is the script.
pub(super) const fn has_operand(family: Family) -> bool {
    !matches!(
        family,
        Family::Awk
            | Family::Sed
            | Family::Emacs
            | Family::Vim
            | Family::Ex
            | Family::Gdb
            | Family::R
    )
}

/// Whether options may follow its operands.
pub(super) const fn permutes(family: Family) -> bool {
    matches!(family, Family::Sed | Family::Emacs | Family::Vim | Family::Ex | Family::Gdb)
}

/// Whether that operand is run beside those behind it.
pub(super) fn is_one_of_many(family: Family, operand: &[u8]) -> bool {
    let ends: &[&[u8]] = match family {
        Family::Gnuplot => &[b""],
        Family::Ocaml => &[b".cmo", b".cma"],
        Family::Prolog => &[b".pl", b".prolog", b".qlf", b".pro"],
        _ => &[],
    };
    ends.iter().any(|end| operand.ends_with(end))
}
