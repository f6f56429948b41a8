//! Each interpreter opens its code by another call, and by a name that says nothing.

use std::fs;

use anyhow::{Context, Result};
use lacre_integration::Image;
use lacre_integration::Output;
use lacre_integration::images::{busybox_image, debian_image};
use lacre_integration::paths::cached;
use lacre_integration::workloads::image_name;

use crate::field::{BLOCKS, Field, bind};

const POLICY: &str = "CodeDirectories:\n  ByContainerImageName: [{\"lacre.test/**\": [/srv/app]}]\n\
                      Actions: {}\n";

/// An interpreter, what it runs, and the command that runs the file `$F`. Each says `ran` if it
/// does.
struct Case {
    name: &'static str,
    code: &'static str,
    command: &'static str,
}

const fn case(name: &'static str, code: &'static str, command: &'static str) -> Case {
    Case { name, code, command }
}

const DEBIAN: &[Case] = &[
    case("bash", "echo ran", "bash -c '. $F; :'"),
    case("dash", "echo ran", "dash -c '. $F; :'"),
    case("perl", "print qq{ran\\n}; 1", "perl -e 'do $ENV{F}; 0'"),
    case("python", "print('ran')", "python3 -c 'import os; exec(open(os.environ[\"F\"]).read())'"),
    case("bash-env", "echo ran", "BASH_ENV=$F bash -c :"),
];

const LANGUAGES: &[Case] = &[
    case("lua", "print('ran')", "lua5.4 -e 'dofile(os.getenv(\"F\"))'"),
    case("luajit", "print('ran')", "luajit -e 'dofile(os.getenv(\"F\"))'"),
    case("tcl", "puts ran", "echo 'source $env(F)' | tclsh"),
    case("php", "<?php echo \"ran\\n\";", "php -r 'include getenv(\"F\");'"),
    case("ruby", "puts 'ran'", "ruby -e 'load ENV[\"F\"]'"),
    case(
        "node",
        "console.log('ran')",
        "node -e 'eval(require(\"fs\").readFileSync(process.env.F, \"utf8\"))'",
    ),
    case("gawk", "BEGIN { print \"ran\" }", "gawk \"@include \\\"$F\\\"\nBEGIN {}\""),
    case(
        "guile",
        "(display \"ran\\n\")",
        "guile --no-auto-compile -c '(primitive-load (getenv \"F\"))'",
    ),
];

const BUSYBOX: &[Case] = &[case("ash", "echo ran", "sh -c '. $F; :'")];

/// Each in a directory that is declared, and in one that is not.
fn holds(field: &Field, cases: &[Case]) -> Result<()> {
    for block in BLOCKS {
        let volume = field.daemon.node().folder().join(format!("volume-{block}"));
        for folder in ["app", "data"] {
            fs::create_dir_all(volume.join(folder))?;
            for case in cases {
                fs::write(volume.join(folder).join(case.name), format!("{}\n", case.code))?;
            }
        }
        let (app, data) =
            (bind(&volume.join("app"), "/srv/app"), bind(&volume.join("data"), "/data"));
        let id = format!("block-{block}");
        field.start(&id, block, POLICY, &["--mount", &app, "--mount", &data])?;
        for Case { name, command, .. } in cases {
            let run = |path: &str| {
                let script = format!("export F={path}; {command}");
                field.enter(&id, &["sh", "-c", &script])
            };
            let ran = |said: &Output| said.stdout.contains("ran");
            let path = format!("/data/{name}");
            let said = run(&path)?;
            assert!(ran(&said), "{block} {name}: {said:?} {:#?}", field.daemon.records()?);
            if block == "all" {
                let record = field.await_told(&id, "REPORT", &path)?;
                assert_eq!(record["action"], "SKIP", "{record}");
                assert_eq!((&record["outcome"], &record["event"]), (&"ran".into(), &"open".into()));
            }
            let path = format!("/srv/app/{name}");
            let said = run(&path)?;
            assert!(!ran(&said), "{block} {name}: {said:?} {:#?}", field.daemon.records()?);
            let record = field.await_told(&id, "ENTRY_NOT_FOUND", &path)?;
            assert_eq!(
                (&record["outcome"], &record["event"]),
                (&"denied".into(), &"script".into())
            );
            // And it is still a file that anybody may read.
            assert_eq!(field.sh(&id, &format!("cat {path} | wc -l"))?.trim(), "1");
        }
        assert_eq!(field.told(&id, "ENTRY_NOT_FOUND")?.len(), cases.len());
        field.daemon.remove(&id).context(field.daemon.log())?;
    }
    field.daemon.forget_client_fifos()
}

#[test]
fn what_shells_perl_and_python_open_in_a_code_directory_is_run() -> Result<()> {
    holds(&Field::new(debian_image()?)?, DEBIAN)
}

#[test]
fn what_busyboxs_shell_opens_in_a_code_directory_is_run() -> Result<()> {
    holds(&Field::new(busybox_image()?)?, BUSYBOX)
}

#[test]
fn what_other_languages_open_in_a_code_directory_is_run() -> Result<()> {
    let archive = cached("workloads/languages.tar")
        .context("the images of the workloads: run integration/workloads/prepare.sh")?;
    let field = Field::imported(Image::new(image_name("languages")), &archive)?;
    holds(&field, LANGUAGES)
}

/// What awk and sed are given to work on is data, there too; what they read besides is not told
/// to be any.
#[test]
fn what_awk_and_sed_are_given_to_work_on_is_read() -> Result<()> {
    let field = Field::new(debian_image()?)?;
    for block in BLOCKS {
        let id = format!("text-{block}");
        field.start(&id, block, POLICY, &[])?;
        field
            .sh(&id, "mkdir -p /srv/app /data; for d in /srv/app /data; do echo a b >$d/x; done")?;
        for read in [
            "awk '{ print $2 }' /srv/app/x",
            "sed -n 's/a //p' /srv/app/x",
            "sed -i s/c/d/ /srv/app/x; cut -d ' ' -f 2 /srv/app/x",
            "cat /srv/app/x | sed 's/a //'",
        ] {
            assert_eq!(field.sh(&id, read)?, "b\n", "{read}");
        }
        field.is_innocent(&id)?;
        let besides =
            |path: &str| format!("awk 'BEGIN {{ while ((getline l < \"{path}\") > 0) print l }}'");
        assert_eq!(field.sh(&id, &besides("/data/x"))?, "a b\n");
        assert_eq!(field.sh(&id, &besides("/srv/app/x"))?, "");
        field.await_told(&id, "ENTRY_NOT_FOUND", "/srv/app/x")?;
        // And a program by its option is code wherever it lies.
        field.sh(&id, "echo 's/a/ran/' >/data/prog")?;
        let said = field.enter(&id, &["sh", "-c", "echo a | sed -f /data/prog"])?;
        assert!(!said.stdout.contains("ran") || block == "exec", "{said:?}");
        field.daemon.remove(&id)?;
    }
    field.daemon.forget_client_fifos()
}
