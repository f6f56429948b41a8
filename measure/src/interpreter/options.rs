//! What each option of an interpreter takes, by its manual.

use super::family::Family;

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// The next argument, or what follows in its own.
    Value,
    /// What follows in its own argument, be that nothing.
    Rest,
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
    /// The name of a module that is run.
    Module,
    /// Its program is read from standard input.
    Stdin,
    /// The script is searched for along `PATH`.
    Search,
    /// What may be a setting that names a file which is run.
    Setting,
    /// Of mawk: `exec FILE`.
    Words,
    /// What follows is another program's.
    End,
}

/// Of a letter behind one dash, with what follows it in its argument.
pub(super) fn short(family: Family, letter: u8, rest: &[u8]) -> Takes {
    use Takes::{
        Digits, End, File, Library, Module, MoreText, Nothing, Rest, Script, Search, Setting,
        Stdin, Text, Value, Words,
    };
    match (family, letter) {
        (Family::Shell, b'c') | (Family::Fish | Family::Csh | Family::Guile, b'c') => Text,
        (Family::Shell | Family::Csh, b's') => Stdin,
        (Family::Shell | Family::Fish, b'o' | b'O') => Value,
        (Family::Fish, b'C') => MoreText,
        (Family::Fish, b'd' | b'D' | b'f' | b'p') => Value,
        (Family::Python, b'c') => Text,
        (Family::Python, b'm') => Module,
        (Family::Python, b'W' | b'X' | b'Q') => Value,
        (Family::Perl, b'e' | b'E') | (Family::Ruby, b'e') => Text,
        (Family::Perl | Family::Ruby, b'S') => Search,
        (Family::Perl, b'I') | (Family::Ruby, b'I' | b'C' | b'E' | b'X') => Value,
        (Family::Perl | Family::Ruby, b'0' | b'l') => Digits,
        (Family::Perl, b'i' | b'M' | b'm' | b'x' | b'F' | b'C' | b'D' | b'V') => Rest,
        (Family::Perl, b'd') if matches!(rest.first(), Some(b':' | b'=')) => Rest,
        (Family::Ruby, b'r') => Library,
        (Family::Ruby, b'i' | b'x' | b'F' | b'K' | b'T' | b'W') => Rest,
        (Family::Node, b'e' | b'p') => Text,
        (Family::Node, b'r') => Library,
        (Family::Node, b'C') => Value,
        (Family::Php, b'r' | b'R') => Text,
        (Family::Php, b'B' | b'E') => MoreText,
        (Family::Php, b'f' | b'F') => Script,
        (Family::Php, b'd') => Setting,
        (Family::Php, b'c' | b'z' | b't' | b'S' | b'T') => Value,
        (Family::Lua, b'e') => MoreText,
        (Family::Lua, b'l') => Library,
        (Family::Lua, b'j' | b'b') => Value,
        (Family::Lua, b'O') => Rest,
        (Family::Awk, b'i') => Library,
        (Family::Awk | Family::Sed, b'f') => File,
        (Family::Awk, b'E') => Script,
        (Family::Awk, b'v' | b'F' | b'l') | (Family::Sed, b'l') => Value,
        (Family::Awk | Family::Sed, b'e') => MoreText,
        (Family::Awk, b'W') => Words,
        (Family::Sed, b'i') => Rest,
        (Family::Expect, b'c') => MoreText,
        (Family::Expect, b'f' | b'b') => Script,
        (Family::Expect, b'D') => Value,
        (Family::Guile, b's') => Script,
        (Family::Guile, b'l') => File,
        (Family::Guile, b'L' | b'C' | b'x' | b'e') => Value,
        (Family::Rscript | Family::R, b'e') => Text,
        (Family::R, b'f') => Script,
        (Family::R, b'g' | b'd') => Value,
        (Family::Vim, b'S' | b's' | b'u' | b'U') => File,
        (Family::Vim, b'c' | b'T' | b't' | b'q' | b'w' | b'W' | b'i') => MoreText,
        (Family::Ex, b's') => Nothing,
        (Family::Ex, _) => short(Family::Vim, letter, rest),
        (Family::Plain, b'e' | b'E') | (Family::Gjs, b'c') => Text,
        (Family::Gjs, b'C' | b'I') => Value,
        (Family::Ocaml, b'e') => Text,
        (Family::Ocaml, b'I') => Value,
        (Family::Prolog, b's' | b'l' | b'f' | b'x') => Library,
        (Family::Prolog, b'g' | b't' | b'p' | b'G' | b'L' | b'T') => Value,
        (Family::Prolog, b'c') => End,
        _ => Nothing,
    }
}

