//! Command lines, and what of them is run.

use super::*;
use crate::interpreter::launcher::Loaded;
use crate::interpreter::{applet, loaded};
use lacre_types::base_name;
use proptest::prelude::*;

fn run_by(base: &[u8], argv: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (family, arguments) = match Family::of(base) {
        None => return Vec::new(),
        Some(Family::Multicall) => match applet(argv) {
            None => return Vec::new(),
            Some(found) => found,
        },
        Some(family) => (family.by_name(base), argv.get(1..).unwrap_or_default()),
    };
    code_of(family, arguments, Extent::WHOLE)
        .unwrap()
        .iter()
        .flat_map(|code| code.names.iter().map(|name| name.to_vec()))
        .collect()
}

fn found(line: &str) -> String {
    let argv: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    let found = run_by(base_name(&argv[0]), &argv);
    String::from_utf8(found.join(&b' ')).unwrap()
}

#[test]
fn the_script_is_the_argument_that_would_run() {
    for (line, expected) in [
        ("sh /tmp/x.sh a b", "/tmp/x.sh"),
        ("/bin/bash -eux -o pipefail x.sh", "x.sh"),
        ("bash -euo pipefail x.sh", "x.sh"),
        ("bash +x +o posix x.sh", "x.sh"),
        ("dash -- -odd", "-odd"),
        ("-sh", ""),
        ("sh -c ls /tmp/x", ""),
        ("sh -ec ls", ""),
        ("sh -s a", ""),
        ("sh - x", "x"),
        ("zsh --emulate sh x", "sh x"),
        ("zsh -onoclobber x y", "x y"),
        ("sh + x", "x"),
        ("sh +c ls x", ""),
        ("dash +s x", "x"),
        ("bash +oe posix x", "x"),
        ("bash -euo pipefail -c ls", ""),
        ("bash -norc x", "x"),
        ("bash -rcfile rc -i", "rc"),
        ("busybox-x sh x", "x"),
        ("busybox busybox.a busybox busybox busybox busybox sh x", "x"),
        ("busybox --list x", ""),
        ("busyboxes ls x", ""),
        ("python3 - x", ""),
        ("busybox sh /x", "/x"),
        ("/bin/busybox ash -x /x", "/x"),
        ("busybox ls /x", ""),
        ("python3 -u -W ignore x.py", "x.py"),
        ("python3.11 -Wignore x.py", "x.py"),
        ("python3 -m http.server -d x", "http.server"),
        ("python3 -Im http.server", ""),
        ("python3 -Ic code", ""),
        ("perl -w -I /lib x.pl", "x.pl"),
        ("perl -I/lib -MPOSIX x.pl", "x.pl"),
        ("perl -ne code x", ""),
        ("perl -lne code x", ""),
        ("perl -ie x", "x"),
        ("perl -xe x", "x"),
        ("perl -0777 x", "x"),
        ("ruby -I lib x.rb", "x.rb"),
        ("ruby -W x.rb", "x.rb"),
        ("node --max-old-space-size=9 x.js", "x.js"),
        ("node -e code", ""),
        ("php -d a=b -f x.php", "x.php"),
        ("php -fx.php", "x.php"),
        ("php -F x.php", "x.php"),
        ("php -S 127.0.0.1:80 x.php", "x.php"),
        ("awk {print} data", ""),
        ("awk -F : -f x.awk data", "x.awk"),
        ("gawk --file=x.awk data", "x.awk"),
        ("sed -e p data", ""),
        ("sed p data", ""),
        ("sed -nf x data", "x"),
        ("sed data -f x", "x"),
        ("sed -i.f s/a/b/ data", ""),
        ("tclsh8.6 x.tcl", "x.tcl"),
        ("tclsh8.6 -encoding utf-8 x.tcl", "x.tcl"),
        ("csh -f x.csh a", "x.csh"),
        ("tcsh -c ls x", ""),
        ("expect -f x.exp a", "x.exp"),
        ("expect x.exp", "x.exp"),
        ("guile -c code x", ""),
        ("guile3.0 -L /lib -e main -s x.scm", "x.scm"),
        ("guile --no-auto-compile x.scm", "x.scm"),
        ("Rscript -e code", ""),
        ("Rscript --vanilla x.R a", "x.R"),
        ("R --no-echo --file=x.R --args y", "x.R"),
        ("mono --debug x.exe a", "x.exe"),
        ("mono-sgen --config f x.exe", "x.exe"),
        ("emacs --batch -l x.el data", "x.el"),
        ("emacs data", ""),
        ("vim.basic -Nu x data", "x"),
        ("vim data", ""),
        ("vim -u NONE data", ""),
        ("php -d auto_prepend_file=none x.php", "x.php"),
        ("gdb -batch -x x.py --args prog -x y", "x.py"),
        ("sbcl --script x.lisp", "x.lisp"),
        ("ocaml -I lib x.ml", "x.ml"),
        ("swipl -q -g main x.pl", "x.pl"),
        ("java -cp lib -jar x.jar -jar y", "x.jar"),
        ("ls /tmp/x", ""),
        ("python3", ""),
    ] {
        assert_eq!(found(line), expected, "{line}");
    }
}

