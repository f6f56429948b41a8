//! Who opens: an interpreter about to run the file, a loader about to map it, or a program
//! that reads.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use lacre_types::Process;
use lacre_types::code::{self, Language};

use super::opener::link;
use super::programs::{Program, Programs};
use crate::interpreter::{self, Extent, Family};

/// The process of a thread, with its effective user, for a report.
pub(super) fn process(thread: u32) -> Process {
    let status = bounded(thread, "status", 4096).unwrap_or_default();
    let field = |name: &[u8], at: usize| -> Option<u32> {
        let line = status.split(|byte| *byte == b'\n').find(|line| line.starts_with(name))?;
        std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(at)?.parse().ok()
    };
    Process { pid: field(b"Tgid:", 1).unwrap_or(thread), uid: field(b"Uid:", 2) }
}

pub(super) fn bounded(pid: u32, what: &str, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/{what}")).ok()?;
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether the process may be an interpreter, by its program alone. Asking this never
/// waits; reading a command line may, for as long as the process likes: its pages can
/// be a server's.
pub(super) fn may_interpret(pid: u32, programs: &Programs) -> bool {
    programs.run_by(pid) != Program::Other
}

/// Who opens a file, by what it does with files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opener {
    /// A program that runs text: its own, or by an interpreter that it has mapped.
    Interpreter {
        /// Whose files it runs.
        languages: Vec<Language>,
        /// The base names of the files that its command line has it run.
        scripts: Vec<Vec<u8>>,
        /// Whether it opens other files to work on their text.
        works_on_text: bool,
        /// The base names of what it is given to work on, where it works on text.
        operands: Vec<Vec<u8>>,
    },
    /// It reads.
    Other,
    /// It can't be asked.
    Unknown,
}

impl Opener {
    pub(super) const fn is_interpreter(&self) -> bool {
        matches!(self, Self::Interpreter { .. })
    }

    /// Whether it may run a file of that path, as far as is known of it alone.
    pub(super) fn may_run(&self, path: &[u8]) -> bool {
        match self {
            Self::Interpreter { operands, .. } => {
                !operands.iter().any(|operand| operand == base(path))
            }
            Self::Other => false,
            Self::Unknown => true,
        }
    }
}

/// The longest command line that is read: one that is longer hides its script on purpose.
const COMMAND: u64 = 2 << 20;

/// What the process does with the files that it opens.
pub(super) fn opener(pid: u32, programs: &Programs) -> Opener {
    let (Ok(_), Some(command), Some(maps)) =
        (link(pid, "exe"), bounded(pid, "cmdline", COMMAND), bounded(pid, "maps", MAPS))
    else {
        return Opener::Unknown;
    };
    let family = programs.read(pid);
    if family.is_some() && command.len() as u64 >= COMMAND {
        return Opener::Unknown;
    }
    let arguments: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    let loads = family.filter(|family| *family == Family::Loader);
    let loaded = loads.and_then(|_| programs.mapped_by(pid));
    if let Some(opener) = family.and_then(|family| named((family, loaded), &arguments, &maps)) {
        return opener;
    }
    let languages = embedded(&maps);
    if languages.is_empty() {
        Opener::Other
    } else {
        let (scripts, operands) = (Vec::new(), Vec::new());
        Opener::Interpreter { languages, scripts, works_on_text: false, operands }
    }
}

/// The most that is read of a process's mappings: some 10,000 of them.
pub(super) const MAPS: u64 = 1 << 20;

/// The languages whose interpreters are mapped as libraries: a web server's modules.
fn embedded(maps: &[u8]) -> Vec<Language> {
    const LIBRARIES: [(&[u8], Language); 8] = [
        (b"libphp", code::PHP),
        (b"libpython", code::PYTHON),
        (b"libperl", code::PERL),
        (b"libruby", code::RUBY),
        (b"liblua", code::LUA),
        (b"libnode", code::JAVASCRIPT),
        (b"libjvm", code::JAVA),
        (b"libtcl", code::TCL),
    ];
    let mut found = Vec::new();
    for name in names_of(maps) {
        for (library, language) in LIBRARIES {
            if name.starts_with(library) && !found.contains(&language) {
                found.push(language);
            }
        }
    }
    found
}

/// The base names of what is mapped.
fn names_of(maps: &[u8]) -> impl Iterator<Item = &[u8]> {
    maps.split(|byte| *byte == b'\n').filter(|line| line.contains(&b'/')).map(base)
}