/// Of a long one, by its name without dashes; `None` where it is not known, and so may take the
/// next argument.
pub(super) fn long(family: Family, name: &[u8]) -> Option<Takes> {
    use Takes::{End, File, Library, MoreText, Nothing, Script, Setting, Text, Value};
    Some(match (family, name) {
        (Family::Shell, b"rcfile" | b"init-file") => File,
        (Family::Shell, b"emulate") => Value,
        (Family::Fish, b"command") => Text,
        (Family::Fish, b"init-command") => MoreText,
        (Family::Fish, b"debug" | b"debug-output" | b"features" | b"profile") => Value,
        (Family::Python, b"check-hash-based-pycs") => Value,
        (Family::Ruby, b"encoding" | b"external-encoding" | b"internal-encoding") => Value,
        (Family::Node, b"eval" | b"print") => Text,
        (Family::Node, b"require" | b"import" | b"loader" | b"experimental-loader") => Library,
        (Family::Node, b"conditions" | b"env-file" | b"title" | b"icu-data-dir") => Value,
        (Family::Php, b"file" | b"process-file") => Script,
        (Family::Php, b"run" | b"process-code") => Text,
        (Family::Php, b"process-begin" | b"process-end") => MoreText,
        (Family::Php, b"define") => Setting,
        (Family::Php, b"php-ini" | b"server" | b"docroot" | b"zend-extension") => Value,
        (Family::Awk, b"include") => Library,
        (Family::Awk | Family::Sed, b"file") => File,
        (Family::Awk, b"exec") => Script,
        (Family::Awk, b"source") | (Family::Sed, b"expression") => MoreText,
        (Family::Awk, b"assign" | b"field-separator" | b"load") => Value,
        (Family::Sed, b"line-length") => Value,
        (Family::R, b"file") => Script,
        (Family::R, b"args") => End,
        (Family::Mono, b"config") => Value,
        (Family::Java, b"jar") => Script,
        (Family::Java, b"cp" | b"classpath" | b"class-path" | b"p" | b"module-path") => Value,
        (Family::Tcl, b"encoding") => Value,
        (Family::Emacs, b"script" | b"x") => File,
        (Family::Emacs, b"load" | b"l") => Library,
        (Family::Emacs, b"eval" | b"execute" | b"f" | b"funcall" | b"L" | b"directory") => MoreText,
        (Family::Gdb, b"x" | b"command" | b"ix" | b"init-command") => File,
        (Family::Gdb, b"ex" | b"eval-command" | b"iex" | b"init-eval-command") => MoreText,
        (Family::Gdb, b"args") => End,
        (Family::Vim | Family::Ex, b"cmd") => MoreText,
        (Family::Tcl, b"e") | (Family::Gjs, b"command") | (Family::Plain, b"eval") => Text,
        (Family::Gjs, b"coverage-prefix" | b"coverage-output" | b"include-path") => Value,
        (Family::Gnuplot, b"e") | (Family::Clisp, b"x") => MoreText,
        (Family::Gnuplot, b"c") => Script,
        (Family::Gnuplot, b"p" | b"persist" | b"d" | b"default-settings" | b"s" | b"slow") => {
            Nothing
        }
        (Family::Clisp, b"i" | b"c") => File,
        (Family::Clisp, b"M" | b"m" | b"B" | b"K" | b"N" | b"L" | b"o" | b"p" | b"lp") => Value,
        (Family::Clisp, b"on-error") => Value,
        (Family::Clisp, _) => {
            if name.starts_with(b"E") {
                Value
            } else {
                Nothing
            }
        }
        (Family::Lisp, b"script") => Script,
        (Family::Lisp, b"load" | b"userinit" | b"sysinit") => File,
        (Family::Lisp, b"eval" | b"core") => Value,
        (Family::Lisp, b"end-toplevel-options" | b"end-runtime-options") => Nothing,
        (
            Family::Node
            | Family::Deno
            | Family::Php
            | Family::Fish
            | Family::Tcl
            | Family::Java
            | Family::Lisp
            | Family::Ocaml
            | Family::Prolog
            | Family::Gjs
            | Family::Gnuplot
            | Family::Plain,
            _,
        ) => return None,
        _ => Nothing,
    })
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
