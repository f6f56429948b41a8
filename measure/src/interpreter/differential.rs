//! The same command lines, read here and really run: what an interpreter runs is found here.
//!
//! Each word of a line that is no option is also a script, which leaves its mark.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lacre_integration::paths::cached;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::launcher::Loaded;
use super::{Extent, Family, applet, code_of, loaded};

/// An interpreter of the cached Debian, and what its lines are made of.
struct Real {
    family: Family,
    /// Its program, and arguments of its own.
    command: Vec<PathBuf>,
    /// A script that leaves the mark `ran.NAME`.
    script: fn(&str) -> String,
    words: Vec<&'static str>,
}

/// Names, each of which is a script too.
const NAMES: &str = "x  y  posix  errexit  strict  exec  1  -  a.b";

/// Words with two spaces between: some have one.
fn divided(words: &'static str) -> Vec<&'static str> {
    words.split("  ").collect()
}

fn shell_script(name: &str) -> String {
    format!(": >'ran.{name}'\n")
}

fn sed_script(name: &str) -> String {
    format!("w ran.{name}\n")
}

fn awk_script(name: &str) -> String {
    format!("BEGIN {{ printf \"\" > \"ran.{name}\" }}\n")
}

fn perl_script(name: &str) -> String {
    format!("#!perl\nopen F, '>', 'ran.{name}';\n")
}

fn python_script(name: &str) -> String {
    format!("open('ran.{name}', 'w').close()\n")
}

const SHELL: &str = "-  --  +  -c  +c  -s  +s  -e  +e  -o  +o  -oe  +oe  -eo  -O  -oO  -oc  -os  -ec  -se  -x-  \
    -norc  --norc  -rcfile  --rcfile  --rcfile=x  -init-file  --init-file  -posix  --posix  \
    -verbose  -noprofile  --login  -l  --emulate  -restricted  -help  --  extglob  allexport";

const SED: &str = "-  --  -f  -fx  -nf  -n  -e  -ep  -s  -E  -r  -z  -u  -l  -l5  -i  -if  -ifx  --f  --fi  \
    --fi=x  --fil  --file  --file=y  --fo  --follow  --e  --exp  --expression=p  --l  \
    --line-length  --line=5  --i  --in-place  --in-place=f  --q  --reg  --s  --si  --posix  \
    --null  --un  --debug  p";

const AWK: &str = "-  --  -f  -fx  -v  -va=1  -v f  a=1  -F  -F:  -W  -We  -Wexec  -WEXEC  -Wf  -Wfile  \
    -Wfile=x  -Wexec=x  -Winteractive,exec  -Wi  -Wposix  -Wrandom=1  -Wsource  e  exec=y  \
    ex,posix  random=1,ex  file  file=y  include  BEGIN{}  --exec  --fi  --file  -e  -E  -i";

const PERL: &str = "-  --  -e  -E  -we  -e1  -w  -w e  -w -e  -0  -0777  -0e  -0xFF  -0xFFe  -0 e  -l  -l0e  \
    -l e  -i  -i e  -i -e  -i.b  -i.b e  -ie  -I  -Ix  -I x  -M  -Mstrict  -mstrict e  \
    -M-strict  -F:  -F, e  -C  -C7  -Ce  -s  -S  -x  -xe  -n  -p  -a  -T  -t  -W  -X  -f  -fe  \
    -U  -D  -D14e  -g  -V:x  --e  -\te  -e e";

const PYTHON: &str = "-  --  -c  -cpass  -m  -mx  -W  -Wi  -X  -Xdev  -bb  -x  -s  -I  -Im  -P  -Pm  -u  -OO  \
    -Oc  -q  -qW  -d  -t  -R  -E  -v  --check-hash-based-pycs  --help-env  pass";

impl Real {
    fn of(family: Family, program: &str, script: fn(&str) -> String) -> Self {
        let base = cached("debian/base").unwrap();
        let loader = if cfg!(target_arch = "x86_64") {
            "lib64/ld-linux-x86-64.so.2"
        } else {
            "lib/ld-linux-aarch64.so.1"
        };
        let libraries = if cfg!(target_arch = "x86_64") { "x86_64" } else { "aarch64" };
        let libraries = base.join(format!("usr/lib/{libraries}-linux-gnu"));
        let program = cached(&format!("debian/{program}")).unwrap();
        let command = vec![base.join(loader), "--library-path".into(), libraries, program];
        let words = match family {
            Family::Sed => SED,
            Family::Awk => AWK,
            Family::Perl => PERL,
            Family::Python => PYTHON,
            _ => SHELL,
        };
        Self { family, command, script, words: divided(words) }
    }

    fn busybox(family: Family, applet: &str, script: fn(&str) -> String) -> Self {
        let busybox = cached("tools/bin/busybox").unwrap();
        Self {
            command: vec![busybox, applet.into()],
            ..Self::of(family, "base/usr/bin/dash", script)
        }
    }

    /// Which scripts a line runs, and whether it had nothing to say against it.
    fn run(&self, folder: &Path, line: &[&str]) -> (BTreeSet<String>, bool) {
        for old in std::fs::read_dir(folder).unwrap() {
            let old = old.unwrap().path();
            match old.is_dir() {
                true => std::fs::remove_dir_all(old).unwrap(),
                false => std::fs::remove_file(old).unwrap(),
            }
        }
        // `-f` of a missing file is no more than an error; what is called so may run.
        for name in self.all_words().into_iter().filter(|name| !name.contains(['/', '{'])) {
            std::fs::write(folder.join(name), (self.script)(name)).unwrap();
        }
        for name in ["x", "y"] {
            std::fs::write(folder.join(format!("{name}.py")), (self.script)(name)).unwrap();
        }
        let input = folder.join("input");
        std::fs::write(&input, "line\n").unwrap();
        let output = Command::new(&self.command[0])
            .args(&self.command[1..])
            .args(line)
            .current_dir(folder)
            .env_clear()
            .env("PATH", "/nowhere")
            .env("HOME", folder)
            .env("PYTHONHOME", cached("debian/python/usr").unwrap())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(std::fs::File::open(input).unwrap())
            .output()
            .unwrap();
        let marks = std::fs::read_dir(folder).unwrap();
        let names = marks.filter_map(|mark| mark.unwrap().file_name().into_string().ok());
        let ran = names.filter_map(|name| name.strip_prefix("ran.").map(str::to_owned));
        (ran.collect(), output.status.success() && output.stderr.is_empty())
    }

    /// Which it runs as it is read here.
    fn found(&self, line: &[&str]) -> BTreeSet<String> {
        let code = code_of(self.family, line, Extent::WHOLE).unwrap();
        let names = code.iter().flat_map(|code| code.names.iter().copied());
        names.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect()
    }

    fn words(&self) -> impl Strategy<Value = Vec<&'static str>> {
        proptest::collection::vec(select(self.all_words()), 1..6)
    }

    fn all_words(&self) -> Vec<&'static str> {
        self.words.iter().copied().chain(divided(NAMES)).collect()
    }
}

