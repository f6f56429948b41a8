//! Which argument of an interpreter is the script. Pure.

use lacre_types::base_name;

/// Programs that run text, by the way they read their arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Shell,
    Python,
    Perl,
    Ruby,
    Node,
    Php,
    Lua,
    Awk,
    Csh,
    Expect,
    Guile,
    /// Of R: the script's interpreter.
    Rscript,
    /// Of .NET: what it runs is no script, and is named as one.
    Mono,
    /// The first argument that is no option.
    Plain,
    /// One file of many names.
    Multicall,
    /// A dynamic loader, which runs what its arguments say.
    Loader,
}

impl Family {
    /// The family of a program, by its base name; versions may follow the name.
    pub(super) fn of(base: &[u8]) -> Option<Self> {
        let name = base.strip_prefix(b"-").unwrap_or(base);
        if name.starts_with(b"ld-") || name.starts_with(b"ld.so") || name.starts_with(b"ld64.so") {
            return Some(Self::Loader);
        }
        let end = name
            .iter()
            .rposition(|byte| !byte.is_ascii_digit() && *byte != b'.' && *byte != b'-')
            .map_or(0, |last| last + 1);
        Some(match &name[..end] {
            b"sh" | b"bash" | b"rbash" | b"dash" | b"ash" | b"hush" | b"zsh" | b"ksh" | b"mksh"
            | b"lksh" | b"ksh93u+m" | b"posh" | b"yash" | b"fish" => Self::Shell,
            b"python" | b"pypy" => Self::Python,
            b"perl" => Self::Perl,
            b"ruby" | b"jruby" => Self::Ruby,
            b"node" | b"nodejs" => Self::Node,
            b"php" | b"php-cgi" => Self::Php,
            b"lua" | b"luajit" => Self::Lua,
            b"awk" | b"gawk" | b"mawk" | b"nawk" | b"original-awk" => Self::Awk,
            b"csh" | b"tcsh" => Self::Csh,
            b"expect" => Self::Expect,
            b"guile" => Self::Guile,
            b"Rscript" => Self::Rscript,
            b"mono" | b"mono-sgen" | b"mono-boehm" => Self::Mono,
            b"tclsh" | b"wish" => Self::Plain,
            b"busybox" | b"toybox" => Self::Multicall,
            _ => return None,
        })
    }

    /// Short options that take the next argument, where nothing follows them.
    const fn taking(self) -> &'static [u8] {
        match self {
            Self::Shell => b"oO",
            Self::Python => b"WXQ",
            Self::Perl => b"I",
            Self::Ruby => b"ICErFTW",
            Self::Node => b"rC",
            Self::Php => b"dczBRFEzt",
            Self::Lua => b"l",
            Self::Awk => b"vFE",
            Self::Guile => b"Lxe",
            Self::Csh
            | Self::Expect
            | Self::Rscript
            | Self::Mono
            | Self::Plain
            | Self::Multicall
            | Self::Loader => b"",
        }
    }

    /// Short options that carry the code itself, or its module's name.
    const fn inline(self) -> &'static [u8] {
        match self {
            Self::Shell => b"cs",
            Self::Python => b"cm",
            Self::Perl => b"eE",
            Self::Ruby => b"e",
            Self::Node => b"ep",
            Self::Php => b"r",
            Self::Lua | Self::Rscript => b"e",
            Self::Csh | Self::Expect | Self::Guile => b"c",
            Self::Awk | Self::Mono | Self::Plain | Self::Multicall | Self::Loader => b"",
        }
    }

    /// Whether what follows a first `-c` is code, whatever follows it.
    pub(super) fn code_after_c(self) -> bool {
        self.inline().contains(&b'c')
    }

    /// Long options that take the next argument.
    const fn long_taking(self) -> &'static [&'static [u8]] {
        match self {
            Self::Shell => &[b"--rcfile", b"--init-file"],
            Self::Python => &[b"--check-hash-based-pycs"],
            Self::Node => &[
                b"--require",
                b"--import",
                b"--loader",
                b"--experimental-loader",
                b"--conditions",
                b"--env-file",
                b"--title",
                b"--icu-data-dir",
            ],
            Self::Php => &[b"--define", b"--php-ini"],
            Self::Awk => &[b"--assign", b"--field-separator"],
            Self::Mono => &[b"--config"],
            _ => &[],
        }
    }

    const fn long_inline(self) -> &'static [&'static [u8]] {
        match self {
            Self::Node => &[b"--eval", b"--print"],
            Self::Php => &[b"--run"],
            Self::Awk => &[b"--source"],
            _ => &[],
        }
    }
}

