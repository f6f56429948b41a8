//! What is known of a node the next time, and of a container that comes back.

use super::*;

/// A container that came back under its name: the evidence, and the number of its first
/// creation.
pub(crate) fn came_back(again: &str) -> (Node, Evidence, u64) {
    let mut node = node();
    let first = node.evidence(b"fresh").anchors[0].containers[0].clone();
    node.close("a");
    node.create("a", secret(3));
    node.run("a", &digest(10), again);
    node.flush();
    let mut evidence = node.evidence(b"fresh");
    let seq = first.seq;
    evidence.anchors[0].containers.push(first);
    (node, evidence, seq)
}

#[test]
fn a_container_that_came_back_is_proven_in_each_of_its_lives() {
    let (node, evidence, first) = came_back("/bin/app");
    let world = world();
    let mut expect = world.expect(&node);
    let second = node.containers["a"].seq;
    expect.containers[0].seq = Some(first);
    expect.containers.push(ExpectedContainer { seq: Some(second), ..world.container("a", 3) });
    let verified = check(&evidence, &expect, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    let lines = |seq| Log::Container(ListName { id: "a".to_owned(), seq: Some(seq) });
    assert_eq!((verified.lines[&lines(first)], verified.lines[&lines(second)]), (5, 1));

    // Whose creations are not named, of those each secret finds its own.
    expect.containers.iter_mut().for_each(|expected| expected.seq = None);
    let verified = check(&evidence, &expect, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);

    // With one secret, the other list stays unchecked; with a wrong one, nothing is its.
    expect.containers.truncate(2);
    let verified = check(&evidence, &expect, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "{:#?}", verified.verdict);
    expect.containers[0].secret = Some(secret(9));
    let verified = check(&evidence, &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["EVENTS_UNCLAIMED", "NOT_ANCHORED"]));
}

#[test]
fn what_either_life_of_a_container_ran_is_found() {
    let world = world();
    for altered in [false, true] {
        let again = if altered { "/bin/app" } else { "/tmp/evil" };
        let (node, mut evidence, first) = came_back(again);
        let mut expect = world.expect(&node);
        let second = node.containers["a"].seq;
        expect.containers[0].seq = Some(first);
        expect.containers.push(ExpectedContainer { seq: Some(second), ..world.container("a", 3) });
        if altered {
            let lists = &mut evidence.anchors[0].containers;
            let list = lists.iter_mut().find(|list| list.id == "a" && list.seq == first).unwrap();
            let cut = entries(&list.list.data, list.list.digests);
            list.list.data = cut[..4].concat().into();
        }
        let verified = check(&evidence, &expect, None);
        let found = if altered { "LOG_TRUNCATED" } else { "CONTAINER_VIOLATION" };
        assert_eq!(names(&verified), BTreeSet::from([found]));
        // The list that is left out is missed.
        evidence.anchors[0].containers.retain(|list| list.id != "a" || list.seq != second);
        let verified = check(&evidence, &expect, None);
        assert!(names(&verified).contains("LOG_MISSING"), "{:?}", names(&verified));
    }
}

#[test]
fn an_old_nonce_is_stale() {
    let (node, world) = (node(), world());
    let mut expect = world.expect(&node);
    expect.nonce.as_mut().unwrap().issued = Some(NOW - 61);
    let verified = check(&node.evidence(b"fresh"), &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["NONCE_STALE"]));
}

#[test]
fn the_next_time_costs_only_the_new_lines() {
    let (mut node, world) = (node(), world());
    node.measure_buffer("kernel_version", b"6.12.0");
    let mut expect = world.expect(&node);
    let policy = expect.kernel.as_mut().unwrap();
    policy.versions = vec!["6.12.0".to_owned()];
    policy.boot_aggregate = vec![node.boot_aggregate()];
    let first = check(&node.evidence(b"fresh"), &expect, None);
    assert_eq!(first.verdict.conclusion(), Conclusion::Trusted, "{:#?}", first.verdict);
    let seen = first.seen.unwrap();
    let seen: Seen = serde_json::from_str(&serde_json::to_string(&seen).unwrap()).unwrap();

    let old = node.evidence(b"fresh");
    node.measure(&digest(3), "/bin/sh");
    node.clock.clock += 10;
    node.run("a", &digest(10), "/bin/app");
    node.close("a");
    node.flush();
    let mut evidence = node.evidence(b"fresh");
    let whole = check(&evidence, &expect, Some(&seen));
    assert_eq!(whole.verdict.conclusion(), Conclusion::Trusted, "{:#?}", whole.verdict);

    rest(&mut evidence, &seen);
    let next = check(&evidence, &expect, Some(&seen));
    assert_eq!(next.verdict.conclusion(), Conclusion::Trusted, "{:#?}", next.verdict);
    assert_eq!(next.seen, whole.seen, "the new lines give what the whole list gives");

    // What was told of the boot is held against the policy of now.
    expect.kernel.as_mut().unwrap().versions = vec!["6.13.0".to_owned()];
    assert_eq!(names(&check(&evidence, &expect, Some(&seen))), BTreeSet::from(["KERNEL"]));

    // A list that went back behind what is known is not the one that was seen.
    let verified = check(&old, &expect, next.seen.as_ref());
    assert!(names(&verified).contains("CLOCK_WENT_BACK"), "{:?}", names(&verified));
}

