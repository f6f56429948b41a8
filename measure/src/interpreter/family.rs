//! Programs that run text: which they are.

use lacre_types::code::{self, Language};

/// Programs that run text, by the way they read their arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Shell,
    Fish,
    Csh,
    Python,
    Perl,
    Ruby,
    Node,
    Deno,
    Php,
    Lua,
    Awk,
    Sed,
    Tcl,
    Expect,
    Guile,
    /// Of R: the script's interpreter.
    Rscript,
    R,
    /// Of .NET: what it runs is no script, and is named as one.
    Mono,
    Java,
    Emacs,
    Vim,
    /// vim that edits by commands, as `ex` and `vim -e` do.
    Ex,
    Gdb,
    Lisp,
    Clisp,
    Ocaml,
    Prolog,
    Gjs,
    Gnuplot,
    /// The first argument that is no option.
    Plain,
    /// One file of many names.
    Multicall,
    /// A dynamic loader, which runs what its arguments say.
    Loader,
}

/// What a distribution adds to a program's name where it builds it more than once.
const VARIANTS: [&[u8]; 8] =
    [b"-static", b"-nox", b"-gtk", b"-lucid", b".basic", b".tiny", b".nox", b".gtk3"];

impl Family {
    /// The family of a program, by its base name; a version may follow the name, and what it was
    /// built for.
    pub(crate) fn of(base: &[u8]) -> Option<Self> {
        let name = base.strip_prefix(b"-").unwrap_or(base);
        if is_loader(name) {
            return Some(Self::Loader);
        }
        // Whatever follows: by that they look for what they are to be among their arguments.
        if [&b"busybox"[..], b"toybox"].iter().any(|begins| name.starts_with(begins)) {
            return Some(Self::Multicall);
        }
        let built_for = || {
            let digit = name.iter().position(u8::is_ascii_digit)?;
            let dash = name.get(digit..)?.iter().position(|byte| *byte == b'-')?;
            name.get(..digit + dash)
        };
        let variant = || VARIANTS.iter().find_map(|variant| name.strip_suffix(*variant));
        Self::called(unversioned(name))
            .or_else(|| Self::called(unversioned(variant()?)))
            .or_else(|| Self::called(unversioned(built_for()?)))
    }