#[test]
fn an_option_runs_a_file_beside_the_script() {
    for (line, expected) in [
        ("bash --rcfile /tmp/rc --norc x.sh", "/tmp/rc x.sh"),
        ("bash --rcfile /tmp/rc -ic code", "/tmp/rc"),
        ("node --require ./r x.js", "./r x.js"),
        ("node -e code -r ./r", "./r"),
        ("ruby -r./lib -e code", "./lib"),
        ("lua5.4 -l m x.lua", "m x.lua"),
        ("lua -e code x.lua", "x.lua"),
        ("expect -c code x", "x"),
        ("php -d auto_prepend_file=/tmp/x -r code", "/tmp/x"),
        ("gawk -e BEGIN{} -f x", "x"),
        ("gawk -i inc -f x -fy", "inc x y"),
        ("mawk -W exec x data", "x"),
        ("mawk -We x", "x"),
        ("guile -l x y", "x y"),
        ("vim -u rc -S session", "rc session"),
        ("sed --fi x data", "x"),
        ("sed --f x data", "x"),
        ("gawk --fil x --inc=y data", "x y"),
        ("gawk --ex x -f y", "x"),
        ("mawk -W f -f x", "-f x"),
        ("mawk -W posix,exe x data", "x"),
        ("node --experimental_loader ./x y.js", "./x y.js"),
        ("node --import=file:///tmp/x.mjs -e code", "/tmp/x.mjs"),
        ("php -f=x.php", "x.php"),
        ("php -d auto_prepend_file=file:///tmp/x -r code", "/tmp/x"),
        ("lua -l m=lib x.lua", "lib x.lua"),
        ("ruby --disable gems x.rb", "x.rb"),
        ("ocaml -open Stdlib -init i x.cmo y.ml data", "i x.cmo y.ml"),
        ("gnuplot a b", "a b"),
        ("swipl a.pl b.pl data", "a.pl b.pl data"),
        ("emacs --batch --lo x.el", "x.el"),
        ("gdb --comm x.py prog", "x.py"),
        ("guile \\ x y", "x"),
    ] {
        assert_eq!(found(line), expected, "{line}");
    }
}

/// Of perl, behind whose spaces options go on in one argument, or do not.
#[test]
fn a_space_ends_an_argument_of_perls_unless_a_dash_follows() {
    let of = |argument: &str| {
        let line = [argument, "x"];
        let code = code_of(Family::Perl, &line, Extent::WHOLE).unwrap();
        code.iter().map(|code| code.names.len()).sum::<usize>()
    };
    for (argument, scripts) in [("-w e", 1), ("-w -e", 0), ("-i e", 1), ("-i.b -e", 0), ("-ie", 1)]
    {
        assert_eq!(of(argument), scripts, "{argument}");
    }
}

