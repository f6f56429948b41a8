//! A host's list whose first part others have exported and had the kernel delete, and a host
//! without one: unproven where what is missing can't be had, never an accusation.

use super::tampered::host;
use super::*;

/// The list from that line on, as a node shows it that does not have the lines before.
fn from(evidence: &mut Evidence, line: usize) {
    host(evidence, |list| drop(list.drain(..line)));
    evidence.host.as_mut().unwrap().first = line as u64;
}

#[test]
fn a_list_without_its_beginning_proves_nothing_and_accuses_nobody() {
    let (node, world) = (node(), world());
    let expect = world.expect(&node);
    let mut evidence = node.evidence(b"fresh");
    from(&mut evidence, 2);
    let verified = check(&evidence, &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["LOG_GAP"]));
    assert!(!verified.verdict.findings()[0].is_fault());
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "{:#?}", verified.verdict);
    // Nobody does without what is missing.
    let mut waived = world.expect(&node);
    for question in ["host-list", "boot-aggregate", "kernel", "host-programs"] {
        waived.excused.insert(question.to_owned(), "lines are exported here".to_owned());
    }
    let verified = check(&evidence, &waived, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "{:#?}", verified.verdict);
    // One that says that it begins at its beginning, and does not, was altered.
    evidence.host.as_mut().unwrap().first = 0;
    let verified = check(&evidence, &expect, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Untrusted, "{:#?}", verified.verdict);
}

#[test]
fn what_was_seen_before_it_was_deleted_suffices() {
    let (mut node, world) = (node(), world());
    let expect = world.expect(&node);
    let seen = check(&node.evidence(b"fresh"), &expect, None).seen.unwrap();
    node.measure(&digest(1), "/usr/bin/containerd");
    node.measure(&digest(2), "/usr/sbin/runc");
    let mut evidence = node.evidence(b"fresh");
    from(&mut evidence, 4);
    let verified = check(&evidence, &expect, Some(&seen));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    // A line more than that is gone.
    from(&mut evidence, 1);
    evidence.host.as_mut().unwrap().first = 5;
    let verified = check(&evidence, &expect, Some(&seen));
    assert_eq!(names(&verified), BTreeSet::from(["LOG_GAP"]));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "{:#?}", verified.verdict);
}

#[test]
fn lines_that_are_logged_again_are_no_duplicates_by_hand() {
    let (mut node, world) = (node(), world());
    // A kernel that deletes lines measures again what it has none of any more.
    for _ in 0..3 {
        node.measure(&digest(1), "/usr/bin/containerd");
        node.measure(&digest(2), "/usr/sbin/runc");
    }
    let verified = check(&node.evidence(b"fresh"), &world.expect(&node), None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
}

#[test]
fn a_kernel_without_ima_is_no_node_that_hides_its_list() {
    let (mut node, world) = (node(), world());
    let mut expect = world.expect(&node);
    expect.host = None;
    for waived in ["boot-aggregate", "kernel", "host-programs"] {
        expect.waived.insert(waived.to_owned());
    }
    // It was extended: there is a list.
    let mut hides = node.evidence(b"fresh");
    hides.host = None;
    let verified = check(&hides, &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["LOG_MISSING"]));
    node.pcrs.insert(10, pcr::initial(Algorithm::Sha256, 10));
    let mut without = node.evidence(b"fresh");
    without.host = None;
    let verified = check(&without, &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["NO_HOST_LIST"]));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "{:#?}", verified.verdict);
    // Whoever knows that it has none says so, and has containers' lists all the same.
    expect.waived.insert("host-list".to_owned());
    let verified = check(&without, &expect, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "without a reason");
    expect.excused.insert("host-list".to_owned(), "these kernels have no IMA".to_owned());
    let verified = check(&without, &expect, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    assert_eq!(verified.lines[&Log::Container("a".into())], 5);
    // It does not excuse one that has a list and hides it.
    let verified = check(&hides, &expect, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Untrusted, "{:#?}", verified.verdict);
    // Nor one that had a list in this boot.
    let before = self::node();
    let seen = check(&before.evidence(b"fresh"), &world.expect(&before), None).seen.unwrap();
    let verified = check(&without, &expect, Some(&seen));
    assert!(names(&verified).contains("LOG_MISSING"), "{:#?}", verified.verdict);
}
