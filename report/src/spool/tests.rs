//! Spools that are full, torn, and shared by containers.

use super::*;
use crate::SpoolReader;

fn gap(text: &str) -> Entry {
    Gap::new(GapReason::Torn, Some(7), text).into()
}

fn read_all(dir: &Path) -> Vec<(u64, Entry)> {
    let mut reader = SpoolReader::open(dir).unwrap();
    let mut all = Vec::new();
    loop {
        let batch = reader.batch(u64::MAX, 7, 1 << 20).unwrap();
        if batch.records.is_empty() {
            return all;
        }
        for (number, record) in (batch.first..).zip(&batch.records) {
            all.push((number, Entry::parse(record).unwrap()));
        }
        reader.seek(batch.first + batch.records.len() as u64);
    }
}

#[test]
fn what_goes_in_comes_out_numbered_over_many_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::create(dir.path(), 64 << 20, "n").unwrap();
    let text = "x".repeat(1000);
    for number in 1..=3000 {
        assert_eq!(spool.append(&mut gap(&text)).unwrap(), number);
    }
    assert!(spool.segments.len() > 2);
    let all = read_all(spool.dir());
    assert_eq!(all.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (1..=3000).collect::<Vec<_>>());
    spool.acknowledge(2999);
    assert_eq!(spool.segments.len(), 1);
    assert!(!spool.is_done());
    assert_eq!(read_all(spool.dir()).last().unwrap().0, 3000);
    spool.acknowledge(3000);
    assert!(spool.is_done());
    spool.append(&mut gap("after")).unwrap();
    assert_eq!(spool.last(), 3001);
    let dir = spool.dir().to_owned();
    spool.remove().unwrap();
    assert!(!dir.exists());
}

#[test]
fn a_full_spool_says_so_at_once_and_how_many_were_lost_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::create(dir.path(), 200 * 1024, "n").unwrap();
    let text = "x".repeat(1000);
    let mut kept = 0;
    while spool.append(&mut gap(&text)).is_ok() {
        kept += 1;
    }
    for _ in 0..9 {
        assert!(matches!(spool.append(&mut gap(&text)), Err(SpoolError::Full { .. })));
    }
    assert!(spool.shares.total() <= 200 * 1024);
    let all = read_all(spool.dir());
    assert_eq!(all.len(), kept + 1, "every record that was kept, and one that says: full");
    let Entry::Gap(open) = &all[kept].1 else { panic!("{all:?}") };
    assert_eq!((open.reason, open.lost), (GapReason::SpoolFull, None));

    spool.acknowledge(spool.last());
    let mut tries = 0;
    let number = loop {
        match spool.append(&mut gap("after")) {
            Ok(number) => break number,
            Err(_) => tries += 1,
        }
        assert!(tries < 3, "an acknowledged spool has room");
    };
    let all = read_all(spool.dir());
    let Entry::Gap(closed) = &all[all.len() - 2].1 else { panic!("{all:?}") };
    assert_eq!((closed.reason, closed.lost), (GapReason::SpoolFull, Some(10 + tries)));
    assert_eq!(all.last().unwrap().0, number);
}

#[test]
fn a_disk_that_is_full_costs_what_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::create(dir.path(), 1 << 20, "n").unwrap();
    spool.append(&mut gap("one")).unwrap();
    spool.tail = Some(Arc::new(OpenOptions::new().write(true).open("/dev/full").unwrap()));
    assert!(matches!(spool.append(&mut gap("lost")), Err(SpoolError::Io { .. })));
    // /dev/full cannot be truncated either, so a new segment was begun for what follows.
    assert_eq!(spool.append(&mut gap("three")).unwrap(), spool.last());
    let all = read_all(spool.dir());
    let told = all
        .iter()
        .any(|(_, entry)| matches!(entry, Entry::Gap(gap) if gap.reason == GapReason::SpoolFailed));
    assert!(told, "{all:?}");
    assert!(all.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1));
}

fn record(container: &str, path: &str) -> Entry {
    crate::folding::tests::record(container, path, crate::Became::Denied).into()
}

#[test]
fn one_container_that_fills_the_spool_leaves_room_for_the_others_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::create(dir.path(), 400 * 1024, "n").unwrap();
    let mut lost = 0;
    for number in 0..3000 {
        let uses = number % 3 + 1;
        if spool.append_for(&mut record("greedy", &format!("/{number}")), uses).is_err() {
            lost += uses;
        }
    }
    assert!(lost > 0);
    for other in ["a", "b", "c"] {
        for number in 0..20 {
            spool.append(&mut record(other, &format!("/{number}"))).unwrap();
        }
    }
    spool.acknowledge(spool.last());
    spool.close_gaps(true);
    let all = read_all(spool.dir());
    let mut told = 0;
    for (_, entry) in &all {
        if let Entry::Gap(gap) = entry {
            assert_eq!(gap.container_id.as_deref(), Some("greedy"));
            told += gap.lost.unwrap_or_default();
        }
    }
    assert_eq!(told, lost);
    assert!(spool.is_done() || spool.last() > 0);
}
