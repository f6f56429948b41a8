//! Lists of another boot, and two lists put together, which a verifier that has kept what it
//! saw tells apart.

use super::tampered::{aggregate, container, host, line};
use super::*;

/// A node before a reboot and after it, with one container, which runs other things then: what
/// was seen, what was shown, and what is expected.
fn two_boots(world: &World) -> (Evidence, Seen, Node, Expectations<'_>) {
    let mut node = node();
    let before = node.evidence(b"fresh");
    let seen = check(&before, &world.expect(&node), None).seen.unwrap();
    node.reboot(&[1; 32]);
    node.measure(&digest(2), "/usr/sbin/runc");
    node.measure(&digest(1), "/usr/bin/containerd");
    node.create("a", secret(3));
    for (n, name) in [(10, "/bin/app"), (14, "/bin/cat"), (12, "/bin/sh")] {
        node.run("a", &digest(n), name);
    }
    node.flush();
    let mut expect = world.expect(&node);
    expect.containers = vec![world.container("a", 3)];
    (before, seen, node, expect)
}

/// The lines of the first container's list.
fn lines(evidence: &Evidence) -> Vec<Vec<u8>> {
    let list = &evidence.anchors[0].containers[0].list;
    entries(&list.data, list.digests)
}

fn host_lines(evidence: &Evidence) -> Vec<Vec<u8>> {
    let list = evidence.host.as_ref().unwrap();
    entries(&list.data, list.digests)
}

/// All of `aggregate`.
fn events(evidence: &Evidence) -> String {
    String::from_utf8(evidence.anchors[0].aggregate.to_vec()).unwrap()
}

/// What is found, notes aside, with what was kept of the boot before and without.
fn found(
    evidence: &Evidence,
    expect: &Expectations<'_>,
    seen: &Seen,
) -> [BTreeSet<&'static str>; 2] {
    [Some(seen), None].map(|seen| {
        let verified = check(evidence, expect, seen);
        let faults = verified.verdict.findings().iter().filter(|finding| !finding.is_note());
        // That the kernel keeps lists does not show where none holds.
        faults.map(Finding::name).filter(|name| *name != "KERNEL").collect()
    })
}

#[test]
fn each_list_of_the_boot_before_is_told() {
    let world = world();
    let (before, seen, node, expect) = two_boots(&world);
    let now = node.evidence(b"fresh");
    let trusted = check(&now, &expect, Some(&seen));
    assert_eq!(names(&trusted), BTreeSet::from(["REBOOTED"]));
    assert_eq!(trusted.verdict.conclusion(), Conclusion::Trusted, "{:#?}", trusted.verdict);

    let another = BTreeSet::from(["LOG_OF_ANOTHER_BOOT"]);
    let mut old = now.clone();
    old.anchors[0].aggregate = before.anchors[0].aggregate.clone();
    assert_eq!(found(&old, &expect, &seen)[0], another);
    let mut old = now.clone();
    old.anchors[0].containers[0].list = before.anchors[0].containers[0].list.clone();
    assert_eq!(found(&old, &expect, &seen)[0], another);
    // One that explains no more than this boot's does is this boot's, altered.
    let mut cut = now.clone();
    container(&mut cut, |list| list[1] = line(66, "/bin/evil"));
    assert_eq!(found(&cut, &expect, &seen)[0], BTreeSet::from(["LOG_EDITED"]));
    let mut old = now;
    old.host = before.host;
    assert!(found(&old, &expect, &seen)[0].contains("LOG_OF_ANOTHER_BOOT"));
}

#[test]
fn two_lists_in_one_are_told_whatever_was_seen_before() {
    let world = world();
    let (before, seen, node, expect) = two_boots(&world);
    let two = BTreeSet::from(["LOG_CONCATENATED"]);
    let mut both = node.evidence(b"fresh");
    host(&mut both, |list| drop(list.splice(0..0, host_lines(&before))));
    for found in found(&both, &expect, &seen) {
        assert!(found.contains("LOG_CONCATENATED"), "{found:?}");
        assert!(!found.contains("LOG_OF_ANOTHER_BOOT"), "{found:?}");
    }

    let mut both = node.evidence(b"fresh");
    aggregate(&mut both, |lines| drop(lines.splice(0..0, [events(&before)])));
    assert_eq!(found(&both, &expect, &seen), [two.clone(), two.clone()]);

    let mut both = node.evidence(b"fresh");
    container(&mut both, |list| drop(list.splice(0..0, lines(&before))));
    assert_eq!(found(&both, &expect, &seen), [two.clone(), two.clone()]);
    let verified = check(&both, &expect, None);
    let told = verified.verdict.findings().iter();
    let told: Vec<_> = told.map(ToString::to_string).collect();
    assert!(told[0].contains("begins at line 5"), "{told:?}");

    // Of two containers, one of which goes on where the other ends.
    let mut evidence = before.clone();
    let other = {
        let list = &before.anchors[0].containers[1].list;
        entries(&list.data, list.digests)
    };
    container(&mut evidence, |list| drop(list.splice(0..0, other)));
    let expect = Expectations {
        containers: vec![world.container("a", 1), world.container("b", 2)],
        ak_name: None,
        ..expect
    };
    assert!(found(&evidence, &expect, &seen)[1].contains("LOG_CONCATENATED"));
}

/// Nothing but a boot begins an `aggregate`; a host's list must have been seen to be told. What
/// else stands behind a list may be newer than the quote: it is not counted, and that is told.
#[test]
fn a_list_behind_the_own_one_is_told_or_not_counted() {
    let world = world();
    let (before, seen, node, expect) = two_boots(&world);
    let two = BTreeSet::from(["LOG_CONCATENATED"]);
    let mut both = node.evidence(b"fresh");
    host(&mut both, |list| list.extend(host_lines(&before)));
    assert_eq!(found(&both, &expect, &seen), [two.clone(), BTreeSet::new()]);
    let verified = check(&both, &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["UNANCHORED"]));
    assert_eq!(verified.lines[&Log::Host], 3);

    let mut both = node.evidence(b"fresh");
    aggregate(&mut both, |lines| lines.push(events(&before)));
    assert_eq!(found(&both, &expect, &seen), [two.clone(), two]);
    let told = check(&both, &expect, None).verdict.findings()[0].to_string();
    assert!(told.contains("begins at line 0"), "{told}");

    let mut both = node.evidence(b"fresh");
    container(&mut both, |list| list.extend(lines(&before)));
    let verified = check(&both, &expect, Some(&seen));
    assert_eq!(names(&verified), BTreeSet::from(["REBOOTED", "UNANCHORED"]));
    assert_eq!(verified.lines[&Log::Container("a".into())], 3);
}
