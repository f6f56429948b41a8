//! All others.

use crate::interpreter::family::Family;
use crate::interpreter::takes::Takes;

pub(super) fn short(family: Family, letter: u8) -> Takes {
    use Takes::{End, File, Library, Nothing, Perhaps, Script, Text, Value};
    match (family, letter) {
        (Family::Guile, b'c') => Text,
        (Family::Guile, b's') => Script,
        (Family::Guile, b'l') => File,
        (Family::Guile, b'L' | b'C' | b'x' | b'e') => Value,
        (Family::Rscript | Family::R, b'e') => Text,
        (Family::R, b'f') => Script,
        (Family::R, b'g' | b'd') => Value,
        (Family::Plain, b'e' | b'E') | (Family::Gjs, b'c') => Text,
        // Of one a file to load, of another a folder, a number, or no option.
        (Family::Plain, b'I' | b'L' | b'J' | b'H' | b'M' | b'i' | b'l' | b'm' | b'p' | b't') => {
            Perhaps
        }
        (Family::Gjs, b'C' | b'I') => Value,
        (Family::Prolog, b's' | b'l' | b'f' | b'x') => Library,
        (Family::Prolog, b'g' | b't' | b'p' | b'G' | b'L' | b'T') => Value,
        (Family::Prolog, b'c') => End,
        _ => Nothing,
    }
}

pub(super) fn long(family: Family, name: &[u8]) -> Option<Takes> {
    use Takes::{End, File, MoreText, Nothing, Script, Text, Value};
    Some(match (family, name) {
        (Family::R, b"file") => Script,
        (Family::R, b"args") => End,
        (Family::Mono, b"config") => Value,
        (Family::Java, b"jar") => Script,
        (Family::Java, b"cp" | b"classpath" | b"class-path" | b"p" | b"module-path") => Value,
        (Family::Gjs, b"command") | (Family::Plain, b"eval") => Text,
        (Family::Gjs, b"coverage-prefix" | b"coverage-output" | b"include-path") => Value,
        (Family::Gnuplot, b"e") | (Family::Clisp, b"x") => MoreText,
        (Family::Gnuplot, b"c") => Script,
        (Family::Gnuplot, b"p" | b"persist" | b"d" | b"default-settings" | b"s" | b"slow") => {
            Nothing
        }
        (Family::Clisp, b"i" | b"c") => File,
        (Family::Clisp, b"M" | b"m" | b"B" | b"K" | b"N" | b"L" | b"o" | b"p" | b"lp") => Value,
        (Family::Clisp, b"on-error") => Value,
        (Family::Clisp, _) if name.starts_with(b"E") => Value,
        (Family::Lisp, b"script") => Script,
        (Family::Lisp, b"load" | b"userinit" | b"sysinit") => File,
        (Family::Lisp, b"eval" | b"core") => Value,
        (Family::Lisp, b"end-toplevel-options" | b"end-runtime-options") => Nothing,
        (Family::Ocaml, b"e") => Text,
        (Family::Ocaml, b"init") => File,
        (Family::Ocaml, b"I" | b"w" | b"warn-error" | b"open" | b"ppx" | b"color") => Value,
        (Family::Prolog, b"goal" | b"toplevel") => Value,
        (
            Family::Deno
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
