//! What is told at once, what is counted, and who takes whose room.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use lacre_types::{
    CanonicalPath, Content, Digest, Event, Measurement, Mode, Process, Source, Violation,
    ViolationKind,
};
use proptest::prelude::*;

use super::ledger::{KEYS, UPDATE};
use super::*;
use crate::record::Became;
use crate::{Origin, Verdict};

pub(crate) fn record(container: &str, path: &str, became: Became) -> Record {
    let measurement = Measurement {
        source: Source::Fanotify,
        event: Event::Exec,
        path: CanonicalPath::new(path).ok(),
        content: Content::Digest(Digest::sha256([7; 32])),
        process: Process::default(),
        time: UNIX_EPOCH,
    };
    let violation = Violation { kind: ViolationKind::EntryNotFound, measurement, expected: None };
    let origin = Origin {
        container_id: container.to_owned(),
        namespace: "ns".to_owned(),
        ..Origin::default()
    };
    let (mode, action) = (Mode::Enforce, Action::Deny);
    let verdict = Verdict { mode, action, became, rule: None, file_kind: None, layer: None };
    Record::new(&origin, &violation, &verdict)
}

const fn second(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn the_first_is_told_at_once_and_the_others_a_second_later_with_their_number() {
    let mut folds = Folds::new();
    assert!(matches!(folds.see(&record("c", "/x", Became::Denied), second(0)), Told::Anew(_)));
    assert!(folds.due(second(5), false).is_empty());
    for _ in 0..9 {
        let told = folds.see(&record("c", "/x", Became::Denied), second(5));
        assert!(matches!(told, Told::Counted(_)));
    }
    let due = folds.due(second(5), false);
    assert!(matches!(due[..], [Due::Update { count: 10, fresh: 9, .. }]), "{due:?}");
    folds.see(&record("c", "/x", Became::Denied), second(5));
    assert!(folds.due(second(5), false).is_empty() && folds.has_news());
    assert!(matches!(folds.due(second(6), false)[..], [Due::Update { count: 11, fresh: 1, .. }]));
}

/// Of a file that an interpreter reads.
fn read(path: &str, size: u64) -> Record {
    let mut read = record("c", path, Became::Ran);
    (read.notificate, read.digest, read.size) = (ViolationKind::Report, None, Some(size));
    (read.line, read.action) = (format!("- {path}\n"), Action::Skip);
    read
}

/// Who reads without end leaves as much room for what is a violation as who reads nothing.
#[test]
fn what_is_read_takes_no_room_from_violations() {
    let mut folds = Folds::new();
    let told = |told: &Told| matches!(told, Told::Anew(_));
    let files = (0..5000).filter(|n| told(&folds.see(&read(&format!("/d/{n}"), 1), second(0))));
    let files = files.count();
    assert!((1000..2500).contains(&files), "{files}");
    let due = folds.due(second(5), false);
    let lost = 5000 - files as u64;
    assert!(matches!(due[..], [Due::Lost(GapReason::Reports, n)] if n == lost), "{due:?}");
    let used = |folds: &mut Folds| {
        let each =
            |n: &u32| told(&folds.see(&record("c", &format!("/x/{n}"), Became::Ran), second(5)));
        (0..20_000).filter(each).count()
    };
    assert_eq!(used(&mut folds), used(&mut Folds::new()));
}

/// As an interpreter that sources more files than are counted at a time, each changed and
/// sourced again: all have news, for minutes.
#[test]
fn what_is_read_again_and_again_takes_no_place_and_no_line_from_violations() {
    let (mut folds, mut alone) = (Folds::new(), Folds::new());
    let read_all = |folds: &mut Folds, now| {
        for n in 0..2000 {
            folds.see(&read(&format!("/d/{n}"), 1), second(now));
        }
    };
    read_all(&mut folds, 0);
    for now in 1..60 {
        read_all(&mut folds, now);
        let mut told = [Vec::new(), Vec::new()];
        for (folds, told) in [&mut folds, &mut alone].into_iter().zip(&mut told) {
            for n in 0..40 {
                // Ten new ones each second, and thirty that go on.
                let path = format!("/x/{}", if n < 10 { now * 100 + n } else { n });
                let violation = record("c", &path, Became::Ran);
                told.push(format!("{:?}", discriminant(&folds.see(&violation, second(now)))));
            }
        }
        assert_eq!(told[0], told[1], "{now}");
        let [lines, expected] = [&mut folds, &mut alone].map(|folds| {
            let due = folds.due(second(now), false);
            let of_violations = |due: &&Due| matches!(due, Due::Update { worst, .. } if worst.action == Action::Deny);
            due.iter().filter(of_violations).count()
        });
        assert_eq!(lines, expected, "{now}");
    }
}

/// One more beyond the bytes that there are drives nobody out: who is forgotten is told anew.
#[test]
fn what_has_no_room_for_a_record_drives_nobody_out() {
    let known = |folds: &mut Folds, of: &dyn Fn(u64) -> Record, now| {
        (0..KEYS as u64)
            .filter(|n| matches!(folds.see(&of(*n), second(now)), Told::Counted(_)))
            .count()
    };
    let files = |n: u64| read(&format!("/d/{n}"), 1);
    let violations = |n: u64| record("c", &format!("/x/{n}"), Became::Ran);
    for of in [&files as &dyn Fn(u64) -> Record, &violations] {
        let mut folds = Folds::new();
        let mut last = 0;
        while matches!(folds.see(&of(last), second(0)), Told::Anew(_)) {
            last += 1;
        }
        let kept = |n: u64| of(last - 1 - n);
        let before = known(&mut folds, &kept, 0);
        for n in 0..5000 {
            folds.see(&of(last + 1 + n), second(0));
        }
        folds.due(second(0), true);
        for n in 0..5000 {
            folds.see(&of(last + 1 + n), second(0));
        }
        assert_eq!((before, known(&mut folds, &kept, 0)), (KEYS, KEYS));
    }
}

#[test]
fn a_file_that_grows_while_it_is_read_is_one_record() {
    let mut folds = Folds::new();
    assert!(matches!(folds.see(&read("/log", 1), second(0)), Told::Anew(_)));
    for size in 2..9 {
        assert!(matches!(folds.see(&read("/log", size), second(0)), Told::Counted(_)));
    }
    assert!(matches!(folds.see(&read("/other", 1), second(0)), Told::Anew(_)));
}

#[test]
fn an_outcome_that_waited_alone_has_no_number() {
    let origin = Origin { container_id: "c".to_owned(), ..Origin::default() };
    let stopped = || Outcome::new(&origin, Action::Stop, OutcomeResult::Done);
    let mut folds = Folds::new();
    assert!(folds.outcome(stopped(), second(0)).is_some(), "the first is told at once");
    let mut counts = Vec::new();
    for (times, now) in [(1, 5), (3, 10)] {
        for _ in 0..times {
            assert!(folds.outcome(stopped(), second(0)).is_none());
        }
        counts.extend(folds.due(second(now), false).iter().map(|due| match due {
            Due::Outcome(outcome) => outcome.count,
            other => panic!("{other:?}"),
        }));
    }
    assert_eq!(counts, [None, Some(3)]);
}

#[test]
fn a_use_that_went_worse_is_amended_at_once() {
    let mut folds = Folds::new();
    let (mild, bad) = (record("c", "/x", Became::Killed), record("c", "/x", Became::Ran));
    folds.see(&mild, second(0));
    assert!(folds.amend(&mild, &bad).is_some());
    let due = folds.due(second(0), false);
    let [Due::Update { count: 1, fresh: 0, worst, .. }] = &due[..] else { panic!("{due:?}") };
    assert_eq!(worst.outcome, Became::Ran);
    folds.amend(&mild, &mild);
    assert!(!folds.has_news(), "no milder one says anything");
    assert!(folds.amend(&record("c", "/other", Became::Killed), &bad).is_none());
}

#[test]
fn what_differs_in_anything_but_who_and_when_is_another_record() {
    let base = record("c", "/x", Became::Killed);
    let with = |change: &dyn Fn(&mut Record)| {
        let mut other = base.clone();
        change(&mut other);
        let mut folds = Folds::new();
        folds.see(&base, second(0));
        matches!(folds.see(&other, second(0)), Told::Anew(_))
    };
    let others: [&dyn Fn(&mut Record); 9] = [
        &|record| record.notificate = ViolationKind::InvalidHash,
        &|record| record.path = Some("/y".to_owned()),
        &|record| record.line = "another digest".to_owned(),
        &|record| record.event = Event::Mmap,
        &|record| record.outcome = Became::Denied,
        &|record| record.action = Action::Kill,
        &|record| record.rule = Some("a rule".to_owned()),
        &|record| record.mode = Mode::Audit,
        &|record| record.unread = Some("why".to_owned()),
    ];
    for (number, change) in others.into_iter().enumerate() {
        assert!(with(change), "{number}");
    }
    let same: [&dyn Fn(&mut Record); 5] = [
        &|record| record.pid = Some(99),
        &|record| record.uid = Some(99),
        &|record| record.time = "later".to_owned(),
        &|record| record.source = Source::ExecTrace,
        &|record| record.outcome = Became::Ran,
    ];
    for (number, change) in same.into_iter().enumerate() {
        assert!(!with(change), "{number}");
    }
}

/// What the lines of a container say in all: uses, and bytes.
#[derive(Default)]
struct Lines {
    counts: BTreeMap<usize, u64>,
    lost: u64,
    bytes: u64,
}

impl Lines {
    fn take(&mut self, due: Vec<Due>, numbers: &[Number]) {
        for due in due {
            self.bytes += UPDATE;
            match due {
                Due::Update { of, count, .. } => {
                    let at = numbers.iter().position(|n| Arc::ptr_eq(&n.0, &of.0)).unwrap();
                    let before = self.counts.insert(at, count);
                    assert!(before.is_none_or(|before| before <= count));
                }
                Due::Lost(_, uses) => self.lost += uses,
                Due::Outcome(_) => {}
            }
        }
    }

    fn see(&mut self, folds: &mut Folds, record: &Record, now: Duration, all: &mut Vec<Number>) {
        if let Told::Anew(number) = folds.see(record, now) {
            self.counts.insert(all.len(), record.uses());
            self.bytes += record.weight();
            all.push(number);
        }
    }

    fn sum(&self) -> u64 {
        self.counts.values().sum::<u64>() + self.lost
    }
}

#[test]
fn an_hour_of_ten_thousand_a_second_under_ever_new_names_stays_small_and_is_counted() {
    let (mut folds, mut lines, mut numbers) = (Folds::new(), Lines::default(), Vec::new());
    let mut name = 0_u64;
    for now in 0..3600 {
        // A tenth of the rate, each standing for ten: the rate is not what matters here.
        for _ in 0..100 {
            name += 1;
            let path = format!("/tmp/a-name-that-was-never-seen-before-{name}");
            let seen = record("c", &path, Became::Denied).standing_for(100, UNIX_EPOCH);
            lines.see(&mut folds, &seen, second(now), &mut numbers);
        }
        let due = folds.due(second(now), false);
        lines.take(due, &numbers);
    }
    let due = folds.due(second(3600), true);
    lines.take(due, &numbers);
    assert_eq!(lines.sum(), 3600 * 10_000);
    assert!(lines.bytes < 20 << 20, "{}", lines.bytes);
    assert!(folds.violations.len() <= KEYS);
}

proptest! {
    /// Whatever is seen, in whatever order, and whenever it is told: what the lines say adds up
    /// to what was seen, the worst is kept, and first come is first told.
    #[test]
    fn nothing_is_lost_and_the_worst_is_kept(
        seen in proptest::collection::vec((0_u8..20, 0_u8..3, 1_u64..5, any::<bool>(), 0_u64..3), 1..400),
    ) {
        let (mut folds, mut lines, mut numbers) = (Folds::new(), Lines::default(), Vec::new());
        let (mut uses, mut now) = (0, 0);
        let (mut order, mut worst) = (Vec::new(), BTreeMap::new());
        let mut told_worst = BTreeMap::new();
        for (path, outcome, times, tell, later) in seen {
            now += later;
            let outcome = [Became::Denied, Became::Killed, Became::Ran][usize::from(outcome)];
            let record = record("c", &format!("/{path}"), outcome).standing_for(times, UNIX_EPOCH);
            uses += times;
            let key = (path, outcome == Became::Denied);
            if !order.contains(&key) {
                order.push(key);
                told_worst.insert(order.len() - 1, outcome);
            }
            let of = worst.entry(key).or_insert(outcome);
            *of = outcome.max(*of);
            lines.see(&mut folds, &record, second(now), &mut numbers);
            prop_assert_eq!(numbers.len(), order.len(), "first come, first told");
            if tell {
                let due = folds.due(second(now), false);
                for due in &due {
                    if let Due::Update { of, worst, .. } = due {
                        let at = numbers.iter().position(|n| Arc::ptr_eq(&n.0, &of.0)).unwrap();
                        told_worst.insert(at, worst.outcome);
                    }
                }
                lines.take(due, &numbers);
            }
        }
        let due = folds.due(second(now), true);
        for due in &due {
            if let Due::Update { of, worst, .. } = due {
                let at = numbers.iter().position(|n| Arc::ptr_eq(&n.0, &of.0)).unwrap();
                told_worst.insert(at, worst.outcome);
            }
        }
        lines.take(due, &numbers);
        prop_assert_eq!(lines.sum(), uses);
        for (at, key) in order.iter().enumerate() {
            prop_assert_eq!(told_worst[&at], worst[key]);
        }
        prop_assert!(!folds.has_news());
    }
}
