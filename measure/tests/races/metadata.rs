//! Files whose state changed and whose content did not.

use lacre_measure::Block;
use lacre_measure::fanotify::Groups;

use crate::both_sources::{Guarded, build};
use crate::common::Image;
use crate::tries;

/// What changes a file's state and not its content: by each of these it stays the image's,
/// and runs, as a program and as a library, with no kill and no record.
pub(crate) const CHANGES: [&str; 6] = ["chown", "chmod", "touch", "rename", "xattr", "twice"];

#[test]
fn a_file_whose_metadata_changed_runs_with_no_kill_and_no_record() {
    for block in [Block::Exec, Block::All] {
        let mut it = Guarded::new(block, true);
        it.container.start("/bin/t each");
        for victim in ["/bin/victim", "/opt/victim.so"] {
            for change in CHANGES {
                // It has run before, so that whoever has settled it must unsettle it.
                let ran = it.container.each(&format!("/bin/t use {victim}"));
                assert_eq!(ran, 0, "before {change} of {victim}");
                it.use_after(change, victim);
            }
        }
        it.nobody_was_hit();
    }
}

/// The same of changes that no directory is told of which has the file under its name in the
/// image: those of its inode, by its other names and to them.
const INODE_CHANGES: [&str; 8] =
    ["link", "chmod-other", "touch-other", "xattr-other", "move", "fchown", "replace", "unlink"];

#[test]
fn a_file_whose_inode_changed_by_another_name_runs_with_no_kill_and_no_record() {
    for block in [Block::Exec, Block::All] {
        let mut it = Guarded::new(block, true);
        it.container.start("/bin/t each");
        for victim in ["/bin/victim", "/opt/victim.so"] {
            for change in INODE_CHANGES {
                for change in ["link", change] {
                    it.use_after(change, victim);
                }
            }
        }
        it.nobody_was_hit();
    }
}

/// Nor does its content change unseen by another name.
#[test]
fn a_file_whose_content_changed_by_another_name_does_not_run() {
    for block in [Block::Exec, Block::All] {
        for victim in ["/bin/victim", "/opt/victim.so"] {
            let mut it = Guarded::new(block, true);
            it.container.start("/bin/t each");
            for change in ["chmod", "link", "chmod-other", "move"] {
                assert_eq!(it.container.each(&format!("/bin/t change {change} {victim}")), 0);
                let ran = it.container.each(&format!("/bin/t use {victim}"));
                assert!(ran == 0 || ran == 137, "{change} of {victim}: {ran}");
            }
            assert_eq!(it.container.each("/bin/t append /tmp/other"), 0);
            assert_eq!(it.container.each(&format!("/bin/t change unlink {victim}")), 0);
            for _ in 0..3 {
                let ran = it.container.each(&format!("/bin/t use {victim}"));
                assert!([90, 91, 137].contains(&ran), "{block:?} {victim}: {ran}");
            }
        }
    }
}

/// Nor is there a moment in which one that fanotify asks about is not known.
#[test]
fn a_file_that_is_used_at_once_after_its_metadata_changed_runs() {
    let libraries = [(Block::All, "/opt/victim.so")];
    for (block, victim) in
        [Block::Exec, Block::All].map(|block| (block, "/bin/victim")).iter().chain(&libraries)
    {
        let mut it = Guarded::new(*block, true);
        it.container.start("/bin/t each");
        for _ in 0..tries() / 10 {
            for change in CHANGES.iter().chain(&["fchown", "link", "flags"]) {
                let ran = it.container.each(&format!("/bin/t changeuse {change} {victim}"));
                assert_eq!(ran, 0, "{block:?}: {change} of {victim}");
            }
        }
        it.nobody_was_hit();
    }
}

/// The race that is left: a library, which nobody was asked about before its first change.
#[test]
fn who_is_faster_than_word_of_the_change_is_killed_and_recorded() {
    let mut image = Image::new();
    let victims: Vec<_> = (0..tries()).map(|number| format!("/opt/victim{number}.so")).collect();
    build(&mut image, &victims[0], &["-shared", "-fPIC"]);
    for victim in &victims[1..] {
        let at = |path: &str| image.lower().join(&path[1..]);
        std::fs::copy(at(&victims[0]), at(victim)).unwrap();
        image.allow(victim);
    }
    let mut it = Guarded::of_image(image, &Groups::new(), Block::Exec, true);
    it.container.start("/bin/t each");
    for victim in &victims {
        let before = it.armed.0.counters().unwrap().kills;
        let status = it.container.each(&format!("/bin/t changeuse touch {victim}"));
        let kills = it.armed.0.counters().unwrap().kills;
        assert_eq!(status == 137, kills > before, "{victim}: {status}");
        assert!(status == 0 || status == 137, "{victim}: {status}");
    }
    let kills = it.armed.0.counters().unwrap().kills;
    println!("{kills} of {} were faster", tries());
    // Each has its record, in time.
    it.judge.wait_until_killed(kills);
}
