//! Many lists, alike ones, and whose they are.

use super::tampered::line;
use super::*;

/// Many lists, each another than the one that is anchored: what each
/// of them is instead, is not worth a day.
#[test]
fn many_wrong_lists_are_answered_all_the_same() {
    const COUNT: usize = 16_384;
    let (mut node, world) = (Node::boot(), world());
    let ids: Vec<String> = (0..COUNT).map(|n| format!("c{n}")).collect();
    for id in &ids {
        node.create(id, secret(1));
        node.run(id, &digest(10), "/bin/app");
    }
    node.flush();
    let mut evidence = node.evidence(b"fresh");
    for list in &mut evidence.anchors[0].containers {
        list.list.data = line(66, "/bin/evil").into();
    }
    let mut expect = world.expect(&node);
    expect.host = None;
    expect.containers = ids.iter().map(|id| world.container(id, 1)).collect();
    let verified = check(&evidence, &expect, None);
    let wrong = verified.verdict.findings();
    assert_eq!(wrong.len(), COUNT);
    assert!(wrong.iter().all(|finding| matches!(finding, Finding::LogEdited { line: 0, .. })));

    // None of them is expected as it is: another creation, and somebody else's secret.
    for (n, container) in expect.containers.iter_mut().enumerate() {
        container.seq = Some(n as u64 + 100_000);
    }
    let verified = check(&evidence, &expect, None);
    let told = BTreeSet::from(["EVENTS_UNCLAIMED", "LOG_OF_ANOTHER_CONTAINER"]);
    assert_eq!(names(&verified), told);
}

/// A long list that was shuffled takes its time to be told; a thousand of them, no more.
#[test]
fn many_shuffled_lists_cost_no_more_than_a_few() {
    let (mut node, world) = (Node::boot(), world());
    let ids: Vec<String> = (0..64).map(|n| format!("c{n}")).collect();
    for (at, id) in ids.iter().enumerate() {
        node.create(id, secret(1));
        for n in 0..500 {
            node.run(id, &digest(1), &format!("/bin/{at}-{n}"));
        }
    }
    node.flush();
    let mut evidence = node.evidence(b"fresh");
    for container in &mut evidence.anchors[0].containers {
        let mut lines = entries(&container.list.data, container.list.digests);
        lines.reverse();
        container.list.data = lines.concat().into();
    }
    let mut expect = world.expect(&node);
    expect.host = None;
    expect.containers = ids.iter().map(|id| world.container(id, 1)).collect();
    let verified = check(&evidence, &expect, None);
    assert_eq!(verified.verdict.findings().len(), ids.len());
    let told = ["LOG_INTERLEAVED", "LOG_NOT_REPLAYED", "LOG_REORDERED"];
    assert!(names(&verified).is_subset(&BTreeSet::from(told)), "{:?}", names(&verified));
}

/// Containers of one image run the same programs first.
#[test]
fn a_list_that_begins_alike_is_told_as_the_other_containers() {
    let (mut node, world) = (Node::boot(), world());
    for (id, n) in [("a", 1), ("b", 2)] {
        node.create(id, secret(n));
        node.run(id, &digest(10), "/bin/app");
        node.run(id, &digest(11), "/lib/libc.so");
    }
    node.run("a", &digest(12), "/bin/sh");
    node.run("b", &digest(13), "/bin/ls");
    node.flush();
    let mut evidence = node.evidence(b"fresh");
    let containers = &mut evidence.anchors[0].containers;
    containers[0].list = containers[1].list.clone();
    let verified = check(&evidence, &world.expect(&node), None);
    assert!(names(&verified).contains("LOG_OF_ANOTHER_CONTAINER"), "{:?}", names(&verified));
}

#[test]
fn what_one_keeper_must_keep_the_other_can_not() {
    let (node, world) = (node(), world());
    let mut evidence = node.evidence(b"fresh");
    evidence.anchors[0].keeper = Keeper::Shim;
    let verified = check(&evidence, &world.expect(&node), None);
    let answers = verified.verdict.answers();
    assert_eq!(answers[&Question::ContainerList("a".into())], Answer::Failed);
    assert!(names(&verified).is_superset(&BTreeSet::from([
        "KEEPER_OTHER",
        "LOG_MISSING",
        "KERNEL"
    ])));
}

#[test]
fn nothing_can_be_there_twice() {
    let node = node();
    let mut evidence = node.evidence(b"fresh");
    let first = evidence.anchors[0].containers[0].clone();
    evidence.anchors[0].containers.push(first);
    assert!(matches!(Evidence::parse(&evidence.to_json()), Err(EvidenceError::Twice(_))));
    let mut evidence = node.evidence(b"fresh");
    evidence.anchors.push(evidence.anchors[0].clone());
    assert!(matches!(Evidence::parse(&evidence.to_json()), Err(EvidenceError::Twice(_))));
}
