//! What ran, and what could not be told of it.

use super::*;

#[test]
fn what_ran_and_should_not_is_found() {
    let (mut node, world) = (node(), world());
    node.run("a", &digest(99), "/bin/app");
    node.run("b", &digest(50), "/tmp/evil");
    node.overflow("b");
    node.flush();
    node.measure(&digest(98), "/usr/sbin/runc");
    let verified = check(&node.evidence(b"fresh"), &world.expect(&node), None);
    let find = |name| verified.verdict.findings().iter().find(move |f: &&Finding| f.name() == name);
    let Some(Finding::HostProgram { path, kind, line, .. }) = find("HOST_PROGRAM") else {
        panic!("{:?}", verified.verdict.findings())
    };
    assert_eq!((path.as_str(), *kind, *line), ("/usr/sbin/runc", ViolationKind::InvalidHash, 4));
    let of = |id: &str| {
        verified.verdict.findings().iter().find_map(|finding| match finding {
            Finding::ContainerViolation { container, path, kind, .. } if container == id => {
                Some((path.clone(), *kind))
            }
            _ => None,
        })
    };
    assert_eq!(of("a"), Some(("/bin/app".to_owned(), ViolationKind::InvalidHash)));
    assert_eq!(of("b"), Some(("/tmp/evil".to_owned(), ViolationKind::EntryNotFound)));
    assert!(find("LOG_OVERFLOWED").is_some());
}

#[test]
fn a_list_that_nobody_keeps_and_nobody_ended_proves_nothing() {
    let (mut node, world) = (node(), world());
    let left = |node: &Node| {
        let mut evidence = node.evidence(b"fresh");
        evidence.anchors[0].containers[0].left = true;
        evidence
    };
    let verified = check(&left(&node), &world.expect(&node), None);
    assert_eq!(names(&verified), BTreeSet::from(["LOG_UNFINISHED"]));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "{:#?}", verified.verdict);
    node.close("a");
    node.flush();
    let verified = check(&left(&node), &world.expect(&node), None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
}

/// A container that fills its list: nothing false is shown, and what is missing was not
/// checked, whatever is done without.
#[test]
fn a_list_that_ran_out_of_room_proves_nothing_and_accuses_nobody() {
    let (mut node, world) = (node(), world());
    node.overflow("a");
    node.flush();
    let mut expect = world.expect(&node);
    let open = Answer::NotChecked("lines are missing from the list".into());
    for waived in [vec![], vec!["container-list".to_owned(), "container-baseline".to_owned()]] {
        expect.waived = waived.into_iter().collect();
        let verified = check(&node.evidence(b"fresh"), &expect, None);
        assert_eq!(names(&verified), BTreeSet::from(["LOG_OVERFLOWED"]));
        assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "{:#?}", verified.verdict);
        if expect.waived.is_empty() {
            let answers = verified.verdict.answers();
            assert_eq!(answers[&Question::ContainerList("a".into())], open);
            assert_eq!(answers[&Question::ContainerBaseline("a".into())], open);
        }
    }
    // What is there is still held against the baseline.
    node.run("a", &digest(99), "/tmp/evil");
    node.flush();
    let verified = check(&node.evidence(b"fresh"), &expect, None);
    assert!(names(&verified).contains("CONTAINER_VIOLATION"));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Untrusted);
}

#[test]
fn what_could_not_be_measured_is_found_by_name() {
    let (mut node, world) = (node(), world());
    node.violate("a", "/bin/app");
    node.violate("b", "memfd:?");
    node.flush();
    let mut expect = world.expect(&node);
    let verified = check(&node.evidence(b"fresh"), &expect, None);
    let found = verified.verdict.findings().iter().map(|finding| match finding {
        Finding::ContainerViolation { path, kind, .. } => (path.as_str(), *kind),
        other => panic!("{other}"),
    });
    let expected = [("/bin/app", ViolationKind::InvalidHash), ("memfd:?", ViolationKind::Fileless)];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    // Without a baseline, their number is told at least.
    expect.containers.iter_mut().for_each(|expected| expected.baseline = None);
    let verified = check(&node.evidence(b"fresh"), &expect, None);
    let answer = &verified.verdict.answers()[&Question::ContainerList("a".into())];
    let told = matches!(answer, Answer::Passed(seen) if seen.starts_with("6 lines, 1 of them"));
    assert!(told, "{answer:?}");
}

#[test]
fn a_name_with_spaces_is_found_as_the_kernel_writes_it() {
    let (mut node, world) = (node(), world());
    node.run("a", &digest(20), "/opt/my app_1/run");
    node.flush();
    let verified = check(&node.evidence(b"fresh"), &world.expect(&node), None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    node.run("a", &digest(21), "/opt/my app_1/run");
    node.flush();
    let verified = check(&node.evidence(b"fresh"), &world.expect(&node), None);
    assert_eq!(names(&verified), BTreeSet::from(["CONTAINER_VIOLATION"]));
}

#[test]
fn lines_newer_than_the_quote_are_left_out() {
    let (mut node, world) = (node(), world());
    let quoted = node.evidence(b"fresh");
    node.measure(&digest(66), "/bin/evil");
    node.run("a", &digest(66), "/tmp/evil");
    node.flush();
    let mut evidence = node.evidence(b"fresh");
    evidence.quote = quoted.quote;
    evidence.pcrs = quoted.pcrs;
    let verified = check(&evidence, &world.expect(&node), None);
    assert_eq!(names(&verified), BTreeSet::from(["UNANCHORED"]));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    assert_eq!(verified.lines[&Log::Host], 4);
}

/// A kernel that has run out of room keeps lists all the same: it is not called another.
#[test]
fn an_aggregate_that_is_full_proves_nothing_and_accuses_nobody() {
    let (mut node, world) = (node(), world());
    let mut evidence = node.evidence(b"fresh");
    let last = String::from_utf8(evidence.anchors[0].aggregate.to_vec()).unwrap();
    let batch: u64 = last.lines().last().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    node.extend(12, &pcr::repeated(Algorithm::Sha256, 0xff));
    let text = format!("{last}12 {} {1} {1}\n", batch + 1, "ff".repeat(32));
    let mut full = node.evidence(b"fresh");
    full.anchors[0].aggregate = text.into_bytes().into();
    let expect = world.expect(&node);
    let verified = check(&full, &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["LOG_OVERFLOWED"]));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "{:#?}", verified.verdict);

    // A quote that is not over its PCR does not tell, either.
    let selection = Selection::of(Algorithm::Sha256, 0..=11);
    let attest = node.attest(b"fresh", &selection);
    evidence.quote.signature = node.sign(&attest).into();
    evidence.quote.attest = attest.into();
    let verified = check(&evidence, &Expectations { selection, ..expect.clone() }, None);
    assert_eq!(names(&verified), BTreeSet::new());
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "{:#?}", verified.verdict);
    // One that brings none has none.
    evidence = node.evidence(b"fresh");
    evidence.anchors.clear();
    assert!(names(&check(&evidence, &expect, None)).contains("KERNEL"));
}
