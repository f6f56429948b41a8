//! When two measurements are one use, and which of them is told.

use super::*;
use lacre_types::{Digest, Measurement, Process};
use proptest::prelude::*;

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

fn violation(source: Source, event: Event, path: &str, pid: u32, millis: u64) -> Violation {
    Violation {
        kind: ViolationKind::EntryNotFound,
        measurement: Measurement {
            source,
            event,
            path: CanonicalPath::new(path).ok(),
            content: Content::Digest(Digest::sha256([1; 32])),
            process: Process { pid, uid: None },
            time: at(millis),
        },
        expected: None,
    }
}

fn exec(source: Source, pid: u32, millis: u64) -> Violation {
    violation(source, Event::Exec, "/tmp/x", pid, millis)
}

/// What is told of these, each taken at once.
fn told(all: &[(Violation, Outcome)]) -> Vec<(u64, Outcome, Option<Outcome>)> {
    let mut core = Core::default();
    let mut told = Vec::new();
    for (violation, outcome) in all {
        core.see(violation.clone(), *outcome, |_| Action::Deny);
        let seen = core.take().unwrap_or_default().seen.into_iter();
        told.extend(seen.map(|seen| (seen.uses, seen.outcome, seen.before.map(|(_, told)| told))));
    }
    told
}

#[test]
fn one_use_that_two_sources_see_is_told_once() {
    use Outcome::Ran;
    let one = (exec(Source::Fanotify, 7, 10_000), Ran);
    let with = |other| told(&[one.clone(), (other, Ran)]).len();
    assert_eq!(with(exec(Source::ExecTrace, 7, 11_000)), 1);
    assert_eq!(with(exec(Source::ExecTrace, 7, 9_000)), 1, "sources are not in step");
    assert_eq!(with(exec(Source::Fanotify, 7, 11_000)), 2, "the same source: another use");
    assert_eq!(with(exec(Source::ExecTrace, 8, 11_000)), 2, "another process");
    assert_eq!(with(exec(Source::ExecTrace, 7, 20_000)), 2, "later");
    let mapped = violation(Source::ExecMap, Event::Mmap, "/tmp/x", 7, 10_001);
    assert_eq!(with(mapped), 1, "what executes is mapped");
}

#[test]
fn one_use_that_a_source_sees_at_two_of_its_steps_is_told_once() {
    use Outcome::Ran;
    let steps = [Event::Exec, Event::Mmap, Event::Exec, Event::Mmap];
    let seen = |steps: &[Event]| {
        let of = |event: &Event| (violation(Source::ExecTrace, *event, "/tmp/x", 7, 10_000), Ran);
        told(&steps.iter().map(of).collect::<Vec<_>>()).len()
    };
    assert_eq!(seen(&steps[..2]), 1, "executed, and fetched from");
    assert_eq!(seen(&[Event::Mmap, Event::Exec]), 1, "whichever is told first");
    assert_eq!(seen(&steps), 2, "executed twice");
    let mut other = violation(Source::ExecTrace, Event::Mmap, "/tmp/x", 7, 10_000);
    other.measurement.content = Content::Digest(Digest::sha256([2; 32]));
    let all = [(exec(Source::ExecTrace, 7, 10_000), Ran), (other, Ran)];
    assert_eq!(told(&all).len(), 2, "other bytes under its name");
    let unread = [Event::Exec, Event::Memfd].map(|event| {
        let mut one = violation(Source::ExecTrace, event, "/tmp/x", 7, 10_000);
        one.measurement.content = Content::Fileless;
        (one, Ran)
    });
    assert_eq!(told(&unread).len(), 2, "bytes that nobody read");
}

#[test]
fn what_no_process_is_named_for_is_always_told() {
    let all = [Source::Fanotify, Source::ExecTrace].map(|of| (exec(of, 0, 10), Outcome::Ran));
    assert_eq!(told(&all).len(), 2);
}

/// It tries to execute a file, may not, and maps it: the code has run.
#[test]
fn what_was_refused_hides_nothing_that_ran_afterwards() {
    for (event, outcome) in [
        (Event::Mmap, Outcome::Killed),
        (Event::Mmap, Outcome::Ran),
        (Event::Exec, Outcome::Ran),
        (Event::Exec, Outcome::Killed),
        (Event::Script, Outcome::Ran),
        (Event::Interpreter, Outcome::Ran),
        (Event::Memfd, Outcome::Ran),
    ] {
        let refused = (exec(Source::Fanotify, 7, 10), Outcome::Denied);
        let after = (violation(Source::ExecMap, event, "/tmp/x", 7, 20), outcome);
        let all = told(&[refused, after]);
        assert_eq!(all, [(1, Outcome::Denied, None), (1, outcome, None)], "{event:?}");
    }
}

#[test]
fn a_use_that_went_worse_than_was_told_is_amended_and_not_counted_again() {
    let all = told(&[
        (exec(Source::ExecTrace, 7, 10), Outcome::Killed),
        (exec(Source::Fanotify, 7, 11), Outcome::Ran),
        (exec(Source::ExecMap, 7, 12), Outcome::Killed),
        (exec(Source::ContainerIma, 7, 13), Outcome::Ran),
    ]);
    assert_eq!(
        all,
        [(1, Outcome::Killed, None), (0, Outcome::Ran, Some(Outcome::Killed))],
        "the milder one and the equal one say nothing new"
    );
}

