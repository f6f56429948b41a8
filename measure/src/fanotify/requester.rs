//! Who opens: an interpreter about to run the file, a loader about to map it, or a program
//! that reads.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use lacre_types::code::{self, Language};
use lacre_types::{FileId, Known, Process};
use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::member::link;

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

/// A program that runs text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interpreter {
    /// How its program's name begins; what follows may only be a version.
    name: &'static str,
    /// Whose files it runs, besides any that the command line names.
    language: Language,
    /// Options that take the next argument for their value.
    valued: &'static [&'static str],
    /// Options whose value is the script; no operand is one then.
    script: &'static [&'static str],
    /// Options whose value is the program's text itself.
    text: &'static [&'static str],
    /// Whether the first operand is the script.
    operand: bool,
}

const fn shell(name: &'static str) -> Interpreter {
    Interpreter {
        name,
        language: code::SHELL,
        valued: &["-o", "+o", "-O", "+O", "--rcfile", "--init-file"],
        script: &[],
        text: &["-c"],
        operand: true,
    }
}

const fn awk(name: &'static str) -> Interpreter {
    Interpreter {
        name,
        language: code::AWK,
        valued: &[],
        script: &["-f", "-E", "--file"],
        text: &[],
        operand: false,
    }
}

const fn runs(
    name: &'static str,
    language: Language,
    valued: &'static [&'static str],
    script: &'static [&'static str],
    text: &'static [&'static str],
) -> Interpreter {
    Interpreter { name, language, valued, script, text, operand: true }
}

const INTERPRETERS: [Interpreter; 34] = [
    shell("sh"),
    shell("bash"),
    shell("dash"),
    shell("ash"),
    shell("hush"),
    shell("ksh"),
    shell("mksh"),
    shell("zsh"),
    awk("awk"),
    awk("gawk"),
    awk("mawk"),
    awk("nawk"),
    runs("python", code::PYTHON, &["-W", "-X"], &[], &["-c", "-m"]),
    runs("pypy", code::PYTHON, &["-W", "-X"], &[], &["-c", "-m"]),
    runs("perl", code::PERL, &["-I"], &[], &["-e", "-E"]),
    runs("ruby", code::RUBY, &["-I", "-r", "-C"], &[], &["-e"]),
    runs("php", code::PHP, &["-c", "-d", "-z"], &["-f", "--file"], &["-r"]),
    runs(
        "node",
        code::JAVASCRIPT,
        &["-r", "--require", "--import", "--loader"],
        &[],
        &["-e", "-p", "--eval"],
    ),
    runs("deno", code::JAVASCRIPT, &[], &[], &[]),
    runs("bun", code::JAVASCRIPT, &[], &[], &[]),
    runs("lua", code::LUA, &["-l"], &[], &["-e"]),
    runs("luajit", code::LUA, &["-l"], &[], &["-e"]),
    runs("java", code::JAVA, &["-cp", "-classpath", "--class-path"], &["-jar"], &[]),
    runs("tclsh", code::TCL, &[], &[], &[]),
    runs("wish", code::TCL, &[], &[], &[]),
    runs("expect", code::TCL, &[], &["-f"], &["-c"]),
    shell("rbash"),
    shell("lksh"),
    shell("yash"),
    shell("posh"),
    shell("fish"),
    runs("csh", code::SHELL, &[], &[], &["-c"]),
    runs("tcsh", code::SHELL, &[], &[], &["-c"]),
    runs("nodejs", code::JAVASCRIPT, &["-r", "--require"], &[], &["-e", "-p", "--eval"]),
];

/// The image's programs of many names, by their file: which of them is run, the first
/// argument tells and no path does, and a link of any name leads to them.
#[derive(Debug, Default)]
pub(super) struct Multicall(Vec<FileId>);

impl Multicall {
    pub(super) fn of(known: &dyn Known) -> Self {
        let all = known.named(&|name| MULTICALL.contains(&name));
        Self(all.into_iter().map(|(_, id)| id).collect())
    }

