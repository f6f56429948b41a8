use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::sync::Mutex;

use lacre_attest::ima::write;
use lacre_types::{Digest, Measurement};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::Answer;
use crate::testing::Nothing;

#[derive(Default)]
struct Told {
    seen: Mutex<Vec<String>>,
    lost: Mutex<Vec<Loss>>,
}

impl Judge for Told {
    fn judge(&self, _: &Measurement) -> Answer {
        Answer::Allow
    }

    fn seen(&self, measurement: Measurement, outcome: Outcome) {
        assert_eq!((measurement.source, outcome), (Source::ContainerIma, Outcome::Ran));
        self.seen.lock().unwrap().push(measurement.shown_path());
    }

    fn lost(&self, source: Source, loss: Loss) {
        assert_eq!(source, Source::ContainerIma);
        self.lost.lock().unwrap().push(loss);
    }
}

fn line(name: &str) -> Vec<u8> {
    write::file(12, Algorithm::Sha1, &Digest::sha256([1; 32]), name.as_bytes())
}

fn overflow() -> Vec<u8> {
    let data = write::ima_ng(&Digest::sha256([0; 32]), OVERFLOW);
    write::binary(12, &[0; 20], b"ima-ng", &data)
}

/// A container's folder, as the kernel shows it.
fn folder(list: &[u8], lines: usize, lost: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("binary_runtime_measurements"), list).unwrap();
    info(&dir, lines, lost);
    dir
}

fn info(dir: &TempDir, lines: usize, lost: u64) {
    let text = format!("id n--c\nseq 1\nstate running\nlines {lines}\nlost {lost}\n");
    fs::write(dir.path().join("info"), text).unwrap();
}

fn follow_for(grace: Duration, dir: &TempDir, woken: &PipeReader) -> (Vec<String>, Vec<Loss>) {
    let told = Arc::new(Told::default());
    let list = List::open(dir.path()).unwrap();
    let (judge, known) = (Arc::clone(&told) as _, Arc::new(Nothing));
    Watch { judge, known, list, grace, told: false }.run(woken);
    let told = Arc::into_inner(told).unwrap();
    (told.seen.into_inner().unwrap(), told.lost.into_inner().unwrap())
}

/// What a reader has that is to end.
fn disarmed() -> PipeReader {
    let (woken, wake) = io::pipe().unwrap();
    drop(wake);
    woken
}

fn follow(dir: &TempDir) -> (Vec<String>, Vec<Loss>) {
    follow_for(Duration::from_secs(1_000), dir, &disarmed())
}

#[test]
fn every_line_is_judged_once_and_in_order() {
    let dir = folder(&[line("/bin/a"), line("/bin/b")].concat(), 2, 0);
    assert_eq!(follow(&dir), (vec!["/bin/a".to_owned(), "/bin/b".to_owned()], Vec::new()));
}

#[test]
fn a_line_of_the_kernels_that_says_that_some_are_missing_is_a_loss_told_once() {
    let dir = folder(&[line("/bin/a"), overflow(), line("/bin/b")].concat(), 3, 5);
    let (seen, lost) = follow(&dir);
    assert_eq!((seen.len(), lost), (2, vec![Loss::Overflow(None)]));
}

#[test]
fn a_file_by_the_name_of_that_line_is_a_file() {
    let name = std::str::from_utf8(OVERFLOW).unwrap();
    let (seen, lost) = follow(&folder(&line(name), 1, 0));
    assert_eq!((seen.len(), lost), (1, Vec::new()));
}

#[test]
fn lines_that_the_kernel_has_not_listed_are_a_loss() {
    let dir = folder(&line("/bin/a"), 1, 5);
    assert_eq!(follow(&dir).1, [Loss::Overflow(Some(5))]);
}

#[test]
fn lines_that_are_counted_and_not_there_are_a_loss() {
    let dir = folder(&line("/bin/a"), 3, 0);
    assert_eq!(follow(&dir).1, [Loss::Overflow(Some(2))]);
}

#[test]
fn what_is_no_list_is_a_loss() {
    let cut = [line("/bin/a"), line("/bin/b")[..30].to_vec()].concat();
    for (bytes, lines) in [(&cut[..], 1), (&[0xff; 64], 0)] {
        let (_, lost) = follow(&folder(bytes, lines, 0));
        assert!(matches!(lost[..], [Loss::Ended(_)]), "{lost:?}");
    }
    let dir = folder(&line("/bin/a"), 1, 0);
    fs::write(dir.path().join("info"), "lines many\n").unwrap();
    assert!(matches!(follow(&dir).1[..], [Loss::Ended(_)]));
}

#[test]
fn a_list_that_somebody_else_lets_go_of_is_a_loss() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("binary_runtime_measurements");
    mknodat(CWD, &list, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    info(&dir, 1, 0);
    let mut kernel = OpenOptions::new().read(true).write(true).open(&list).unwrap();
    kernel.write_all(&line("/bin/a")).unwrap();
    let told = Arc::new(Told::default());
    let opened = List::open(dir.path()).unwrap();
    // It is closed: nobody writes any longer.
    drop(kernel);
    let (woken, _wake) = io::pipe().unwrap();
    let (judge, known) = (Arc::clone(&told) as _, Arc::new(Nothing));
    Watch { judge, known, list: opened, grace: Duration::ZERO, told: false }.run(&woken);
    assert_eq!(*told.seen.lock().unwrap(), ["/bin/a"]);
    assert!(matches!(told.lost.lock().unwrap()[..], [Loss::Ended(_)]));
}

#[test]
fn a_container_can_not_keep_its_reader_once_that_is_to_end() {
    let all: Vec<u8> = (0..5_000).flat_map(|number| line(&format!("/bin/{number}"))).collect();
    let dir = folder(&all, 5_000, 0);
    let (seen, lost) = follow_for(Duration::ZERO, &dir, &disarmed());
    assert_eq!((seen.len(), lost), (0, vec![Loss::Overflow(Some(5_000))]));
}
