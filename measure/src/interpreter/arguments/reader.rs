//! One argument after the other, as the interpreter reads them. Where interpreters of one family
//! read them differently, each reading counts: what any of them runs is found.

use crate::interpreter::code::{Code, Named};
use crate::interpreter::extent::Missing;
use crate::interpreter::family::Family;
use crate::interpreter::options::{awk_word, is_one_of_many, long, permutes, short, word};
use crate::interpreter::takes::Takes;

pub(super) struct Reader<'a> {
    pub(super) family: Family,
    pub(super) arguments: std::vec::IntoIter<&'a [u8]>,
    /// More arguments may follow.
    pub(super) is_open: bool,
    /// An argument of so many bytes may be longer.
    pub(super) longest: usize,
    /// Whether the one that was taken last may.
    pub(super) is_cut: bool,
    /// What decides is not at hand.
    pub(super) is_missing: bool,
    pub(super) found: Vec<Code<'a>>,
    pub(super) operand: Code<'a>,
    pub(super) has_operand: bool,
    /// Whether the argument before was an option that may take this one.
    pub(super) may_take: bool,
    /// Of shells: whether each would have read what is behind as options as well.
    pub(super) is_certain: bool,
    /// Of Python: its working directory has no modules.
    pub(super) is_isolated: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn all(mut self) -> Result<Vec<Code<'a>>, Missing> {
        while let Some(argument) = self.next() {
            if !self.read(argument) {
                break;
            }
        }
        if self.is_missing {
            return Err(Missing);
        }
        if !self.operand.names.is_empty() {
            self.found.push(self.operand);
        }
        Ok(self.found)
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        let next = self.arguments.next();
        match next {
            Some(argument) => self.is_cut = argument.len() >= self.longest,
            None => self.is_missing |= self.is_open,
        }
        next
    }

    /// The next one, which is read as an option too where it looks like one.
    fn next_or_option(&mut self) -> Option<&'a [u8]> {
        match self.arguments.as_slice().first() {
            Some(next) if is_option(next) => Some(next),
            _ => self.next(),
        }
    }

    /// The argument that was taken last counts to its end.
    fn needs_all(&mut self) {
        self.is_missing |= self.is_cut;
    }

    /// Whether there is more to read.
    fn read(&mut self, argument: &'a [u8]) -> bool {
        let may_take = std::mem::take(&mut self.may_take);
        if self.family == Family::Shell
            && let Some(letters) = argument.strip_prefix(b"+")
        {
            return self.cluster(letters, true);
        }
        let Some(letters) = argument.strip_prefix(b"-") else {
            return self.bare(argument, may_take);
        };
        match letters {
            b"" if self.family == Family::Shell => self.next_is_operand(),
            b"" => permutes(self.family),
            b"-" => self.next_is_operand(),
            _ if letters.starts_with(b"-") => self.long(letters),
            _ => self.word(letters),
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
        if !self.has_operand {
            return permutes(self.family);
        }
        self.needs_all();
        // A meta switch: the script's second line has the options.
        if self.family == Family::Guile && argument == b"\\" {
            return self.next_is_operand();
        }
        if is_one_of_many(self.family, argument) {
            let code = Code { names: vec![argument], ..self.operand.clone() };
            self.found.push(code);
            return true;
        }
        self.operand.names.push(argument);
        may_take
    }

    /// Behind one dash.
    fn word(&mut self, letters: &'a [u8]) -> bool {
        let (name, attached) = divided(letters);
        match word(self.family, name) {
            Some(takes) => {
                if attached.is_none() {
                    self.needs_all();
                }
                self.take(takes, attached)
            }
            None => self.cluster(letters, false),
        }
    }

    fn long(&mut self, letters: &'a [u8]) -> bool {
        let (name, attached) = divided(letters.strip_prefix(b"-").unwrap_or(letters));
        if attached.is_none() {
            self.needs_all();
        }
        self.take(long(self.family, name).unwrap_or(Takes::Perhaps), attached)
    }

    /// Letters behind one dash, or a plus: one that takes a value ends them.
    fn cluster(&mut self, letters: &'a [u8], is_plus: bool) -> bool {
        let (mut rest, mut is_certain) = (letters, self.is_certain);
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
                Takes::Word | Takes::Space => {
                    let Some(more) = behind_space(takes, rest) else { return true };
                    rest = more;
                }
                Takes::Digits => {
                    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    rest = &rest[digits..];
                }
                Takes::Search => self.operand.named = Named::Searched,
                Takes::Value if self.family == Family::Shell => {
                    is_certain &= rest.len() <= 1;
                    self.shell_option(rest);
                }
                // By one shell they are the name of an option, by another they are options.
                Takes::Text | Takes::Stdin if self.family == Family::Shell && !is_certain => {}
                // To dash it is what `-s` turns off.
                Takes::Stdin if is_plus => {}
                // What follows is options still, and the text is the first that is none.
                Takes::Text if self.family == Family::Shell => self.has_operand = false,
                Takes::Stdin => self.has_operand = false,
                Takes::Perhaps if !rest.is_empty() => return self.take(takes, Some(rest)),
                takes => {
                    let attached = Some(rest).filter(|rest| !rest.is_empty());
                    // PHP has a value behind `=`, too.
                    let attached = match self.family {
                        Family::Php => attached.map(|it| it.strip_prefix(b"=").unwrap_or(it)),
                        _ => attached,
                    };
                    return self.take(takes, attached);
                }
            }
        }
        self.needs_all();
        true
    }

    /// `-o` of a shell's, with what follows it in its argument. bash and dash take the next
    /// argument for its name whatever follows; zsh and ksh what follows.
    fn shell_option(&mut self, rest: &[u8]) {
        self.needs_all();
        if rest.is_empty() {
            self.next();
            return;
        }
        if self.arguments.as_slice().first().is_some_and(|next| is_option(next)) {
            return;
        }
        if let Some(next) = self.next()
            && rest.len() > 1
        {
            self.operand.names.push(next);
            self.needs_all();
        }
    }

    /// What an option takes, with what is attached to it; whether there is more to read.
    fn take(&mut self, takes: Takes, attached: Option<&'a [u8]>) -> bool {
        let is_vim = matches!(self.family, Family::Vim | Family::Ex);
        let is_shell = self.family == Family::Shell;
        let mut value = || attached.or_else(|| self.next());
        let (names, named) = match takes {
            Takes::Nothing
            | Takes::Rest
            | Takes::Word
            | Takes::Space
            | Takes::Digits
            | Takes::Search => return true,
            Takes::Stdin => {
                self.has_operand = false;
                return true;
            }
            Takes::End => {
                self.has_operand = false;
                return false;
            }
            Takes::Perhaps => {
                match attached {
                    // A letter's: a file to load, it may be.
                    Some(name) if takes_files(self.family) => self.push(name, Named::Path),
                    Some(_) => {}
                    None => self.may_take = true,
                }
                return true;
            }
            Takes::Value | Takes::MoreText => {
                value();
                return true;
            }
            Takes::Folder => {
                let folder = value();
                self.needs_all();
                self.operand.within = folder.or(self.operand.within);
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
            Takes::Words => {
                let words = value().unwrap_or_default();
                self.needs_all();
                return self.words(words);
            }
            // busybox's shell passes over it, and what follows may be an option.
            Takes::File if is_shell && attached.is_none() => {
                let next = self.arguments.as_slice().first();
                let is_option = next.is_some_and(|next| is_option(next));
                self.is_certain &= !is_option;
                (self.next_or_option(), Named::Path)
            }
            // Of vim: no file, or its own.
            Takes::File if is_vim => {
                let own: [&[u8]; 3] = [b"NONE", b"NORC", b"DEFAULTS"];
                (value().filter(|file| !own.contains(file)), Named::Path)
            }
            // Standard input is nobody's file.
            Takes::File | Takes::Script => (value().filter(|file| *file != b"-"), Named::Path),
            Takes::Library => (value(), Named::Library),
            Takes::NamedLibrary => {
                let name = value();
                let behind = |name: &'a [u8]| divided(name).1.unwrap_or(name);
                (name.map(behind), Named::Library)
            }
            Takes::Module => (value().filter(|_| !self.is_isolated), Named::Module),
        };
        if let Some(name) = names {
            self.needs_all();
            self.push(name, named);
        }
        if matches!(takes, Takes::Script | Takes::Module) {
            self.has_operand = false;
            return false;
        }
        true
    }

    fn push(&mut self, name: &'a [u8], named: Named) {
        let (name, named) = self.without_scheme(name, named);
        if self.found.iter().all(|code| code.names != [name] || code.named != named) {
            self.found.push(Code { names: vec![name], named, within: self.operand.within });
        }
    }

    /// Where a file may be named by a URL.
    fn without_scheme(&self, name: &'a [u8], named: Named) -> (&'a [u8], Named) {
        let takes_urls = match self.family {
            Family::Node => named == Named::Library,
            Family::Php => true,
            _ => false,
        };
        let scheme = name.windows(3).position(|part| part == b"://").filter(|_| takes_urls);
        match scheme.map(|end| (&name[..end], &name[end + 3..])) {
            None => (name, named),
            Some((b"file", path)) if !path.contains(&b'%') => (path, Named::Path),
            Some((b"php", b"stdin")) => (b"/dev/stdin", Named::Path),
            Some(_) => (name, Named::Url),
        }
    }

    /// `-W` of awk's: mawk's words, with commas between, or a long option of gawk's. busybox's
    /// passes over it.
    fn words(&mut self, words: &'a [u8]) -> bool {
        for one in words.split(|byte| *byte == b',') {
            let (name, attached) = divided(one);
            let attached = attached.filter(|value| !value.is_empty());
            let named = match awk_word(name) {
                // What follows is the program's, whatever it looks like: to mawk and gawk.
                Takes::Script => {
                    let script = attached.or_else(|| self.next_or_option());
                    self.needs_all();
                    if let Some(script) = script {
                        self.push(script, Named::Path);
                        if attached.is_none() && is_option(script) {
                            continue;
                        }
                    }
                    return false;
                }
                Takes::File => Some(Named::Path),
                Takes::Library => Some(Named::Library),
                Takes::Value | Takes::MoreText => None,
                _ => continue,
            };
            let value = attached.or_else(|| self.next_or_option());
            self.needs_all();
            if let (Some(named), Some(value)) = (named, value) {
                self.push(value, named);
            }
        }
        true
    }
}

/// Whether it looks like an option.
fn is_option(argument: &[u8]) -> bool {
    argument.first().is_some_and(|first| matches!(first, b'-' | b'+'))
}

/// Whether a letter that takes what nobody knows may take a file that is run.
const fn takes_files(family: Family) -> bool {
    matches!(family, Family::Plain)
}

/// A name, and what is behind its `=`.
fn divided(option: &[u8]) -> (&[u8], Option<&[u8]>) {
    match option.iter().position(|byte| *byte == b'=') {
        Some(at) => (&option[..at], Some(&option[at + 1..])),
        None => (option, None),
    }
}

/// Of perl's: the options that go on behind a space and a dash in the same argument.
fn behind_space(takes: Takes, rest: &[u8]) -> Option<&[u8]> {
    let word = if takes == Takes::Space { 0 } else { rest.iter().position(|it| *it == b' ')? };
    let spaces = rest[word..].iter().take_while(|byte| **byte == b' ').count();
    rest[word + spaces..].strip_prefix(b"-")
}
