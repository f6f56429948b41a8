//! The languages that most scripts are written in.

use crate::interpreter::family::Family;
use crate::interpreter::takes::Takes;

pub(super) fn short(family: Family, letter: u8, rest: &[u8]) -> Takes {
    use Takes::{
        Digits, Folder, Library, Module, MoreText, NamedLibrary, Nothing, Rest, Script, Search,
        Setting, Space, Text, Value, Word,
    };
    match (family, letter) {
        (Family::Python, b'c') => Text,
        (Family::Python, b'm') => Module,
        (Family::Python, b'W' | b'X' | b'Q') => Value,
        (Family::Perl, b'e' | b'E') | (Family::Ruby, b'e') => Text,
        (Family::Perl | Family::Ruby, b'S') => Search,
        (Family::Perl, b'I') | (Family::Ruby, b'I' | b'E') => Value,
        (Family::Ruby, b'C' | b'X') => Folder,
        (Family::Perl | Family::Ruby, b'0' | b'l') => Digits,
        (Family::Perl, b'i') => Word,
        (Family::Perl, b' ') => Space,
        (Family::Perl, b'M' | b'm' | b'x' | b'F' | b'C' | b'D' | b'V') => Rest,
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
        (Family::Lua, b'l') => NamedLibrary,
        (Family::Lua, b'j' | b'b') => Value,
        (Family::Lua, b'O') => Rest,
        (Family::Expect, b'c') => MoreText,
        (Family::Expect, b'f' | b'b') => Script,
        (Family::Expect, b'D') => Value,
        _ => Nothing,
    }
}

pub(super) fn long(family: Family, name: &[u8]) -> Option<Takes> {
    use Takes::{Library, MoreText, Nothing, Script, Setting, Text, Value};
    Some(match (family, name) {
        (Family::Python, b"check-hash-based-pycs") => Value,
        (Family::Python | Family::Perl, _) => Nothing,
        (
            Family::Ruby,
            b"encoding" | b"external-encoding" | b"internal-encoding" | b"enable" | b"disable"
            | b"dump" | b"backtrace-limit" | b"parser" | b"crash-report",
        ) => Value,
        (
            Family::Ruby,
            b"copyright"
            | b"debug"
            | b"help"
            | b"jit"
            | b"verbose"
            | b"version"
            | b"yjit"
            | b"rjit"
            | b"mjit"
            | b"yydebug"
            | b"disable-all"
            | b"disable-gems"
            | b"disable-gem"
            | b"disable-rubyopt"
            | b"disable-did_you_mean"
            | b"disable-error_highlight"
            | b"enable-frozen-string-literal"
            | b"disable-frozen-string-literal"
            | b"enable-all"
            | b"enable-gems"
            | b"enable-jit"
            | b"disable-jit"
            | b"debug-frozen-string-literal",
        ) => Nothing,
        (Family::Node, name) if name.contains(&b'_') => {
            let name: Vec<u8> =
                name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect();
            return long(family, &name);
        }
        (Family::Node, b"eval" | b"print") => Text,
        (Family::Node, b"require" | b"import" | b"loader" | b"experimental-loader") => Library,
        (
            Family::Node,
            b"build-snapshot-config"
            | b"conditions"
            | b"cpu-prof-dir"
            | b"cpu-prof-name"
            | b"diagnostic-dir"
            | b"disable-proto"
            | b"disable-warning"
            | b"dns-result-order"
            | b"env-file"
            | b"env-file-if-exists"
            | b"heap-prof-dir"
            | b"heap-prof-name"
            | b"icu-data-dir"
            | b"input-type"
            | b"openssl-config"
            | b"redirect-warnings"
            | b"report-directory"
            | b"report-dir"
            | b"report-filename"
            | b"snapshot-blob"
            | b"test-name-pattern"
            | b"test-reporter"
            | b"test-reporter-destination"
            | b"title"
            | b"tls-cipher-list"
            | b"tls-keylog"
            | b"trace-event-categories"
            | b"trace-event-file-pattern"
            | b"unhandled-rejections"
            | b"watch-path",
        ) => Value,
        (Family::Php, b"file" | b"process-file") => Script,
        (Family::Php, b"run" | b"process-code") => Text,
        (Family::Php, b"process-begin" | b"process-end") => MoreText,
        (Family::Php, b"define") => Setting,
        (
            Family::Php,
            b"php-ini" | b"server" | b"docroot" | b"zend-extension" | b"bindpath" | b"timing",
        ) => Value,
        (Family::Tcl, b"encoding") => Value,
        (Family::Tcl, b"e") => Text,
        _ => return None,
    })
}