/// What was seen was judged as it was then: the lines that are known are not looked at again.
#[test]
fn what_is_expected_anew_is_asked_of_the_lines_that_are_known_too() {
    let (mut node, world) = (node(), world());
    let mut expect = world.expect(&node);
    let first = check(&node.evidence(b"fresh"), &expect, None);
    let seen = first.seen.clone().unwrap();
    let mut state = enrolled(&node, None);
    state.note(first, NOW);
    let selection = || Selection::of(Algorithm::Sha256, 0..=12);
    let mut known = |by: u8| {
        let by = Some(digest(by));
        state.challenge([1; 32], selection(), by.as_ref(), NOW, 60).known.map(|known| known.host)
    };
    assert_eq!(known(1), Some(4));
    assert_eq!(known(2), None, "whole lists are asked for");

    // The host is not to run sh any more, and the image has no libc.
    let mut stricter = self::world();
    stricter.host.0.remove("/bin/sh");
    stricter.image.0.remove("/lib/libc.so");
    let mut anew = stricter.expect(&node);
    anew.judged_by = Some(digest(2));
    let whole = node.evidence(b"fresh");
    let verified = check(&whole, &anew, Some(&seen));
    assert_eq!(names(&verified), BTreeSet::from(["HOST_PROGRAM", "CONTAINER_VIOLATION"]));

    // What only the lines after those that are known shows is not enough.
    let mut evidence = node.evidence(b"fresh");
    rest(&mut evidence, &seen);
    let verified = check(&evidence, &expect, Some(&seen));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    for judged_by in [Some(digest(2)), None] {
        expect.judged_by = judged_by;
        let verified = check(&evidence, &expect, Some(&seen));
        assert_eq!(verified.verdict.findings(), []);
        let why = "what is known of it was judged by other expectations";
        let why = Answer::NotChecked(why.into());
        for question in [Question::HostList, Question::Aggregate(Keeper::Kernel)] {
            assert_eq!(verified.verdict.answers()[&question], why, "{question}");
        }
    }
    // The clock goes on, whoever judges.
    node.clock.clock -= 1;
    let verified = check(&node.evidence(b"fresh"), &anew, Some(&seen));
    assert!(names(&verified).contains("CLOCK_WENT_BACK"));
}

pub(crate) fn enrolled(node: &Node, seen: Option<Seen>) -> NodeState {
    NodeState {
        node: "node-1".to_owned(),
        ek_name: vec![1].into(),
        ek_key: None,
        ak_name: node.ak_name().into(),
        enrolled: NOW,
        trust: Trust::Unknown,
        attested: None,
        challenge: None,
        seen,
        claims: None,
    }
}

/// Leaves only what is not known.
pub(crate) fn rest(evidence: &mut Evidence, seen: &Seen) {
    let cut = |list: &mut ListPart, first: u64| {
        let lines = entries(&list.data, list.digests);
        list.data = lines[usize::try_from(first).unwrap()..].concat().into();
        list.first = first;
    };
    cut(evidence.host.as_mut().unwrap(), seen.host.as_ref().unwrap().lines);
    for anchor in &mut evidence.anchors {
        let known = &seen.anchors[&anchor.keeper];
        let text = String::from_utf8(anchor.aggregate.to_vec()).unwrap();
        let lines =
            text.split_inclusive('\n').skip(usize::try_from(known.aggregate.lines).unwrap());
        anchor.aggregate = lines.collect::<String>().into_bytes().into();
        anchor.first = known.aggregate.lines;
        for container in &mut anchor.containers {
            let name = format!("{}#{}", container.id, container.seq);
            cut(&mut container.list, known.containers[&name].lines);
        }
    }
}