    /// Whether the process runs one. Nobody but the kernel is asked.
    fn is_run_by(&self, pid: u32) -> bool {
        let exe = format!("/proc/{pid}/exe");
        let flags = AtFlags::from_bits_retain(AT_STATX_DONT_SYNC);
        let Ok(stat) = rustix::fs::statx(CWD, exe, flags, StatxFlags::INO | StatxFlags::CTIME)
        else {
            return false;
        };
        // An overlay shows the real file's number and change time, and another device.
        self.0.iter().any(|id| {
            id.ino & 0xffff_ffff == stat.stx_ino & 0xffff_ffff
                && (id.ctime_sec, id.ctime_nsec) == (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec)
        })
    }
}

/// linux/fcntl.h
const AT_STATX_DONT_SYNC: u32 = 0x4000;

/// Whether the process may be an interpreter, by its program alone. Asking this never
/// waits; reading a command line may, for as long as the process likes: its pages can
/// be a server's.
pub(super) fn may_interpret(pid: u32, multicall: &Multicall) -> bool {
    link(pid, "exe").is_ok_and(|program| {
        let name = base(live(&program));
        // A loader that was executed itself runs whatever it was told to.
        MULTICALL.contains(&name) || find(name).is_some() || is_loader(name)
    }) || multicall.is_run_by(pid)
}

/// Who opens a file, by what it does with files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opener {
    /// A program that runs text: its own, or by an interpreter that it has mapped.
    Interpreter {
        /// Whose files it runs.
        languages: Vec<Language>,
        /// The base name of the file that its command line has it run.
        script: Option<Vec<u8>>,
    },
    /// It reads.
    Other,
    /// It can't be asked.
    Unknown,
}

