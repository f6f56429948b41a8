//! The image's data in the container's own layer: what changed is told by what it holds.

use lacre_measure::{Block, Outcome};
use lacre_types::{Event, Mode};

use crate::baseline::path;
use crate::container::Container;
use crate::{Baseline, Guarded, Limits, place};

/// Nothing tells that it is code.
const NOTES: &str = "exit 0\n";
const FOREIGN: &str = "exit 1\n";

/// Of the image: `/srv/N`, and `/other` that holds what they hold.
fn with(files: usize, block: Block, declared: bool) -> Guarded {
    let container = Container::start(|lower| {
        std::fs::create_dir(lower.join("srv")).unwrap();
        for file in 0..files {
            place::write(&lower.join(format!("srv/{file}")), NOTES);
        }
        place::write(&lower.join("other"), NOTES);
        std::fs::hard_link(lower.join("other"), lower.join("linked")).unwrap();
    });
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    let baseline = if declared { baseline.declare("/srv") } else { baseline };
    Guarded::arm(container, baseline, Mode::Enforce, block, Limits::default())
}

fn sh(it: &Guarded, script: &str) -> i32 {
    it.container.run(&["/bin/sh", "-c", script])
}

fn refused(it: &Guarded, name: &str) {
    it.baseline.wait_for(name, |m, outcome| {
        m.path == Some(path(name)) && outcome == Outcome::Denied && m.event == Event::Script
    });
}

/// By which its metadata changes, or it is written anew with what it held.
const SAME: &[&str] = &[
    "chown 7:7 $F",
    "chown -R 7 /srv",
    "chmod 640 $F",
    "touch $F",
    "touch -t 200001010000 $F",
    ": >>$F",
    "ln $F /tmp/l; rm /tmp/l",
    "mv $F /tmp/m; mv /tmp/m $F",
    "cp $F /tmp/c; cat /tmp/c >$F",
    "cp $F /tmp/c; rm $F; mv /tmp/c $F",
    "dd if=$F of=$F conv=notrunc 2>/dev/null",
];

/// By which it comes to hold something else, of the same size.
const CHANGED: &[&str] = &[
    "printf 'exit 1\\n' >$F",
    "chown 7 $F; printf 1 | dd of=$F bs=1 seek=5 conv=notrunc 2>/dev/null",
    "printf 'exit 1\\n' >/tmp/n; mv /tmp/n $F",
    "printf 'exit 1\\n' >/tmp/n; ln -f /tmp/n $F",
    "touch -r $F /tmp/t; printf 'exit 1\\n' >$F; touch -r /tmp/t $F",
    "chmod 600 $F; printf 'exit 1\\n' >/tmp/n; cat /tmp/n >$F",
];

#[test]
fn what_the_image_has_is_its_own_though_its_metadata_changed() {
    for (block, declared) in [(Block::All, false), (Block::All, true), (Block::Exec, true)] {
        let it = with(SAME.len(), block, declared);
        for (file, way) in SAME.iter().enumerate() {
            let file = format!("/srv/{file}");
            assert_eq!(sh(&it, &format!("F={file}; {way}")), 0, "{way}");
            for use_it in [format!(". {file}"), format!(". {file}"), format!("sh {file}")] {
                let status = sh(&it, &use_it);
                assert_eq!(
                    status,
                    0,
                    "{block:?} {declared} {way}: {use_it} {:#?}",
                    it.baseline.all()
                );
            }
            assert!(!it.baseline.was_read(&file), "{block:?} {declared} {way}");
        }
        assert_eq!(it.baseline.all().iter().filter(|(_, o)| *o == Outcome::Denied).count(), 0);
    }
}

#[test]
fn what_is_changed_is_foreign_though_it_looks_the_same() {
    for block in [Block::All, Block::Exec] {
        let it = with(CHANGED.len(), block, true);
        for (file, way) in CHANGED.iter().enumerate() {
            let file = format!("/srv/{file}");
            // It was the image's before.
            assert_eq!(sh(&it, &format!("chown 7 {file}; . {file}")), 0, "{way}");
            assert_eq!(sh(&it, &format!("F={file}; {way}")), 0, "{way}");
            // 2: a shell that can't open it.
            assert_ne!(sh(&it, &format!(". {file}")), 1, "{block:?} {way}");
            refused(&it, &file);
        }
    }
}

/// The image's bytes are its own where it has them, and not elsewhere.
#[test]
fn what_the_image_has_elsewhere_is_foreign_here() {
    let it = with(1, Block::All, true);
    for make in [
        "cp /other /srv/x",
        "ln -f /other /srv/x",
        "mv /other /srv/x",
        "cp /linked /srv/sub; mv /srv/sub /srv/x",
    ] {
        assert_eq!(sh(&it, make), 0, "{make}");
        assert_ne!(sh(&it, ". /srv/x"), 0, "{make}");
        refused(&it, "/srv/x");
    }
}

/// A store to a mapping that somebody has kept changes what was read before.
#[test]
fn who_can_still_write_to_it_makes_nothing_pass() {
    use std::io::BufRead as _;
    let it = with(1, Block::All, true);
    assert_eq!(sh(&it, "chown 7 /srv/0; . /srv/0"), 0);
    let mut holder = it.container.spawn(&["/bin/tool", "hold", "/srv/0"]);
    let mut line = String::new();
    std::io::BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    assert_ne!(sh(&it, ". /srv/0"), 0);
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    assert_eq!(sh(&it, ". /srv/0"), 0, "{:#?}", it.baseline.all());
    assert_eq!(FOREIGN.len(), NOTES.len());
}