/// A container whose mode tightens: what was let pass a moment before is not what is killed for
/// now, and each is told.
#[test]
fn what_audit_let_pass_hides_nothing_that_enforce_meets() {
    for (source, event, outcome) in [
        (Source::ExecMap, Event::Mmap, Outcome::Killed),
        (Source::ExecTrace, Event::Exec, Outcome::Killed),
        (Source::ExecTrace, Event::Script, Outcome::Killed),
        (Source::Fanotify, Event::Exec, Outcome::Denied),
        (Source::Ima, Event::Exec, Outcome::Ran),
    ] {
        let before = (exec(Source::Fanotify, 7, 10), Outcome::Watched);
        let also = (exec(Source::ExecTrace, 7, 11), Outcome::Watched);
        let after = (violation(source, event, "/tmp/x", 7, 20), outcome);
        let all = told(&[before, also, after]);
        assert_eq!(all, [(1, Outcome::Watched, None), (1, outcome, None)], "{source:?}");
    }
}

#[test]
fn equal_ones_that_wait_are_one_with_their_number() {
    let mut core = Core::default();
    for number in 0..1000 {
        core.see(exec(Source::Fanotify, number + 1, u64::from(number)), Outcome::Denied, |_| {
            Action::Deny
        });
    }
    let batch = core.take().unwrap();
    assert_eq!((batch.seen.len(), batch.seen[0].uses, batch.seen[0].last), (1, 1000, at(999)));
    assert!(core.take().is_none());
}

#[test]
fn of_too_many_different_ones_none_is_uncounted_and_no_action_is_forgone() {
    let mut core = Core::default();
    let path = |number: usize| format!("/tmp/{number}");
    for number in 0..WAITING * 4 {
        let seen = violation(Source::Fanotify, Event::Exec, &path(number), 7, 1);
        let last = number == WAITING * 4 - 1;
        core.see(seen, Outcome::Denied, |_| if last { Action::Kill } else { Action::Deny });
    }
    let batch = core.take().unwrap();
    assert_eq!(batch.seen.len(), WAITING);
    let beyond: Vec<_> = batch.beyond.iter().map(|seen| seen.uses).collect();
    assert_eq!(beyond, [WAITING as u64 * 3 - 1, 1]);
    let last = path(WAITING * 4 - 1);
    assert_eq!(batch.beyond[1].violation.measurement.shown_path(), last, "the one to kill for");
}

#[tokio::test]
async fn nothing_more_comes_when_the_last_source_is_gone() {
    let (teller, sightings) = sightings();
    let other = teller.clone();
    teller.tell(exec(Source::Fanotify, 1, 1), Outcome::Ran, |_| Action::Skip);
    drop(teller);
    assert_eq!(sightings.next().await.unwrap().seen.len(), 1);
    let ends = tokio::spawn(async move { sightings.next().await.is_none() });
    drop(other);
    assert!(ends.await.unwrap());
}

const SOURCES: [Source; 3] = [Source::Fanotify, Source::ExecTrace, Source::ExecMap];

proptest! {
    /// Any uses, each seen by any of the sources at any moment of its turn, whenever the
    /// responder comes: it is told of each once, with the worst that became of it.
    #[test]
    fn each_use_is_told_once_and_at_its_worst(
        uses in proptest::collection::vec((1_u32..4, 1_u8..8, any::<[bool; 3]>()), 1..60),
        takes in proptest::collection::vec(any::<bool>(), 180),
    ) {
        let mut core = Core::default();
        let mut takes = takes.into_iter();
        let (mut counted, mut worst) = (0, std::collections::BTreeMap::new());
        let (mut expected, mut expected_worst) = (0, std::collections::BTreeMap::new());
        let mut note = |batch: Option<Batch>| {
            for seen in batch.unwrap_or_default().seen {
                counted += seen.uses;
                let pid = seen.violation.measurement.process.pid;
                let rank = rank(seen.outcome);
                let of = worst.entry(pid).or_insert(rank);
                *of = rank.max(*of);
            }
        };
        for (number, (pid, seen_by, ran)) in uses.into_iter().enumerate() {
            // Uses of one process are apart, as exec after exec of it is for one source.
            let millis = number as u64 * 3000;
            expected += 1;
            for (bit, source) in SOURCES.into_iter().enumerate() {
                if seen_by & (1 << bit) == 0 {
                    continue;
                }
                let outcome = if ran[bit] { Outcome::Ran } else { Outcome::Killed };
                let of = expected_worst.entry(pid).or_insert(rank(outcome));
                *of = rank(outcome).max(*of);
                core.see(exec(source, pid, millis + bit as u64), outcome, |_| Action::Kill);
                if takes.next().unwrap_or(true) {
                    note(core.take());
                }
            }
        }
        note(core.take());
        prop_assert_eq!(counted, expected);
        // Folding keeps apart what became of uses, so that pids stand for the first of many.
        for (pid, rank) in worst {
            prop_assert!(expected_worst[&pid] >= rank);
        }
    }
}

/// `exec-trace` kills the interpreter while fanotify refuses it the open, in whatever order.
#[test]
fn a_script_that_is_refused_and_whose_interpreter_is_killed_is_one_use() {
    use Outcome::{Denied, Killed};
    let script = |source, millis| violation(source, Event::Script, "/tmp/x", 7, millis);
    let refused = (script(Source::Fanotify, 10), Denied);
    let killed = (script(Source::ExecTrace, 11), Killed);
    let all = told(&[refused.clone(), killed.clone()]);
    assert_eq!(all, [(1, Denied, None), (0, Killed, Some(Denied))]);
    assert_eq!(told(&[killed.clone(), refused.clone()]), [(1, Killed, None)]);
    let again = (script(Source::ExecTrace, 20), Killed);
    let all = told(&[refused, killed, again]);
    assert_eq!(all.iter().map(|(uses, ..)| uses).sum::<u64>(), 2, "it tried once more");
}