/// What an option has the interpreter go to is where its script lies.
#[test]
fn a_folder_that_an_option_names_is_where_the_script_is() {
    for (family, line) in [
        (Family::Ruby, &["-C", "lib", "x.rb"][..]),
        (Family::Emacs, &["--chdir=lib", "-l", "x.rb"]),
        (Family::Gdb, &["-cd", "lib", "-x", "x.rb"]),
    ] {
        let code = code_of(family, line, Extent::WHOLE).unwrap();
        let [code] = &code[..] else { panic!("{line:?}") };
        assert_eq!((&code.names[..], code.within), (&[&b"x.rb"[..]][..], Some(&b"lib"[..])));
    }
    let url = ["-d", "auto_prepend_file=php://filter/resource=/tmp/x", "-r", "code"];
    assert_eq!(code_of(Family::Php, &url, Extent::WHOLE).unwrap()[0].named, Named::Url);
}

/// A text that is taken for a file is a script that nobody can find.
#[test]
fn a_text_is_no_file() {
    for line in [
        "gjs -c print(1) x",
        "gjs-console --command print(1)",
        "gjs -I /lib -c print(1)",
        "clisp -q -norc -x (print)",
        "clisp -ansi -on-error exit -x (print)",
        "gnuplot -persist -e plot",
        "qjs -e print(1)",
        "julia -e print(1)",
        "julia -E 1+1",
        "newlisp -e (print)",
        "jimsh -e puts",
        "vim -es -u NONE -c wq data",
        "vim -e -s -c wq data",
        "vim -Es data",
        "gawk -f - data",
        "sed -f- data",
        "expect -f - a",
        "ed -s data",
    ] {
        assert_eq!(found(line), "", "{line}");
    }
    for (line, expected) in [
        ("gjs -m x.js", "x.js"),
        ("gjs -I /lib x.js", "x.js"),
        ("clisp -q -i x y.lisp", "x y.lisp"),
        ("clisp -E utf-8 -Eterminal utf-8 y.lisp", "y.lisp"),
        ("gnuplot -e a=1 x.gp", "x.gp"),
        ("gnuplot -c x.gp a", "x.gp"),
        ("gnuplot -background red x.gp", "red x.gp"),
        ("vim -s script data", "script"),
        ("vim -es -S script data", "script"),
        ("ex -s -S script data", "script"),
        ("ex -s data", ""),
    ] {
        let of = |line: &str| match line.strip_prefix("ex ") {
            // By its name alone it is a link to vim's.
            Some(rest) => {
                let argv: Vec<&[u8]> = rest.split(' ').map(str::as_bytes).collect();
                let code = code_of(Family::Vim.by_name(b"ex"), &argv, Extent::WHOLE).unwrap();
                let names = code.iter().flat_map(|code| code.names.clone());
                String::from_utf8(names.collect::<Vec<_>>().join(&b' ')).unwrap()
            }
            None => found(line),
        };
        assert_eq!(of(line), expected, "{line}");
    }
}

/// Which options there will be nobody knows.
#[test]
fn behind_an_option_that_nobody_knows_it_may_be_either() {
    for (line, expected) in [
        ("node --unhandled-rejections strict x.js a", "x.js"),
        ("node --newer-option strict x.js a", "strict x.js"),
        ("qjs -I own x", "own x"),
        ("julia -L own x", "own x"),
        ("node --new a --newer b x.js y", "a b x.js"),
        ("node --new=a x.js y", "x.js"),
    ] {
        assert_eq!(found(line), expected, "{line}");
    }
}

#[test]
fn a_loader_runs_what_follows_its_options() {
    let at = |line: &str| {
        loaded(
            &line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>(),
            Extent::WHOLE,
        )
        .unwrap()
        .map(|loaded| loaded.at)
    };
    assert_eq!(at("ld.so --argv0 sh --glibc-hwcaps-prepend x busybox x"), Some(5));
    assert_eq!(at("ld-musl-x86_64.so.1 --preload=x -- bash x"), Some(3));
    let argv = ["ld.so", "--argv0", "sh", "/bin/busybox", "x"];
    let named = loaded(&argv, Extent::WHOLE).unwrap().unwrap().name;
    assert_eq!(named, Some(&b"sh"[..]));
    assert_eq!(at("ld.so /bin/bash /tmp/x"), Some(1));
    assert_eq!(at("ld.so --library-path /x --inhibit-cache bash x"), Some(4));
    assert_eq!(at("ld.so --help"), None);
}