#[test]
fn lists_that_were_shown_once_cannot_be_left_out_in_that_boot() {
    let (mut node, world) = (node(), world());
    let mut expect = world.expect(&node);
    let seen = check(&node.evidence(b"fresh"), &expect, None).seen.unwrap();
    expect.containers.clear();
    expect.kernel = None;
    expect.waived.insert("kernel".to_owned());
    let mut without = node.evidence(b"fresh");
    without.anchors.clear();
    let verified = check(&without, &expect, Some(&seen));
    assert_eq!(names(&verified), BTreeSet::from(["LOG_MISSING"]), "{:#?}", verified.verdict);
    // Of one container: whether it ended is seen without its secret.
    let without = |node: &Node| {
        let mut evidence = node.evidence(b"fresh");
        evidence.anchors[0].containers.retain(|list| list.id == "a");
        evidence
    };
    expect.containers = vec![world.container("a", 1)];
    let hidden = |node: &Node, expect: &Expectations<'_>| {
        let verified = check(&without(node), expect, Some(&seen));
        let answer = verified
            .verdict
            .answers()
            .get(&Question::ContainerList(ListName { id: "b".into(), seq: Some(2) }));
        (answer.cloned(), verified.verdict.conclusion(), verified)
    };
    let unchecked = |why: &'static str| Some(Answer::NotChecked(why.into()));
    let (answer, conclusion, verified) = hidden(&node, &expect);
    assert_eq!(answer, unchecked("it was known, did not end, and is not brought any more"));
    assert_eq!((conclusion, verified.gone), (Conclusion::Unproven, vec![]));
    // A shim that died does not end its list, which goes an hour after.
    let shims = Expectations {
        anchors: BTreeMap::from([(Keeper::Shim, ExpectedAnchor::at(ListPcr::KERNEL))]),
        ..expect.clone()
    };
    let (mut kept, mut of_shims) = (without(&node), seen.clone());
    kept.anchors[0].keeper = Keeper::Shim;
    let anchor = of_shims.anchors.remove(&Keeper::Kernel).unwrap();
    of_shims.anchors.insert(Keeper::Shim, anchor);
    let verified = check(&kept, &shims, Some(&of_shims));
    assert_eq!(verified.gone, [(Keeper::Shim, "b#2".to_owned())]);
    let mut ended = self::node();
    ended.run("b", &digest(13), "/bin/ls");
    ended.close("b");
    ended.flush();
    let mut ends = world.expect(&ended);
    ends.containers = vec![world.container("a", 1)];
    ends.ak_name = None;
    ends.waived.extend(["attestation-key", "endorsement"].map(str::to_owned));
    let (answer, conclusion, verified) = hidden(&ended, &ends);
    assert_eq!(answer, unchecked("it was known, went on, and is not brought any more"));
    assert_eq!(conclusion, Conclusion::Unproven);
    assert_eq!(verified.gone, [(Keeper::Kernel, "b#2".to_owned())]);
    let mut state = enrolled(&ended, Some(seen.clone()));
    state.note(verified, NOW);
    let told = state.seen.unwrap();
    assert_eq!(told.anchors[&Keeper::Kernel].open.keys().collect::<Vec<_>>(), ["a#1"]);
    let again = check(&without(&ended), &ends, Some(&told));
    let open = Question::AggregateComplete(Keeper::Kernel);
    assert!(matches!(again.verdict.answers()[&open], Answer::NotChecked(_)));
    ends.excused.insert("aggregate-complete".to_owned(), "b is known to have ended".to_owned());
    let again = check(&without(&ended), &ends, Some(&told));
    assert_eq!(again.verdict.conclusion(), Conclusion::Trusted, "it is told once");
    node.close("b");
    node.flush();
    let (answer, conclusion, _) = hidden(&node, &expect);
    assert_eq!((answer, conclusion), (None, Conclusion::Trusted));
    let brought = check(&node.evidence(b"fresh"), &world.expect(&node), Some(&seen));
    let passed = Answer::Passed("3 lines, creation 2, final, kept by the kernel".to_owned());
    assert_eq!(brought.verdict.answers()[&Question::ContainerList("b".into())], passed);

    node.reboot(&[1; 32]);
    expect.containers.clear();
    let mut without = node.evidence(b"fresh");
    without.anchors.clear();
    let verified = check(&without, &expect, Some(&seen));
    assert!(!names(&verified).contains("LOG_MISSING"), "{:#?}", verified.verdict);
}

#[test]
fn a_reboot_is_told_from_a_tampering() {
    let (mut node, world) = (node(), world());
    let mut expect = world.expect(&node);
    let before = node.evidence(b"fresh");
    let seen = check(&before, &expect, None).seen.unwrap();

    node.reboot(&[1; 32]);
    // As after a power cut.
    node.clock.clock -= 100;
    // In another order than before: else the two boots' lists begin alike.
    node.measure(&digest(2), "/usr/sbin/runc");
    node.measure(&digest(1), "/usr/bin/containerd");
    expect.containers.clear();
    let verified = check(&node.evidence(b"fresh"), &expect, Some(&seen));
    assert_eq!(names(&verified), BTreeSet::from(["REBOOTED"]));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);

    // The lists of before the reboot, with the quote of after it.
    let mut old = node.evidence(b"fresh");
    old.host = before.host.clone();
    old.anchors = before.anchors.clone();
    let verified = check(&old, &expect, Some(&seen));
    let found = names(&verified);
    assert!(found.contains("LOG_OF_ANOTHER_BOOT") && found.contains("REBOOTED"), "{found:?}");
    assert_eq!(verified.verdict.answers()[&Question::HostList], Answer::Failed);

    // The same with no reboot is a tampering.
    node.clock.reset_count = seen.clock.reset_count;
    let verified = check(&node.evidence(b"fresh"), &expect, Some(&seen));
    let found = names(&verified);
    assert!(found.contains("LOG_REWRITTEN") && !found.contains("REBOOTED"), "{found:?}");

    // A quote of before the last one.
    node.clock.reset_count = 0;
    let verified = check(&node.evidence(b"fresh"), &expect, Some(&seen));
    assert!(names(&verified).contains("CLOCK_WENT_BACK"));
}
