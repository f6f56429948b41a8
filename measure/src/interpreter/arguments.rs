//! What of a command line an interpreter runs. Pure.

use lacre_types::base_name;

use super::family::Family;
use super::options::{Takes, are_words, has_operand, long, permutes, short};

/// How a name leads to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// It is the file's path.
    Path,
    /// The same; without a slash it is also looked for along `PATH`.
    Searched,
    /// A library's, which may lack its suffix.
    Library,
    /// A module's, whose parts a dot divides.
    Module,
}

/// Code that a command line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code<'a> {
    /// More than one where an argument may belong to the option before it: what is meant is the
    /// first that is there.
    pub(crate) names: Vec<&'a [u8]>,
    pub(crate) named: Named,
}

/// How much of a command line is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// An argument of so many bytes may be longer.
    pub(crate) longest: usize,
    /// More arguments may follow.
    pub(crate) is_open: bool,
    /// Among so many at the end, and behind them, bare ones that follow bare ones are left out.
    pub(crate) gaps: Option<usize>,
}

impl Extent {
    pub(crate) const WHOLE: Self = Self { longest: usize::MAX, is_open: false, gaps: None };

    /// The arguments between which none is left out, and whether more may follow.
    fn certain<'a, T>(&self, arguments: &'a [T]) -> (&'a [T], bool) {
        match self.gaps {
            None => (arguments, self.is_open),
            Some(gaps) => (&arguments[..arguments.len().saturating_sub(gaps)], true),
        }
    }
}

/// What is run depends on what is not at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missing;

/// busybox and toybox: `argv[0]` says which, or the first argument does. A copy of another
/// name says it by that; what has none of an interpreter's runs no script.
pub(crate) fn applet<T: AsRef<[u8]>>(argv: &[T]) -> Option<(Family, &[T])> {
    let mut rest = argv;
    // `busybox busybox sh` is legal; deeper is nobody's use.
    for _ in 0..4 {
        let (first, more) = rest.split_first()?;
        match Family::of(base_name(first.as_ref()))? {
            Family::Multicall => rest = more,
            family => return Some((family, more)),
        }
    }
    None
}

/// Where, among a loader's arguments, the program is that it loads (ld.so(8)).
pub(crate) fn loaded<T: AsRef<[u8]>>(argv: &[T], extent: Extent) -> Result<Option<usize>, Missing> {
    const TAKING: [&[u8]; 6] = [
        b"--library-path",
        b"--preload",
        b"--audit",
        b"--argv0",
        b"--inhibit-rpath",
        b"--glibc-hwcaps-mask",
    ];
    let (argv, is_open) = extent.certain(argv);
    let mut at = 1;
    loop {
        let Some(argument) = argv.get(at).map(AsRef::as_ref) else {
            return if is_open { Err(Missing) } else { Ok(None) };
        };
        if !argument.starts_with(b"-") {
            return if argument.len() < extent.longest { Ok(Some(at)) } else { Err(Missing) };
        }
        at += if TAKING.contains(&argument) { 2 } else { 1 };
    }
}

/// What is run, of what follows the name of a program of that family.
pub(crate) fn code_of<T: AsRef<[u8]>>(
    family: Family,
    arguments: &[T],
    extent: Extent,
) -> Result<Vec<Code<'_>>, Missing> {
    // Whose options may follow its operands makes nothing of one that is bare.
    let (arguments, is_open) = match permutes(family) {
        true => (arguments, extent.is_open),
        false => extent.certain(arguments),
    };
    let mut reading = Reading {
        family,
        arguments: arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>().into_iter(),
        is_open,
        longest: extent.longest,
        is_cut: false,
        is_missing: false,
        found: Vec::new(),
        operand: Code { names: Vec::new(), named: Named::Path },
        has_operand: has_operand(family),
        may_take: false,
        is_isolated: false,
    };
    if matches!(family, Family::Multicall | Family::Loader) {
        return Ok(Vec::new());
    }
    if family == Family::Shell {
        reading.operand.named = Named::Searched;
    }
    while let Some(argument) = reading.next() {
        if !reading.read(argument) {
            break;
        }
    }
    if reading.is_missing {
        return Err(Missing);
    }
    if !reading.operand.names.is_empty() {
        reading.found.push(reading.operand);
    }
    Ok(reading.found)
}

struct Reading<'a> {
    family: Family,
    arguments: std::vec::IntoIter<&'a [u8]>,
    /// More arguments may follow.
    is_open: bool,
    /// An argument of so many bytes may be longer.
    longest: usize,
    /// Whether the one that was taken last may.
    is_cut: bool,
    /// What decides is not at hand.
    is_missing: bool,
    found: Vec<Code<'a>>,
    operand: Code<'a>,
    has_operand: bool,
    /// Whether the argument before was an option that may take this one.
    may_take: bool,
    /// Of Python: its working directory has no modules.
    is_isolated: bool,
}