proptest! {
    #[test]
    fn nothing_behind_c_is_a_script_where_it_carries_code(
        base in "(sh|bash|zsh|fish|python3)",
        argv in proptest::collection::vec("[a-zA-Z0-9=/ ]{0,8}", 0..8),
    ) {
        let argv: Vec<Vec<u8>> =
            [&base[..], "-c"].into_iter().chain(argv.iter().map(String::as_str))
                .map(|argument| argument.as_bytes().to_vec()).collect();
        prop_assert_eq!(run_by(base.as_bytes(), &argv), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_it_finds_is_within_an_argument(
        base in "(sh|python3|perl|ruby|node|php|lua|awk|mawk|sed|gdb|emacs|vim|tclsh|busybox)",
        argv in proptest::collection::vec("[-+a-zA-Z0-9=/ ]{0,8}", 0..8),
    ) {
        let mut argv: Vec<Vec<u8>> = argv.into_iter().map(String::into_bytes).collect();
        argv.insert(0, base.clone().into_bytes());
        for path in run_by(base.as_bytes(), &argv) {
            prop_assert!(argv[1..].iter().any(|argument| argument.ends_with(&path)));
        }
    }
}

/// Of a list whose end is not at hand, whose arguments are told by four bytes each.
#[test]
fn what_was_cut_off_is_asked_for_only_where_it_decides() {
    let of = |line: &str, extent: Extent| {
        let argv: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let family = Family::of(base_name(&argv[0])).unwrap();
        code_of(family, &argv[1..], Extent { longest: 4, ..extent })
            .map(|found| found.iter().map(|code| code.names.len()).sum::<usize>())
    };
    let open = Extent { is_open: true, ..Extent::WHOLE };
    for (line, whole, cut) in [
        ("perl -e text", Ok(0), Err(Missing)),
        ("perl -etext", Ok(0), Err(Missing)),
        ("bash -ec text a", Ok(0), Ok(0)),
        ("bash -ec", Ok(0), Err(Missing)),
        ("bash x.s a", Ok(1), Ok(1)),
        ("bash x.sh a", Err(Missing), Err(Missing)),
        ("bash -eu", Ok(0), Err(Missing)),
        ("bash -eeux x", Err(Missing), Err(Missing)),
        ("awk text x", Ok(0), Ok(0)),
        ("awk -fx", Ok(1), Err(Missing)),
        ("sed 1p file", Ok(0), Err(Missing)),
        ("sed -f file", Err(Missing), Err(Missing)),
        ("sed --expression=text", Ok(0), Err(Missing)),
        ("python3 -c text -f", Ok(0), Ok(0)),
    ] {
        assert_eq!(of(line, Extent::WHOLE), whole, "{line}");
        assert_eq!(of(line, open), cut, "{line}, and more");
    }
    // The last two are not all that there are.
    let gaps = Extent { gaps: Some(2), ..Extent::WHOLE };
    assert_eq!(of("sed 1p -s x", gaps), Ok(0), "it makes nothing of a bare one");
    assert_eq!(of("sed 1p -f x", gaps), Ok(1));
    assert_eq!(of("bash -x a b", gaps), Err(Missing));
    assert_eq!(of("bash x a b", gaps), Ok(1));
    let argv = ["ld.so", "--preload", "x", "a", "b"];
    assert_eq!(loaded(&argv, gaps), Err(Missing));
    assert_eq!(loaded(&argv, Extent::WHOLE), Ok(Some(Loaded { at: 3, name: None })));
    assert_eq!(loaded(&argv[..2], open), Err(Missing));
}
