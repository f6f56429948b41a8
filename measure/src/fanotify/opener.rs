//! Who opens: a process of the container, and is it an interpreter about to run the file?

use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use lacre_types::Process;
use rustix::fs::CWD;

/// Our own mount namespace: who shares it is not of the container.
#[derive(Debug)]
pub(super) struct Home(Vec<u8>);

impl Home {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self(link("self", "ns/mnt")?))
    }

    /// Whether the process is outside. One that can't be asked is inside.
    pub(super) fn has(&self, pid: u32) -> bool {
        pid != 0 && link(pid, "ns/mnt").is_ok_and(|namespace| namespace == self.0)
    }
}

fn link(pid: impl std::fmt::Display, what: &str) -> rustix::io::Result<Vec<u8>> {
    rustix::fs::readlinkat(CWD, format!("/proc/{pid}/{what}"), Vec::new())
        .map(std::ffi::CString::into_bytes)
}

/// The process with its effective user, for a report.
pub(super) fn process(pid: u32) -> Process {
    let uid = bounded(pid, "status", 4096).and_then(|status| {
        let line = status.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"Uid:"))?;
        std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(2)?.parse().ok()
    });
    Process { pid, uid }
}

fn bounded(pid: u32, what: &str, most: u64) -> Option<Vec<u8>> {
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
    /// What its own files are called, besides any name that the command line gives.
    pub(super) suffixes: &'static [&'static str],
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
        suffixes: &["sh", "bash"],
        valued: &["-o", "+o", "-O", "+O", "--rcfile", "--init-file"],
        script: &[],
        text: &["-c"],
        operand: true,
    }
}

const fn awk(name: &'static str) -> Interpreter {
    Interpreter {
        name,
        suffixes: &["awk"],
        valued: &[],
        script: &["-f", "-E", "--file"],
        text: &[],
        operand: false,
    }
}

const fn runs(
    name: &'static str,
    suffixes: &'static [&'static str],
    valued: &'static [&'static str],
    script: &'static [&'static str],
    text: &'static [&'static str],
) -> Interpreter {
    Interpreter { name, suffixes, valued, script, text, operand: true }
}

const INTERPRETERS: [Interpreter; 24] = [
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
    runs("python", &["py", "pyc", "pyo"], &["-W", "-X"], &[], &["-c", "-m"]),
    runs("pypy", &["py", "pyc"], &["-W", "-X"], &[], &["-c", "-m"]),
    runs("perl", &["pl", "pm"], &["-I"], &[], &["-e", "-E"]),
    runs("ruby", &["rb"], &["-I", "-r", "-C"], &[], &["-e"]),
    runs("php", &["php", "phar"], &["-c", "-d", "-z"], &["-f", "--file"], &["-r"]),
    runs(
        "node",
        &["js", "mjs", "cjs"],
        &["-r", "--require", "--import", "--loader"],
        &[],
        &["-e", "-p", "--eval"],
    ),
    runs("deno", &["js", "mjs", "ts"], &[], &[], &[]),
    runs("bun", &["js", "mjs", "ts"], &[], &[], &[]),
    runs("lua", &["lua", "luac"], &["-l"], &[], &["-e"]),
    runs("luajit", &["lua", "luac"], &["-l"], &[], &["-e"]),
    runs("java", &["class", "jar"], &["-cp", "-classpath", "--class-path"], &["-jar"], &[]),
    runs("tclsh", &["tcl"], &[], &[], &[]),
];

/// Whether the process may be an interpreter, by its program alone. Asking this never
/// waits; reading a command line may, for as long as the process likes: its pages can
/// be a server's.
pub(super) fn may_interpret(pid: u32) -> bool {
    link(pid, "exe").is_ok_and(|program| {
        let name = base(live(&program));
        MULTICALL.contains(&name) || find(name).is_some()
    })
}

/// What the process runs, if it is an interpreter, and the base name of the file that its
/// command line has it run.
pub(super) fn interpreter(pid: u32) -> Option<(&'static Interpreter, Option<Vec<u8>>)> {
    let program = link(pid, "exe").ok()?;
    // 4 KiB: the script comes before its own arguments.
    let command = bounded(pid, "cmdline", 4096)?;
    let arguments: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    named(&program, &arguments)
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

fn named(program: &[u8], arguments: &[&[u8]]) -> Option<(&'static Interpreter, Option<Vec<u8>>)> {
    let mut arguments = arguments;
    let mut name = base(live(program));
    if MULTICALL.contains(&name) {
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
    if let Some((_, Some(script))) = named(program, &arguments) {
        assert!(arguments.iter().any(|argument| base(argument) == script));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(program: &str, command: &str) -> Option<String> {
        let arguments: Vec<_> = command.split(' ').map(str::as_bytes).collect();
        let (_, script) = named(program.as_bytes(), &arguments)?;
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
    fn what_only_begins_like_an_interpreter_is_none() {
        for program in ["/usr/bin/shred", "/usr/bin/perldoc", "/bin/ls", "/bin/awkward"] {
            assert_eq!(runs(program, "x /tmp/x"), None, "{program}");
        }
        assert_eq!(runs("/bin/busybox", "ls /tmp/x"), None);
    }
}
