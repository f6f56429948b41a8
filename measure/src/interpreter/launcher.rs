//! Programs that run what their arguments say: a dynamic loader, and one file of many programs.

use lacre_types::base_name;

use super::extent::{Extent, Missing};
use super::family::Family;

/// busybox and toybox: `argv[0]` says which, or the first argument behind their own names does. A
/// copy of another name says it by that; what has none of an interpreter's runs no script.
pub(crate) fn applet<T: AsRef<[u8]>>(argv: &[T]) -> Option<(Family, &[T])> {
    let (first, rest) = argv.split_first()?;
    applet_called(first.as_ref(), rest)
}

/// The same of one that is called otherwise than its arguments say.
pub(crate) fn applet_called<'a, T: AsRef<[u8]>>(
    name: &[u8],
    mut rest: &'a [T],
) -> Option<(Family, &'a [T])> {
    let mut family = Family::of(base_name(name))?;
    // `busybox busybox sh` is legal, and so is any number of them.
    while family == Family::Multicall {
        let (first, more) = rest.split_first()?;
        family = Family::of(base_name(first.as_ref()))?;
        rest = more;
    }
    Some((family, rest))
}

/// What a loader was told to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loaded<'a> {
    /// Which of its arguments the program is; the program's own follow.
    pub(crate) at: usize,
    /// What the program is told to be called, where that is not its path.
    pub(crate) name: Option<&'a [u8]>,
}

/// What a loader's arguments have it load (ld.so(8); musl's takes a value behind `=` too).
pub(crate) fn loaded<T: AsRef<[u8]>>(
    argv: &[T],
    extent: Extent,
) -> Result<Option<Loaded<'_>>, Missing> {
    const TAKING: [&[u8]; 7] = [
        b"--library-path",
        b"--preload",
        b"--audit",
        b"--argv0",
        b"--inhibit-rpath",
        b"--glibc-hwcaps-prepend",
        b"--glibc-hwcaps-mask",
    ];
    let (argv, is_open) = extent.certain(argv);
    let at_hand = |at: usize| match argv.get(at).map(AsRef::as_ref) {
        None if is_open => Err(Missing),
        None => Ok(None),
        Some(argument) if argument.len() >= extent.longest => Err(Missing),
        Some(argument) => Ok(Some(argument)),
    };
    let (mut at, mut name) = (1, None);
    loop {
        let Some(argument) = argv.get(at).map(AsRef::as_ref) else {
            return if is_open { Err(Missing) } else { Ok(None) };
        };
        if argument == b"--" {
            return Ok(at_hand(at + 1)?.map(|_| Loaded { at: at + 1, name }));
        }
        if !argument.starts_with(b"--") {
            return Ok(at_hand(at)?.map(|_| Loaded { at, name }));
        }
        if let Some(attached) = argument.strip_prefix(b"--argv0=") {
            name = Some(attached);
        } else if argument == b"--argv0" {
            name = at_hand(at + 1)?;
        }
        at += if TAKING.contains(&argument) { 2 } else { 1 };
    }
}
