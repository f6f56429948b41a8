//! A file that is moved out of a code directory, and back, while the question about it waits.

use std::io::BufRead as _;
use std::process::Child;

use lacre_measure::Block;
use lacre_types::Mode;

use crate::container::Container;
use crate::{Baseline, Guarded, Limits};

/// How often each is tried.
const TRIES: usize = 400;

/// What moves there and back, one of each.
const WAYS: [[&str; 3]; 5] = [
    ["rename", "/srv/app/x", "/tmp/x"],
    ["rename", "/srv/app/x", "/srv/x"],
    ["exchange", "/srv/app/x", "/tmp/y"],
    ["link", "/srv/app/x", "/tmp/x"],
    ["rename", "/srv/app/sub", "/tmp/sub"],
];

fn moving(it: &Guarded, way: [&str; 3]) -> Child {
    let command = [&["/bin/tool", "move"][..], &way].concat();
    let mut mover = it.container.spawn(&command);
    let mut line = String::new();
    std::io::BufReader::new(mover.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "moves\n");
    mover
}

#[test]
fn what_was_in_a_code_directory_when_it_was_asked_for_is_code() {
    for block in [Block::Exec, Block::All] {
        let container = Container::start(|lower| {
            std::fs::create_dir_all(lower.join("srv/app")).unwrap();
        });
        let baseline = Baseline::of(&container.lower(), Mode::Enforce).declare("/srv/app");
        let it = Guarded::arm(container, baseline, Mode::Enforce, block, Limits::default());
        let sh = |script: &str| it.container.output(&["/bin/sh", "-c", script]);
        let make = "mkdir /srv/app/sub; for f in /srv/app/x /srv/app/sub/x /tmp/y; do \
                    echo 'echo ran' >$f; done; echo 'echo ran' >/tmp/outside; \
                    ln -s /tmp/outside /srv/app/link";
        assert!(sh(make).status.success());
        for way in WAYS {
            let mut mover = moving(&it, way);
            let inside = if way[1].ends_with("sub") { "/srv/app/sub/x" } else { way[1] };
            let run = format!(
                "i=0; while [ $i -lt {TRIES} ]; do i=$((i + 1)); (. {inside}); done 2>/dev/null"
            );
            let said = sh(&run);
            drop(mover.stdin.take());
            assert!(mover.wait().unwrap().success());
            let ran = said.stdout.split(|byte| *byte == b'\n').filter(|l| *l == b"ran").count();
            assert_eq!(ran, 0, "{block:?} {way:?}: ran of {TRIES}");
            let _ = sh(
                "mv -f /tmp/x /srv/x /srv/app/x 2>/dev/null; mv /tmp/sub /srv/app 2>/dev/null; \
                        rm -f /srv/app/x /tmp/x; echo 'echo ran' >/srv/app/x",
            );
        }
        // What is outside is so by whatever name, however new it is.
        assert!(
            sh("echo 'echo ran' >/tmp/new; ln -s /tmp/new /srv/app/newer; ln -s /tmp /srv/app/dir")
                .status
                .success()
        );
        for outside in [
            "/tmp/outside",
            "/srv/app/link",
            "/srv/app/../../tmp/outside",
            "/srv/app/newer",
            "/srv/app/dir/new",
        ] {
            assert_eq!(sh(&format!(". {outside}")).stdout, b"ran\n", "{block:?} {outside}");
        }
    }
}
