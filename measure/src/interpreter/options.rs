//! What each option of an interpreter takes, by its manual, and by what it was seen to do.

mod editors;
mod languages;
mod scripting;
mod shells;
mod streams;

use super::family::Family;
use super::takes::Takes;

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
