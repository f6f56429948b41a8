//! awk and sed. Both have their long options abbreviated, as GNU's do.

use crate::interpreter::family::Family;
use crate::interpreter::takes::{Takes, abbreviated};

pub(super) fn short(family: Family, letter: u8) -> Takes {
    use Takes::{File, Library, MoreText, Nothing, Rest, Script, Value, Words};
    match (family, letter) {
        (Family::Awk, b'i') => Library,
        (_, b'f') => File,
        (Family::Awk, b'E') => Script,
        (Family::Awk, b'v' | b'F' | b'l') | (Family::Sed, b'l') => Value,
        (_, b'e') => MoreText,
        (Family::Awk, b'W') => Words,
        // What they take is behind them, or is nothing.
        (Family::Awk, b'd' | b'D' | b'L' | b'o' | b'p') | (Family::Sed, b'i') => Rest,
        _ => Nothing,
    }
}

/// One that is not known is no option: nothing is run.
pub(super) fn long(family: Family, name: &[u8]) -> Takes {
    use Takes::{File, Library, MoreText, Nothing, Script, Value};
    const AWK: &[(&[u8], Takes)] = &[
        (b"assign", Value),
        (b"exec", Script),
        (b"field-separator", Value),
        (b"file", File),
        (b"include", Library),
        (b"load", Value),
        (b"source", MoreText),
    ];
    const SED: &[(&[u8], Takes)] =
        &[(b"expression", MoreText), (b"file", File), (b"line-length", Value)];
    let table = if family == Family::Awk { AWK } else { SED };
    abbreviated(table, name).unwrap_or(Nothing)
}