/// What the process does with the files that it opens.
pub(super) fn opener(pid: u32, multicall: &Multicall) -> Opener {
    // 4 KiB: the script comes before its own arguments.
    let (Ok(program), Some(command), Some(maps)) =
        (link(pid, "exe"), bounded(pid, "cmdline", 4096), bounded(pid, "maps", MAPS))
    else {
        return Opener::Unknown;
    };
    let mut arguments: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    let mut program = program;
    let mut many = multicall.is_run_by(pid);
    if is_loader(base(live(&program))) {
        // Run by hand: the program is its first operand, which it has mapped.
        let at = arguments.iter().skip(1).position(|argument| !argument.starts_with(b"-"));
        let Some(at) = at else { return Opener::Other };
        arguments.drain(..=at);
        program = arguments.first().copied().unwrap_or_default().to_vec();
        many = false;
    }
    if let Some((interpreter, script)) = named(&program, &arguments, many) {
        return Opener::Interpreter { languages: vec![interpreter.language], script };
    }
    let languages = embedded(&maps);
    if languages.is_empty() {
        Opener::Other
    } else {
        Opener::Interpreter { languages, script: None }
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
    for line in maps.split(|byte| *byte == b'\n') {
        let name = base(line);
        for (library, language) in LIBRARIES {
            if name.starts_with(library) && !found.contains(&language) {
                found.push(language);
            }
        }
    }
    found
}

/// The dynamic loaders of glibc, musl and bionic.
pub(super) fn is_loader(name: &[u8]) -> bool {
    let begins = |with: &[u8]| name.starts_with(with);
    begins(b"ld-") || begins(b"ld.so") || begins(b"ld64.so") || begins(b"linker")
}

const MULTICALL: [&[u8]; 2] = [b"busybox", b"toybox"];

fn live(program: &[u8]) -> &[u8] {
    program.strip_suffix(b" (deleted)").unwrap_or(program)
}

fn find(name: &[u8]) -> Option<&'static Interpreter> {
    INTERPRETERS.iter().find(|interpreter| {
        let rest = name.strip_prefix(interpreter.name.as_bytes());
        rest.is_some_and(|rest| rest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-')))
    })
}

/// `many`: the program's file is one of many names, whatever it is called here.
fn named(
    program: &[u8],
    arguments: &[&[u8]],
    many: bool,
) -> Option<(&'static Interpreter, Option<Vec<u8>>)> {
    let mut arguments = arguments;
    let mut name = base(live(program));
    if many || MULTICALL.contains(&name) {
        // An applet by its own name, or as the first argument.
        name = base(arguments.first()?);
        if MULTICALL.contains(&name) {
            arguments = arguments.get(1..)?;
            name = base(arguments.first()?);
        }
    }
    let interpreter = find(name.strip_prefix(b"-").unwrap_or(name))?;
    let script = script(interpreter, arguments.get(1..).unwrap_or_default());
    Some((interpreter, script.map(|script| base(script).to_vec())))
}

fn script<'a>(interpreter: &Interpreter, arguments: &[&'a [u8]]) -> Option<&'a [u8]> {
    let is = |list: &[&str], argument: &[u8]| list.iter().any(|o| o.as_bytes() == argument);
    let mut arguments = arguments.iter().copied();
    while let Some(argument) = arguments.next() {
        if is(interpreter.text, argument) {
            return None;
        } else if is(interpreter.script, argument) {
            return arguments.next();
        } else if is(interpreter.valued, argument) {
            arguments.next();
        } else if argument == b"--" {
            return arguments.next().filter(|_| interpreter.operand);
        } else if !argument.starts_with(b"-") && !argument.starts_with(b"+") {
            return Some(argument).filter(|_| interpreter.operand);
        }
    }
    None
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
    if let Some((_, Some(script))) = named(program, &arguments, false) {
        assert!(arguments.iter().any(|argument| base(argument) == script));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(program: &str, command: &str) -> Option<String> {
        let arguments: Vec<_> = command.split(' ').map(str::as_bytes).collect();
        let (_, script) = named(program.as_bytes(), &arguments, false)?;
        Some(String::from_utf8(script.unwrap_or_default()).unwrap())
    }

    #[test]
    fn the_script_is_found_among_the_options() {
        let case = |program, command, script: &str| {
            assert_eq!(runs(program, command).as_deref(), Some(script), "{command}");
        };
        case("/bin/dash", "sh /tmp/x", "x");
        case("/bin/bash", "-bash", "");
        case("/bin/bash", "bash -e -o pipefail ./dir/y arg", "y");
        case("/bin/bash", "bash -c /tmp/x", "");
        case("/bin/busybox", "busybox sh /tmp/x", "x");
        case("/bin/busybox", "sh /tmp/x", "x");
        case("/usr/bin/python3.11", "python3 -W ignore -u app data.csv", "app");
        case("/usr/bin/python3.11", "python3 -m http.server", "");
        case("/usr/bin/mawk", "awk {print} data.txt", "");
        case("/usr/bin/gawk", "gawk -f prog data.txt", "prog");
        case("/usr/bin/perl5.36", "perl -I lib -- -odd", "-odd");
    }

    #[test]
    fn of_a_file_of_many_names_the_first_argument_tells() {
        let cat: &[&[u8]] = &[b"cat", b"/tmp/x"];
        assert!(named(b"/bin/sh", cat, true).is_none());
        let sh: &[&[u8]] = &[b"sh", b"/tmp/x"];
        assert_eq!(named(b"/bin/cat", sh, true).unwrap().1.unwrap(), b"x");
        // A shell of its own is one, whatever it is called.
        assert!(named(b"/bin/dash", cat, false).is_some());
    }

    #[test]
    fn an_interpreter_that_is_mapped_is_one() {
        let maps = b"1-2 r-xp 0 08:01 7 /usr/lib/apache2/modules/libphp8.2.so\n\
                     2-3 r-xp 0 08:01 7 /usr/lib/libc.so.6\n";
        assert_eq!(embedded(maps), [code::PHP]);
        assert_eq!(embedded(b""), []);
    }

    #[test]
    fn what_only_begins_like_an_interpreter_is_none() {
        for program in ["/usr/bin/shred", "/usr/bin/perldoc", "/bin/ls", "/bin/awkward"] {
            assert_eq!(runs(program, "x /tmp/x"), None, "{program}");
        }
        assert_eq!(runs("/bin/busybox", "ls /tmp/x"), None);
    }
}