/// What a program of that family runs, and of a loader what that has loaded, where its file tells;
/// `None` where it is told to be no interpreter.
fn named(
    (family, by_file): (Family, Option<Family>),
    arguments: &[&[u8]],
    maps: &[u8],
) -> Option<Opener> {
    let (family, called, arguments) = match family {
        // Run by hand: the program is one of its arguments, which it has mapped.
        Family::Loader => {
            let loaded = interpreter::loaded(arguments, Extent::WHOLE).ok()??;
            let of = |name| Family::of(name).filter(|family| *family != Family::Loader);
            let by_name = || names_of(maps).find_map(of).or_else(|| of(base(arguments[loaded.at])));
            let family = by_file.or_else(by_name)?;
            (family, loaded.name, &arguments[loaded.at..])
        }
        family => (family, None, arguments),
    };
    let (family, arguments) = match family {
        Family::Multicall => match called {
            Some(name) => interpreter::applet_called(name, arguments.get(1..)?)?,
            None => interpreter::applet(arguments)?,
        },
        family => {
            let first = arguments.first().copied().map_or(&b""[..], base);
            (family.by_name(first), arguments.get(1..).unwrap_or_default())
        }
    };
    let code = interpreter::code_of(family, arguments, Extent::WHOLE).unwrap_or_default();
    let names = code.iter().flat_map(|code| &code.names);
    let scripts: Vec<_> = names.map(|name| base(name).to_vec()).collect();
    let works_on_text = family.works_on_text();
    let operands = arguments.iter().filter(|_| works_on_text).map(|name| base(name).to_vec());
    Some(Opener::Interpreter {
        languages: vec![family.language()],
        operands: operands.filter(|name| !scripts.contains(name)).collect(),
        scripts,
        works_on_text,
    })
}

/// The last part of a path.
pub(super) fn base(path: &[u8]) -> &[u8] {
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
    path.file_name().map_or(&[], OsStrExt::as_bytes)
}

/// A command line, NUL between its arguments, from any process.
pub(super) fn fuzz(data: &[u8]) {
    let arguments: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    let program = arguments.first().copied().unwrap_or_default();
    let Some(family) = Family::of(base(program)) else { return };
    if let Some(Opener::Interpreter { scripts, .. }) = named((family, None), &arguments, b"") {
        for script in scripts {
            assert!(arguments.iter().any(|argument| argument.ends_with(&script)
                || base(argument) == script
                || argument.windows(script.len()).any(|part| part == script)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(family: Family, command: &str, maps: &[u8]) -> Option<String> {
        let arguments: Vec<_> = command.split(' ').map(str::as_bytes).collect();
        let Opener::Interpreter { scripts, .. } = named((family, None), &arguments, maps)? else {
            return None;
        };
        Some(String::from_utf8(scripts.join(&b' ')).unwrap())
    }

    #[test]
    fn the_script_is_found_among_the_options() {
        for (family, command, scripts) in [
            (Family::Shell, "sh /tmp/x", "x"),
            (Family::Shell, "-bash", ""),
            (Family::Shell, "bash --rcfile /tmp/rc -i", "rc"),
            (Family::Awk, "mawk -f/tmp/prog data", "prog"),
            (Family::Multicall, "busybox sh /tmp/x", "x"),
            (Family::Multicall, "sh /tmp/x", "x"),
        ] {
            assert_eq!(runs(family, command, b"").as_deref(), Some(scripts), "{command}");
        }
        assert_eq!(runs(Family::Multicall, "cat /tmp/x", b""), None);
        assert_eq!(runs(Family::Multicall, "busybox ls /tmp/x", b""), None);
    }

    #[test]
    fn what_a_loader_was_told_to_run_is_mapped() {
        let maps = b"1-2 r-xp 0 08:01 7 /usr/bin/bash\n2-3 r-xp 0 08:01 7 /lib/ld-linux.so.2\n";
        for command in
            ["ld.so --argv0 x --library-path /lib ./called /tmp/x", "ld.so ./called /tmp/x"]
        {
            assert_eq!(runs(Family::Loader, command, maps).as_deref(), Some("x"), "{command}");
        }
        let named = "ld.so --argv0 x /bin/sh /tmp/x";
        assert_eq!(runs(Family::Loader, named, b"").as_deref(), Some("x"));
        assert_eq!(runs(Family::Loader, "ld.so /bin/ls /tmp/x", b""), None);
    }

    #[test]
    fn an_interpreter_that_is_mapped_is_one() {
        let maps = b"1-2 r-xp 0 08:01 7 /usr/lib/apache2/modules/libphp8.2.so\n\
                     2-3 r-xp 0 08:01 7 /usr/lib/libc.so.6\n";
        assert_eq!(embedded(maps), [code::PHP]);
        assert_eq!(embedded(b""), []);
    }
}