impl<'a> Reading<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let next = self.arguments.next();
        match next {
            Some(argument) => self.is_cut = argument.len() >= self.longest,
            None => self.is_missing |= self.is_open,
        }
        next
    }

    /// The argument that was taken last counts to its end.
    fn needs_all(&mut self) {
        self.is_missing |= self.is_cut;
    }

    /// Whether there is more to read.
    fn read(&mut self, argument: &'a [u8]) -> bool {
        let may_take = std::mem::take(&mut self.may_take);
        let Some(letters) = argument.strip_prefix(b"-") else {
            return self.bare(argument, may_take);
        };
        match letters {
            b"" if self.family == Family::Shell => self.next_is_operand(),
            b"" => permutes(self.family),
            b"-" => self.next_is_operand(),
            _ if letters.starts_with(b"-") || are_words(self.family) => self.long(letters),
            _ => self.cluster(letters),
        }
    }

    fn next_is_operand(&mut self) -> bool {
        if self.has_operand {
            let next = self.next();
            self.operand.names.extend(next);
            self.needs_all();
        }
        false
    }

    fn bare(&mut self, argument: &'a [u8], may_take: bool) -> bool {
        if self.family == Family::Shell && argument.starts_with(b"+") && argument.len() > 1 {
            self.needs_all();
            if matches!(argument.last(), Some(b'o' | b'O')) {
                self.next();
            }
            return true;
        }
        if self.has_operand {
            self.needs_all();
            self.operand.names.push(argument);
            return may_take;
        }
        permutes(self.family)
    }

    fn long(&mut self, letters: &'a [u8]) -> bool {
        let name = letters.strip_prefix(b"-").unwrap_or(letters);
        let (name, attached) = match name.iter().position(|byte| *byte == b'=') {
            Some(at) => (&name[..at], Some(&name[at + 1..])),
            None => {
                self.needs_all();
                (name, None)
            }
        };
        match long(self.family, name) {
            Some(takes) => self.take(takes, attached),
            None => {
                self.may_take = attached.is_none();
                true
            }
        }
    }

    /// Letters behind one dash: one that takes a value ends them.
    fn cluster(&mut self, letters: &'a [u8]) -> bool {
        let mut rest = letters;
        while let Some((letter, more)) = rest.split_first() {
            rest = more;
            if self.family == Family::Python && matches!(letter, b'I' | b'P') {
                self.is_isolated = true;
            }
            // What `-s` is behind it is no file.
            if self.family == Family::Vim && matches!(letter, b'e' | b'E') {
                self.family = Family::Ex;
            }
            let takes = short(self.family, *letter, rest);
            match takes {
                Takes::Nothing => {}
                Takes::Rest => return true,
                Takes::Digits => {
                    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    rest = &rest[digits..];
                }
                Takes::Search => self.operand.named = Named::Searched,
                // A shell's takes the next argument whatever follows it in the cluster.
                Takes::Value if self.family == Family::Shell => {
                    self.needs_all();
                    self.next();
                }
                // What follows is options still, and the text is the first that is none.
                Takes::Text if self.family == Family::Shell => self.has_operand = false,
                takes => return self.take(takes, Some(rest).filter(|rest| !rest.is_empty())),
            }
        }
        self.needs_all();
        true
    }

    /// What an option takes, with what is attached to it; whether there is more to read.
    fn take(&mut self, takes: Takes, attached: Option<&'a [u8]>) -> bool {
        let is_vim = matches!(self.family, Family::Vim | Family::Ex);
        let mut value = || attached.or_else(|| self.next());
        let (names, named) = match takes {
            Takes::Nothing | Takes::Rest | Takes::Digits | Takes::Search => return true,
            Takes::Stdin => {
                self.has_operand = false;
                return true;
            }
            Takes::End => {
                self.has_operand = false;
                return false;
            }
            Takes::Value | Takes::MoreText => {
                value();
                return true;
            }
            Takes::Text => {
                value();
                self.has_operand = false;
                // What follows is the text's own.
                return self.family != Family::Python;
            }
            Takes::Setting => {
                let setting = value().unwrap_or_default();
                let file = [&b"auto_prepend_file="[..], b"auto_append_file="]
                    .iter()
                    .find_map(|name| setting.strip_prefix(*name));
                (file.filter(|file| !matches!(*file, b"" | b"none")), Named::Path)
            }
            Takes::Words => match value() {
                Some(words) if b"exec".starts_with(words) || b"file".starts_with(words) => {
                    (self.next(), Named::Path)
                }
                Some(words) => (
                    words.strip_prefix(b"exec=").or_else(|| words.strip_prefix(b"file=")),
                    Named::Path,
                ),
                None => return false,
            },
            // Of vim: no file, or its own.
            Takes::File if is_vim => {
                let own: [&[u8]; 3] = [b"NONE", b"NORC", b"DEFAULTS"];
                (value().filter(|file| !own.contains(file)), Named::Path)
            }
            // Standard input is nobody's file.
            Takes::File | Takes::Script => (value().filter(|file| *file != b"-"), Named::Path),
            Takes::Library => (value(), Named::Library),
            Takes::Module => (value().filter(|_| !self.is_isolated), Named::Module),
        };
        let names: Vec<_> = names.into_iter().collect();
        if !names.is_empty() {
            self.needs_all();
            self.found.push(Code { names, named });
        }
        if matches!(takes, Takes::Script | Takes::Module) {
            self.has_operand = false;
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests;