    fn called(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"sh" | b"bash" | b"rbash" | b"dash" | b"ash" | b"hush" | b"zsh" | b"ksh" | b"mksh"
            | b"lksh" | b"ksh93u+m" | b"posh" | b"yash" => Self::Shell,
            b"fish" => Self::Fish,
            b"csh" | b"tcsh" => Self::Csh,
            b"python" | b"pypy" => Self::Python,
            b"perl" => Self::Perl,
            b"ruby" | b"jruby" => Self::Ruby,
            b"node" | b"nodejs" => Self::Node,
            b"deno" | b"bun" => Self::Deno,
            b"php" | b"php-cgi" => Self::Php,
            b"lua" | b"luajit" => Self::Lua,
            b"awk" | b"gawk" | b"mawk" | b"nawk" | b"original-awk" => Self::Awk,
            b"sed" => Self::Sed,
            b"tclsh" | b"wish" | b"jimsh" => Self::Tcl,
            b"expect" => Self::Expect,
            b"guile" => Self::Guile,
            b"Rscript" => Self::Rscript,
            b"R" => Self::R,
            b"mono" | b"mono-sgen" | b"mono-boehm" => Self::Mono,
            b"java" => Self::Java,
            b"emacs" => Self::Emacs,
            b"vim" | b"nvim" => Self::Vim,
            b"gdb" => Self::Gdb,
            b"sbcl" => Self::Lisp,
            b"ocaml" | b"ocamlrun" => Self::Ocaml,
            b"swipl" => Self::Prolog,
            b"clisp" => Self::Clisp,
            b"gjs" | b"gjs-console" => Self::Gjs,
            b"gnuplot" => Self::Gnuplot,
            b"escript" | b"qjs" | b"mujs" | b"julia" | b"slsh" | b"newlisp" | b"pike" => {
                Self::Plain
            }
            _ => return None,
        })
    }

    /// The same of a program that was executed by that base name: some read their options by it.
    pub(crate) fn by_name(self, name: &[u8]) -> Self {
        match self {
            Self::Vim if matches!(name, b"ex" | b"exim" | b"rex") => Self::Ex,
            family => family,
        }
    }

    /// Whose files it runs, besides any that its command line names.
    pub(crate) const fn language(self) -> Language {
        match self {
            Self::Shell | Self::Fish | Self::Csh => code::SHELL,
            Self::Python => code::PYTHON,
            Self::Perl => code::PERL,
            Self::Ruby => code::RUBY,
            Self::Node | Self::Deno => code::JAVASCRIPT,
            Self::Php => code::PHP,
            Self::Lua => code::LUA,
            Self::Awk => code::AWK,
            Self::Sed => code::SED,
            Self::Tcl | Self::Expect => code::TCL,
            Self::Java => code::JAVA,
            Self::Emacs => code::EMACS,
            Self::Guile
            | Self::Rscript
            | Self::R
            | Self::Clisp
            | Self::Gjs
            | Self::Gnuplot
            | Self::Plain => code::OTHERS,
            Self::Mono
            | Self::Vim
            | Self::Ex
            | Self::Gdb
            | Self::Lisp
            | Self::Ocaml
            | Self::Prolog
            | Self::Multicall
            | Self::Loader => code::NONE,
        }
    }

    /// Whether it is given other people's text to work on: what begins with a `#!` is not run for
    /// that it is opened.
    pub(crate) const fn works_on_text(self) -> bool {
        matches!(self, Self::Awk | Self::Sed | Self::Emacs | Self::Vim | Self::Ex | Self::Gdb)
    }

    /// Whether what follows a first `-c` is code, whatever follows it.
    pub(crate) const fn code_after_c(self) -> bool {
        matches!(self, Self::Shell | Self::Fish | Self::Csh | Self::Python)
    }

    /// Whether its command line names its code by a file. Java's names a class, and Deno's a
    /// command.
    pub(crate) const fn names_files(self) -> bool {
        !matches!(self, Self::Java | Self::Deno)
    }
}

fn unversioned(name: &[u8]) -> &[u8] {
    let is_version = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let end = name.iter().rposition(|byte| !is_version(byte)).map_or(0, |last| last + 1);
    &name[..end]
}

/// The dynamic loaders of glibc, musl and bionic.
pub(crate) fn is_loader(name: &[u8]) -> bool {
    let begins = |with: &[u8]| name.starts_with(with);
    begins(b"ld-") || begins(b"ld.so") || begins(b"ld64.so") || begins(b"linker")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_no_other_program() {
        for (name, family) in [
            ("python3.12", Some(Family::Python)),
            ("php8.2", Some(Family::Php)),
            ("perl5.36-x86_64-linux-gnu", Some(Family::Perl)),
            ("luajit-2.1.0-beta3", Some(Family::Lua)),
            ("bash-static", Some(Family::Shell)),
            ("vim.basic", Some(Family::Vim)),
            ("emacs-nox", Some(Family::Emacs)),
            ("-bash", Some(Family::Shell)),
            ("busybox-x", Some(Family::Multicall)),
            ("busybox.static", Some(Family::Multicall)),
            ("-toyboxes", Some(Family::Multicall)),
            ("xbusybox", None),
            ("ld-linux-x86-64.so.2", Some(Family::Loader)),
            ("sha256sum", None),
            ("shred", None),
            ("perldoc", None),
            ("php-fpm8.2", None),
            ("awkward", None),
            ("ld", None),
            ("", None),
        ] {
            assert_eq!(Family::of(name.as_bytes()), family, "{name}");
        }
    }
}
