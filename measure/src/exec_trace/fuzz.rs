//! Entry points for fuzzing.

use lacre_types::base_name;

use super::abi::{Counters, Entry};
use super::told::{ARGV_MAX, Told};
use crate::interpreter::{self, Extent, Family};

/// An event of the ring, and what the maps hold.
pub fn fuzz_event(data: &[u8]) {
    if let Some(entry) = Entry::parse(data) {
        assert_eq!(Entry::parse(&entry.bytes()), Some(entry));
    }
    let _ = Counters::parse(data);
    let Some(told) = Told::parse(data) else { return };
    assert!(told.argv.iter().map(|argument| argument.len() + 1).sum::<usize>() <= ARGV_MAX);
    if let Some(path) = &told.path {
        assert!(path.is_empty() || path.starts_with(b"/"));
        assert!(path.len() <= data.len());
    }
    assert!(told.filename.is_none_or(|name| name.len() <= data.len()));
}

/// The arguments of a program, a NUL after each.
pub fn fuzz_arguments(data: &[u8]) {
    let argv: Vec<Vec<u8>> = data.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let program = argv.first().map(Vec::as_slice).unwrap_or_default();
    let Some(family) = Family::of(base_name(program)) else { return };
    let rest = argv.get(1..).unwrap_or_default();
    for code in interpreter::code_of(family, rest, Extent::WHOLE).unwrap_or_default() {
        for name in code.names {
            assert!(argv.iter().any(|argument| argument.ends_with(name)));
        }
    }
}