/// The script among the arguments of a program named `base`; `None` when the code comes
/// from elsewhere (`-c`, a module, standard input), or the program runs none.
pub(super) fn script<'a>(base: &[u8], argv: &'a [Vec<u8>]) -> Option<&'a [u8]> {
    let (family, arguments) = match Family::of(base)? {
        Family::Multicall => applet(argv)?,
        family => (family, argv.get(1..)?),
    };
    of_family(family, arguments)
}

/// busybox and toybox: `argv[0]` says which, or the first argument does. A copy of another
/// name says it by that; what has none of an interpreter's runs no script.
pub(super) fn applet(argv: &[Vec<u8>]) -> Option<(Family, &[Vec<u8>])> {
    let mut rest = argv;
    // `busybox busybox sh` is legal; deeper is nobody's use.
    for _ in 0..4 {
        let (first, more) = rest.split_first()?;
        match Family::of(base_name(first))? {
            Family::Multicall => rest = more,
            family => return Some((family, more)),
        }
    }
    None
}

/// Where, among a loader's arguments, the program is that it loads (ld.so(8)).
pub(super) fn loaded(argv: &[Vec<u8>]) -> Option<usize> {
    const TAKING: [&[u8]; 6] = [
        b"--library-path",
        b"--preload",
        b"--audit",
        b"--argv0",
        b"--inhibit-rpath",
        b"--glibc-hwcaps-mask",
    ];
    let mut at = 1;
    loop {
        let argument = argv.get(at)?;
        if !argument.starts_with(b"-") {
            return Some(at);
        }
        at += if TAKING.contains(&&argument[..]) { 2 } else { 1 };
    }
}

/// The script among what follows the name of a program of that family.
pub(super) fn of_family(family: Family, arguments: &[Vec<u8>]) -> Option<&[u8]> {
    let mut arguments = arguments.iter().map(Vec::as_slice);
    while let Some(argument) = arguments.next() {
        let Some(letters) = argument.strip_prefix(b"-") else {
            if family == Family::Shell && argument.starts_with(b"+") && argument.len() > 1 {
                if matches!(argument.last(), Some(b'o' | b'O')) {
                    arguments.next();
                }
                continue;
            }
            // awk's first argument is the program itself
            return (family != Family::Awk).then_some(argument);
        };
        match letters {
            b"" if family == Family::Shell => return arguments.next(),
            b"" => return None,
            b"-" => return arguments.next().filter(|_| family != Family::Awk),
            _ if letters.starts_with(b"-") => {
                let (name, attached) = match argument.iter().position(|byte| *byte == b'=') {
                    Some(at) => (&argument[..at], Some(&argument[at + 1..])),
                    None => (argument, None),
                };
                if names_a_script(family, name) {
                    return attached.or_else(|| arguments.next());
                }
                if family.long_inline().contains(&name) {
                    return None;
                }
                if family.long_taking().contains(&name) && attached.is_none() {
                    arguments.next();
                }
            }
            _ => match cluster(family, letters) {
                Cluster::Inline => return None,
                Cluster::Script(attached) if !attached.is_empty() => return Some(attached),
                Cluster::Script(_) => return arguments.next(),
                Cluster::TakesNext => {
                    arguments.next();
                }
                Cluster::Options => {}
            },
        }
    }
    None
}

fn names_a_script(family: Family, long: &[u8]) -> bool {
    match family {
        Family::Php => long == b"--file" || long == b"--process-file",
        Family::Awk => long == b"--file" || long == b"--exec",
        _ => false,
    }
}

enum Cluster<'a> {
    Options,
    Inline,
    TakesNext,
    /// `-f`, and what follows it in the same argument.
    Script(&'a [u8]),
}