fn all() -> Vec<Real> {
    vec![
        Real::of(Family::Shell, "base/usr/bin/bash", shell_script),
        Real::of(Family::Shell, "base/usr/bin/dash", shell_script),
        Real::busybox(Family::Shell, "ash", shell_script),
        Real::of(Family::Sed, "base/usr/bin/sed", sed_script),
        Real::busybox(Family::Sed, "sed", sed_script),
        Real::of(Family::Awk, "base/usr/bin/mawk", awk_script),
        Real::busybox(Family::Awk, "awk", awk_script),
        Real::of(Family::Perl, "perl/usr/bin/perl", perl_script),
        Real::of(Family::Python, "python/usr/bin/python3.11", python_script),
    ]
}

/// Lines of each; `LACRE_LINES` for more.
fn lines() -> u32 {
    std::env::var("LACRE_LINES").ok().and_then(|number| number.parse().ok()).unwrap_or(100)
}

fn runner() -> TestRunner {
    TestRunner::new(Config { cases: lines(), failure_persistence: None, ..Config::default() })
}

#[test]
fn whatever_an_interpreter_runs_is_found_in_its_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut failed = Vec::new();
    for real in all() {
        let tried = runner().run(&real.words(), |line| {
            let (ran, _) = real.run(folder.path(), &line);
            let found = real.found(&line);
            prop_assert!(ran.is_subset(&found), "ran {ran:?}, found {found:?}");
            Ok(())
        });
        if let Err(why) = tried {
            failed.push(format!("{:?}: {why}", real.command.last()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// By options as they are written in scripts every day.
#[test]
fn what_an_interpreter_does_not_run_is_found_in_no_ordinary_line() {
    const WORDS: [(Family, &[&str]); 5] = [
        (Family::Shell, &["-c", "-e", "-eu", "-o", "--", "-s", "errexit", "noglob", "x", "y"]),
        (Family::Sed, &["-e", "-n", "-E", "-f", "-i", "-s", "--expression=p", "p", "x", "y"]),
        (Family::Awk, &["-F", ":", "-v", "a=1", "-f", "BEGIN{}", "--", "x", "y"]),
        (Family::Perl, &["-e", "-w", "-ne", "-I", "-i", "-0777", "-Mstrict", "1", "x", "y"]),
        (Family::Python, &["-c", "-u", "-W", "-O", "-I", "-", "pass", "ignore", "x", "y"]),
    ];
    let folder = tempfile::tempdir().unwrap();
    for real in all() {
        let (_, words) = WORDS.iter().find(|(family, _)| *family == real.family).unwrap();
        let lines = proptest::collection::vec(select(*words), 1..5);
        let tried = runner().run(&lines, |line| {
            let (ran, ended_well) = real.run(folder.path(), &line);
            let found: BTreeSet<_> = real
                .found(&line)
                .into_iter()
                .filter(|name| divided(NAMES).contains(&&name[..]))
                .collect();
            prop_assert!(found.is_subset(&ran) || !ended_well, "ran {ran:?}, found {found:?}");
            Ok(())
        });
        assert!(tried.is_ok(), "{:?}: {}", real.command.last(), tried.unwrap_err());
    }
}

/// By whatever name it is executed, and whatever stands before the applet.
#[test]
fn a_busybox_is_what_it_makes_of_its_names() {
    const NAMES: &str = "busybox  busybox-x  busybox.static  -busybox  /a/busyboxes  xbusybox  sh  -sh  /a/ash  \
    sh.x  /a/-sh  cat  --list  --help  sed";
    let busybox = cached("tools/bin/busybox").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let lines = proptest::collection::vec(select(divided(NAMES)), 1..5);
    let script = folder.path().join("x");
    std::fs::write(&script, ": >ran\n").unwrap();
    let loader = Real::of(Family::Shell, "base/usr/bin/dash", shell_script).command.remove(0);
    let tried = runner().run(&lines, |line| {
        let mark = folder.path().join("ran");
        let _ = std::fs::remove_file(&mark);
        let (name, rest) = line.split_first().unwrap();
        // A loader calls it as it is told.
        Command::new(&loader)
            .args(["--argv0", name])
            .arg(&busybox)
            .args(rest)
            .arg("x")
            .current_dir(folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let argv: Vec<&str> = line.iter().copied().chain(["x"]).collect();
        let found = applet(&argv)
            .filter(|(family, _)| *family == Family::Shell)
            .map(|(family, rest)| code_of(family, rest, Extent::WHOLE).unwrap());
        let found = found.is_some_and(|all| all.iter().any(|code| code.names.contains(&&b"x"[..])));
        prop_assert!(found || !mark.exists(), "it ran");
        Ok(())
    });
    assert!(tried.is_ok(), "{}", tried.unwrap_err());
}

#[test]
fn a_loader_loads_what_is_found_among_its_arguments() {
    const WORDS: &str = "--argv0  --library-path  --preload  --audit  --inhibit-rpath  --inhibit-cache  \
    --glibc-hwcaps-prepend  --glibc-hwcaps-mask  --  -  -x  --argv0=sh  a    --list  --verify";
    let real = Real::of(Family::Shell, "base/usr/bin/dash", shell_script);
    let program = real.command.last().unwrap().to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let lines = proptest::collection::vec(select(divided(WORDS)), 0..5);
    std::fs::write(folder.path().join("x"), ": >ran\n").unwrap();
    let tried = runner().run(&lines, |line| {
        let mark = folder.path().join("ran");
        let _ = std::fs::remove_file(&mark);
        let argv: Vec<&str> = ["ld.so"].into_iter().chain(line).chain([program, "x"]).collect();
        Command::new(&real.command[0])
            .args(&argv[1..])
            .current_dir(folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let found = loaded(&argv, Extent::WHOLE).unwrap();
        let found = found.is_some_and(|Loaded { at, .. }| argv[at] == program);
        prop_assert!(found || !mark.exists(), "it ran");
        Ok(())
    });
    assert!(tried.is_ok(), "{}", tried.unwrap_err());
}
