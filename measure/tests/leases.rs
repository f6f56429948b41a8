//! A file that the guard keeps still runs in whatever state it is: while the guard's own lease on
//! it is whole, and not a moment longer. Needs root and BPF.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where it must")]

mod common;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use common::guarded::{Guarded, KILLED};
use common::{Image, digest_of};
use lacre_measure::Leased;
use lacre_measure::exec_trace::Allower;
use lacre_sys::lease::Still;
use lacre_types::{Digest, Mode};

const PROGRAM: &str = "/bin/t fork /opt/evil mark /tmp/m";
const LEASED_BY_ITSELF: &str = "/bin/t lease /opt/evil /opt/evil mark /tmp/m";

/// A container with a program that its map does not have.
struct Unknown {
    it: Guarded,
    allower: Allower,
    root: PathBuf,
    file: File,
    digest: Digest,
    _image: Image,
}

impl Unknown {
    fn new() -> Self {
        let image = Image::new();
        let mut it = Guarded::new(&image, Mode::Enforce);
        it.container.start("/bin/t each");
        let init = it.container.target(&image, Mode::Enforce).init_pid;
        let root = PathBuf::from(format!("/proc/{init}/root"));
        let file = File::open(root.join("opt/evil")).unwrap();
        let digest = digest_of(&image.lower().join("opt/evil"));
        Self { allower: it.armed.allower(), it, root, file, digest, _image: image }
    }

    fn ino(&self) -> u64 {
        self.file.metadata().unwrap().ino()
    }

    /// Who knows files by their state is told that it is leased.
    fn tell(&self) {
        self.allower.leased(&Leased { ino: self.ino(), digest: &self.digest, path: None });
    }

    fn run(&mut self, line: &str) -> i32 {
        self.it.container.each(line)
    }
}

#[test]
fn a_lease_lets_run_what_was_told_of_and_only_while_it_lasts() {
    let mut it = Unknown::new();
    it.tell();
    assert_eq!(it.run(PROGRAM), KILLED, "nobody has a lease");
    let lease = Still::new(it.file.try_clone().unwrap()).unwrap();
    assert_eq!(it.run(PROGRAM), 0);
    it.allower.lease_ends(it.ino());
    assert_eq!(it.run(PROGRAM), KILLED, "nobody was told of it");
    it.tell();
    assert_eq!(it.run(PROGRAM), 0);
    drop(lease);
    assert_eq!(it.run(PROGRAM), KILLED, "it has ended");
}

#[test]
fn a_lease_of_the_containers_own_lets_nothing_run() {
    let mut it = Unknown::new();
    it.tell();
    assert_eq!(it.run(LEASED_BY_ITSELF), KILLED);
    // Nor does one in front of the guard's harm anybody.
    let _lease = Still::new(it.file.as_fd()).unwrap();
    assert_eq!(it.run(LEASED_BY_ITSELF), 0);
}

#[test]
fn a_lease_on_another_file_lets_nothing_run() {
    let mut it = Unknown::new();
    assert_eq!(it.run("/bin/t copy /opt/evil /tmp/other"), 0);
    let _lease = Still::new(File::open(it.root.join("tmp/other")).unwrap()).unwrap();
    it.tell();
    assert_eq!(it.run(PROGRAM), KILLED);
}

#[test]
fn a_file_that_is_open_for_writing_does_not_run_under_a_lease() {
    let mut it = Unknown::new();
    it.tell();
    // The layer's own inode, which the overlay's lease says nothing of.
    assert_eq!(it.run("/bin/t change chmod /opt/evil"), 0);
    let _lease = Still::new(it.file.try_clone().unwrap()).unwrap();
    let upper = it.it.container.upper("/opt/evil");
    let writer = File::options().append(true).open(upper).unwrap();
    assert_eq!(it.run(PROGRAM), KILLED);
    drop(writer);
    assert_eq!(it.run(PROGRAM), 0);
}