/// Letters behind one dash: a letter that takes a value ends the cluster.
fn cluster(family: Family, letters: &[u8]) -> Cluster<'_> {
    for (at, letter) in letters.iter().enumerate() {
        let rest = &letters[at + 1..];
        let file = match family {
            Family::Php => *letter == b'f' || *letter == b'F',
            Family::Awk => *letter == b'f' || *letter == b'E',
            Family::Expect => *letter == b'f' || *letter == b'b',
            Family::Guile => *letter == b's' || *letter == b'l',
            _ => false,
        };
        if file {
            return Cluster::Script(rest);
        }
        if family.inline().contains(letter) {
            return Cluster::Inline;
        }
        if family.taking().contains(letter) {
            // A shell's -o takes the next argument whatever follows it in the cluster.
            if rest.is_empty() || family == Family::Shell {
                return Cluster::TakesNext;
            }
            return Cluster::Options;
        }
        // Perl and Ruby: the rest of these is their value.
        if matches!(family, Family::Perl | Family::Ruby)
            && b"IMmxiF0lCDK".contains(letter)
            && !rest.is_empty()
        {
            return Cluster::Options;
        }
    }
    Cluster::Options
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(line: &str) -> Option<String> {
        let argv: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        script(base_name(&argv[0]), &argv).map(|path| String::from_utf8_lossy(path).into_owned())
    }

    #[test]
    fn the_script_is_the_argument_that_would_run() {
        for (line, expected) in [
            ("sh /tmp/x.sh a b", Some("/tmp/x.sh")),
            ("/bin/bash -eux -o pipefail x.sh", Some("x.sh")),
            ("bash -euo pipefail x.sh", Some("x.sh")),
            ("bash +x +o posix x.sh", Some("x.sh")),
            ("bash --rcfile /etc/rc --norc x.sh", Some("x.sh")),
            ("dash -- -odd", Some("-odd")),
            ("-sh", None),
            ("sh -c ls /tmp/x", None),
            ("sh -ec ls", None),
            ("sh -s a", None),
            ("sh - x", Some("x")),
            ("python3 - x", None),
            ("busybox sh /x", Some("/x")),
            ("/bin/busybox ash -x /x", Some("/x")),
            ("busybox ls /x", None),
            ("python3 -u -W ignore x.py", Some("x.py")),
            ("python3.11 -Wignore x.py", Some("x.py")),
            ("python3 -m http.server", None),
            ("python3 -Ic code", None),
            ("perl -w -I /lib x.pl", Some("x.pl")),
            ("perl -I/lib -MPOSIX x.pl", Some("x.pl")),
            ("perl -ne code x", None),
            ("ruby -I lib x.rb", Some("x.rb")),
            ("node --require ./r x.js", Some("x.js")),
            ("node --max-old-space-size=9 x.js", Some("x.js")),
            ("node -e code", None),
            ("php -d a=b -f x.php", Some("x.php")),
            ("php -fx.php", Some("x.php")),
            ("lua5.4 -l m x.lua", Some("x.lua")),
            ("awk {print} data", None),
            ("awk -F : -f x.awk data", Some("x.awk")),
            ("gawk --file=x.awk data", Some("x.awk")),
            ("tclsh8.6 x.tcl", Some("x.tcl")),
            ("csh -f x.csh a", Some("x.csh")),
            ("tcsh -c ls x", None),
            ("expect -c code x", None),
            ("expect -f x.exp a", Some("x.exp")),
            ("expect x.exp", Some("x.exp")),
            ("guile -c code x", None),
            ("guile3.0 -L /lib -e main -s x.scm", Some("x.scm")),
            ("guile --no-auto-compile x.scm", Some("x.scm")),
            ("Rscript -e code", None),
            ("Rscript --vanilla x.R a", Some("x.R")),
            ("mono --debug x.exe a", Some("x.exe")),
            ("mono-sgen --config f x.exe", Some("x.exe")),
            ("ls /tmp/x", None),
            ("python3", None),
        ] {
            assert_eq!(found(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_loader_runs_what_follows_its_options() {
        let at = |line: &str| {
            loaded(&line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(at("ld.so /bin/bash /tmp/x"), Some(1));
        assert_eq!(at("ld.so --library-path /x --inhibit-cache bash x"), Some(4));
        assert_eq!(at("ld.so --help"), None);
        assert_eq!(Family::of(b"ld-linux-x86-64.so.2"), Some(Family::Loader));
        assert_eq!(Family::of(b"ld"), None);
    }

    #[test]
    fn versions_are_no_other_program() {
        assert_eq!(Family::of(b"python3.12"), Some(Family::Python));
        assert_eq!(Family::of(b"php8.2"), Some(Family::Php));
        assert_eq!(Family::of(b"sha256sum"), None);
        assert_eq!(Family::of(b"sed"), None);
        assert_eq!(Family::of(b""), None);
    }

    proptest! {
        #[test]
        fn nothing_behind_c_is_a_script_where_it_carries_code(
            base in "(sh|bash|zsh|fish|python3)",
            argv in proptest::collection::vec("[-+a-zA-Z0-9=/ ]{0,8}", 0..8),
        ) {
            let argv: Vec<Vec<u8>> =
                [&base[..], "-c"].into_iter().chain(argv.iter().map(String::as_str))
                    .map(|argument| argument.as_bytes().to_vec()).collect();
            prop_assert_eq!(script(base.as_bytes(), &argv), None);
        }

        #[test]
        fn what_it_finds_is_within_an_argument(
            base in "(sh|python3|perl|ruby|node|php|lua|awk|busybox)",
            argv in proptest::collection::vec("[-+a-zA-Z0-9=/ ]{0,8}", 0..8),
        ) {
            let mut argv: Vec<Vec<u8>> = argv.into_iter().map(String::into_bytes).collect();
            argv.insert(0, base.clone().into_bytes());
            if let Some(path) = script(base.as_bytes(), &argv) {
                prop_assert!(argv[1..].iter().any(|argument| argument.ends_with(path)));
            }
        }
    }
}
