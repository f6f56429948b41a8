//! Each tampering, and the name that it is told by.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod tamper;

use std::collections::{BTreeMap, BTreeSet};

use lacre_attest::container::{Keeper, Secret};
use lacre_attest::evidence::{Evidence, EvidenceError};
use lacre_attest::pcr;
use lacre_attest::testing::Node;
use lacre_attest::tpm2::Selection;
use lacre_attest::verify::{
    Answer, Conclusion, Expectations, ExpectedContainer, Finding, HostPolicy, KernelPolicy, Log,
    Nonce, Question, Seen, Verified, verify,
};
use lacre_types::{
    Algorithm, CanonicalPath, Digest, Digests, Kind, Listed, ViolationKind, Whitelist,
};
use tamper::{entries, entry};

const NOW: u64 = 1_800_000_000;

fn digest(n: u8) -> Digest {
    Digest::sha256([n; 32])
}

/// What may run: a path, and the one byte that its digest is made of.
struct Files(BTreeMap<&'static str, u8>);

impl Whitelist for Files {
    fn entry(&self, path: &CanonicalPath) -> Option<Listed> {
        let text = std::str::from_utf8(path.as_bytes()).ok()?;
        let digests: Digests = [digest(*self.0.get(text)?)].into_iter().collect();
        Some(Listed { path: path.clone(), digests, size: 1, kind: Kind::Elf })
    }
}

fn host_files() -> Files {
    Files(BTreeMap::from([("/usr/bin/containerd", 1), ("/usr/sbin/runc", 2), ("/bin/sh", 3)]))
}

fn image() -> Files {
    Files(BTreeMap::from([
        ("/bin/app", 10),
        ("/lib/libc.so", 11),
        ("/bin/sh", 12),
        ("/bin/ls", 13),
        ("/bin/cat", 14),
        ("/opt/my app_1/run", 20),
    ]))
}

fn secret(n: u8) -> Secret {
    Secret::new([n; 32])
}

/// A node with two containers, both of one image, each with some lines.
fn node() -> Node {
    let mut node = Node::boot();
    node.measure(&digest(1), "/usr/bin/containerd");
    node.measure(&digest(2), "/usr/sbin/runc");
    node.measure(&digest(3), "/bin/sh");
    node.create("a", secret(1));
    node.flush();
    node.create("b", secret(2));
    let files = [(10, "/bin/app"), (11, "/lib/libc.so"), (12, "/bin/sh")];
    for (first, last) in files.iter().zip(files.iter().rev()) {
        node.run("a", &digest(first.0), first.1);
        node.run("b", &digest(last.0), last.1);
        node.flush();
    }
    for (n, name) in [(13, "/bin/ls"), (14, "/bin/cat")] {
        node.run("a", &digest(n), name);
    }
    node.flush();
    node
}

struct World {
    host: Files,
    image: Files,
}

fn world() -> World {
    World { host: host_files(), image: image() }
}

impl World {
    fn container(&self, id: &str, n: u8) -> ExpectedContainer<'_> {
        let (id, secret) = (id.to_owned(), secret(n));
        let baseline: Option<&dyn Whitelist> = Some(&self.image);
        ExpectedContainer { id, secret, seq: None, keeper: Some(Keeper::Kernel), baseline }
    }

    /// All that can be asked of [`node`].
    fn expect(&self, node: &Node) -> Expectations<'_> {
        let programs = ["/usr/bin/containerd", "/usr/sbin/runc"];
        let programs = programs.iter().map(|path| CanonicalPath::new(path).unwrap()).collect();
        let pcr0 = BTreeMap::from([(0, vec![node.pcrs[&0]])]);
        Expectations {
            nonce: Some(Nonce {
                value: b"fresh".to_vec().into(),
                issued: Some(NOW - 5),
                good_for: 60,
            }),
            ak_name: Some(node.ak_name()),
            kernel: Some(KernelPolicy {
                pcrs: pcr0,
                container_ima: true,
                ..KernelPolicy::default()
            }),
            host: Some(HostPolicy { baseline: &self.host, programs, everything: true }),
            containers: vec![self.container("a", 1), self.container("b", 2)],
            ..Expectations::default()
        }
    }
}

fn names(verified: &Verified) -> BTreeSet<&'static str> {
    verified.verdict.findings().iter().map(Finding::name).collect()
}

fn check(evidence: &Evidence, expect: &Expectations<'_>, seen: Option<&Seen>) -> Verified {
    // Through the file, so that all of it survives.
    let evidence = Evidence::parse(&evidence.to_json()).unwrap();
    verify(&evidence, expect, seen, NOW)
}

#[test]
fn what_is_as_it_should_be_is_trusted() {
    let (node, world) = (node(), world());
    let verified = check(&node.evidence(b"fresh"), &world.expect(&node), None);
    assert_eq!(verified.verdict.findings(), []);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    assert_eq!(verified.lines[&Log::Host], 4);
    assert_eq!(verified.lines[&Log::Container("a".into())], 5);
}

#[test]
fn what_was_not_checked_is_never_trusted() {
    let (node, world) = (node(), world());
    let evidence = node.evidence(b"fresh");
    type Drop = fn(&mut Expectations<'_>);
    let dropped: [(&str, Drop); 6] = [
        ("nonce", |e| e.nonce = None),
        ("attestation-key", |e| e.ak_name = None),
        ("kernel", |e| e.kernel = None),
        ("host-programs", |e| e.host = None),
        ("container-list", |e| drop(e.containers.pop())),
        ("container-baseline", |e| e.containers[0].baseline = None),
    ];
    for (name, without) in dropped {
        let mut expect = world.expect(&node);
        without(&mut expect);
        let verified = check(&evidence, &expect, None);
        assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "{name}");
        expect.waived.insert(name.to_owned());
        if name == "attestation-key" {
            expect.waived.insert("endorsement".to_owned());
        }
        let verified = check(&evidence, &expect, None);
        assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{name} waived");
    }
    let nothing = Expectations::default();
    let verified = check(&evidence, &nothing, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
}

/// Does something to evidence, and says by which names it is told.
type Tampering = (&'static str, fn(&Node, &mut Evidence), &'static [&'static str]);

const QUOTES: &[Tampering] = &[
    ("a quote edited", |_, e| *e.quote.attest.0.last_mut().unwrap() ^= 1, &["QUOTE_SIGNATURE"]),
    ("a signature cut", |_, e| e.quote.signature.0.truncate(9), &["QUOTE_SIGNATURE"]),
    ("another nonce", |node, e| *e = node.evidence(b"other"), &["NONCE_MISMATCH"]),
    ("another TPM", |_, e| *e = Node::boot().evidence(b"fresh"), &["OTHER_KEY", "LOG_MISSING"]),
    (
        "a key that signs anything",
        |node, e| {
            e.ak = node.ak_with(0x0004_0072).into();
        },
        &["OTHER_KEY", "KEY_UNSUITABLE"],
    ),
    (
        "a key that can leave its TPM",
        |node, e| e.ak = node.ak_with(0x0005_0040).into(),
        &["OTHER_KEY", "KEY_UNSUITABLE"],
    ),
    (
        "other PCRs",
        |node, e| {
            let selection = Selection::of(Algorithm::Sha256, 0..=9);
            let attest = node.attest(b"fresh", &selection);
            e.quote.signature = node.sign(&attest).into();
            e.quote.attest = attest.into();
        },
        &["SELECTION_OTHER"],
    ),
    (
        "a PCR value edited",
        |_, e| _ = e.pcrs.get_mut(&Algorithm::Sha256).unwrap().insert(3, digest(9)),
        &["PCR_VALUES"],
    ),
    (
        "bytes that no TPM made, signed",
        |node, e| {
            let mut attest = e.quote.attest.to_vec();
            attest[0] = 0;
            e.quote.signature = node.sign(&attest).into();
            e.quote.attest = attest.into();
        },
        &["QUOTE_MALFORMED"],
    ),
];

fn host(e: &mut Evidence, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let part = e.host.as_mut().unwrap();
    let mut list = entries(&part.data, part.digests);
    change(&mut list);
    part.data = list.concat().into();
}

const HOST: &[Tampering] = &[
    ("bytes edited", |_, e| host(e, |l| *l[2].last_mut().unwrap() = b'x'), &["LOG_EDITED"]),
    ("a digest column edited", |_, e| host(e, |l| l[2][4] ^= 1), &["LOG_EDITED"]),
    (
        "a line made anew",
        |_, e| host(e, |l| l[2] = entry(10, Algorithm::Sha1, 9, "/usr/sbin/runc")),
        &["LOG_NOT_REPLAYED"],
    ),
    ("the end cut off", |_, e| host(e, |l| l.truncate(3)), &["LOG_TRUNCATED"]),
    (
        "the end cut off within a line",
        |_, e| _ = e.host.as_mut().unwrap().data.0.pop(),
        &["LOG_MALFORMED"],
    ),
    ("two lines swapped", |_, e| host(e, |l| l.swap(1, 2)), &["LOG_REORDERED"]),
    ("two far lines swapped", |_, e| host(e, |l| l.swap(1, 3)), &["LOG_REORDERED"]),
    ("a line twice", |_, e| host(e, |l| l.insert(3, l[1].clone())), &["LOG_DUPLICATED"]),
    (
        "a line of somebody else's",
        |_, e| host(e, |l| l.insert(2, entry(10, Algorithm::Sha1, 77, "/bin/x"))),
        &["LOG_INTERLEAVED"],
    ),
    (
        "another boot's list before it",
        |_, e| {
            let mut other = Node::boot();
            other.reboot(&[9; 32]);
            other.measure(&digest(1), "/usr/bin/containerd");
            host(e, |l| drop(l.splice(0..0, entries(&other.host, Algorithm::Sha1))));
        },
        &["LOG_CONCATENATED"],
    ),
    (
        "another boot's list",
        |_, e| {
            let mut other = Node::boot();
            other.reboot(&[9; 32]);
            other.measure(&digest(1), "/usr/bin/containerd");
            let part = e.host.as_mut().unwrap();
            (part.data, part.count) = (other.host.into(), None);
        },
        &["LOG_OF_ANOTHER_BOOT"],
    ),
    ("an empty list", |_, e| e.host.as_mut().unwrap().data.0.clear(), &["NOTHING_MEASURED"]),
    ("no list", |_, e| e.host = None, &["LOG_MISSING"]),
    ("no beginning", |_, e| e.host.as_mut().unwrap().first = 2, &["LOG_GAP"]),
    ("noise", |_, e| e.host.as_mut().unwrap().data.0 = vec![0xff; 100], &["LOG_MALFORMED"]),
];

fn container(e: &mut Evidence, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let part = &mut e.anchors[0].containers[0].list;
    let mut list = entries(&part.data, part.digests);
    change(&mut list);
    part.data = list.concat().into();
}

fn line(n: u8, name: &str) -> Vec<u8> {
    entry(12, Algorithm::Sha256, n, name)
}

const CONTAINER: &[Tampering] = &[
    ("bytes edited", |_, e| container(e, |l| *l[1].last_mut().unwrap() = b'x'), &["LOG_EDITED"]),
    ("a line made anew", |_, e| container(e, |l| l[1] = line(66, "/x")), &["LOG_EDITED"]),
    ("the end cut off", |_, e| container(e, |l| l.truncate(3)), &["LOG_TRUNCATED"]),
    ("all cut off", |_, e| container(e, |l| l.clear()), &["LOG_TRUNCATED"]),
    ("a line taken out", |_, e| container(e, |l| drop(l.remove(1))), &["LOG_REMOVED"]),
    ("two lines swapped", |_, e| container(e, |l| l.swap(0, 1)), &["LOG_REORDERED"]),
    ("a line twice", |_, e| container(e, |l| l.insert(1, l[0].clone())), &["LOG_DUPLICATED"]),
    ("foreign lines", |_, e| container(e, |l| l.insert(2, line(66, "/x"))), &["LOG_INTERLEAVED"]),
    (
        "another container's list",
        |_, e| e.anchors[0].containers[0].list = e.anchors[0].containers[1].list.clone(),
        &["LOG_OF_ANOTHER_CONTAINER"],
    ),
    ("another creation", |_, e| e.anchors[0].containers[0].seq = 9, &["NOT_ANCHORED"]),
    ("no list", |_, e| drop(e.anchors[0].containers.remove(0)), &["LOG_MISSING"]),
];

fn aggregate(e: &mut Evidence, change: impl FnOnce(&mut Vec<String>)) {
    let text = String::from_utf8(e.anchors[0].aggregate.to_vec()).unwrap();
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    change(&mut lines);
    e.anchors[0].aggregate = lines.concat().into_bytes().into();
}

const AGGREGATE: &[Tampering] = &[
    (
        "a line edited",
        |_, e| aggregate(e, |l| l[2] = l[2].replace('a', "b")),
        &["LOG_NOT_REPLAYED"],
    ),
    ("the end cut off", |_, e| aggregate(e, |l| drop(l.pop())), &["LOG_NOT_REPLAYED"]),
    ("lines swapped", |_, e| aggregate(e, |l| l.swap(2, 3)), &["LOG_NOT_REPLAYED"]),
    ("a batch left out", |_, e| aggregate(e, |l| drop(l.remove(1))), &["AGGREGATE_MALFORMED"]),
    ("no start", |_, e| aggregate(e, |l| drop(l.remove(0))), &["AGGREGATE_MALFORMED"]),
    ("noise", |_, e| e.anchors[0].aggregate.0 = vec![7; 99], &["AGGREGATE_MALFORMED"]),
    ("nothing", |_, e| e.anchors[0].aggregate.0.clear(), &["NOTHING_MEASURED"]),
];

#[test]
fn every_tampering_is_told_by_name() {
    let (node, world) = (node(), world());
    for (what, tamper, expected) in [QUOTES, HOST, CONTAINER, AGGREGATE].concat() {
        let mut evidence = node.evidence(b"fresh");
        tamper(&node, &mut evidence);
        let verified = check(&evidence, &world.expect(&node), None);
        let found = names(&verified);
        assert_eq!(verified.verdict.conclusion(), Conclusion::Untrusted, "{what}");
        for name in expected {
            assert!(found.contains(name), "{what}: expected {name}, found {found:?}");
        }
        let others = verified.verdict.findings().iter().filter(|finding| {
            // What follows from it: a kernel without lists, programs that were not seen.
            let follows = ["KERNEL", "HOST_PROGRAM_UNSEEN", "UNANCHORED", "OTHER_KEY"];
            !expected.contains(&finding.name()) && !follows.contains(&finding.name())
        });
        let others: Vec<_> = others.collect();
        assert!(others.is_empty() || expected.len() > 1, "{what}: also {others:?}");
    }
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
    assert!(names(&verified).is_superset(&BTreeSet::from(["LOG_MISSING", "KERNEL"])));
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
    let expect = world.expect(&node);
    let first = check(&node.evidence(b"fresh"), &expect, None);
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

    let part = evidence.host.as_mut().unwrap();
    let skip: usize = entries(&part.data, part.digests)[..4].iter().map(Vec::len).sum();
    part.data = part.data[skip..].to_vec().into();
    part.first = 4;
    let anchor = &mut evidence.anchors[0];
    anchor.first = seen.anchors[&Keeper::Kernel].aggregate.lines;
    anchor.aggregate = anchor.aggregate[old.anchors[0].aggregate.len()..].to_vec().into();
    for (container, old) in anchor.containers.iter_mut().zip(&old.anchors[0].containers) {
        container.list.first = seen.anchors[&Keeper::Kernel].containers
            [&format!("{}#{}", container.id, container.seq)]
            .lines;
        container.list.data = container.list.data[old.list.data.len()..].to_vec().into();
    }
    let next = check(&evidence, &expect, Some(&seen));
    assert_eq!(next.verdict.conclusion(), Conclusion::Trusted, "{:#?}", next.verdict);
    assert_eq!(next.seen, whole.seen, "the new lines give what the whole list gives");

    // A list that went back behind what is known is not the one that was seen.
    let verified = check(&old, &expect, next.seen.as_ref());
    assert!(names(&verified).contains("CLOCK_WENT_BACK"), "{:?}", names(&verified));
}

/// Evidence that leaves out the host's lines that are known.
fn left_out(node: &Node, known: u64) -> Evidence {
    let mut evidence = node.evidence(b"fresh");
    let part = evidence.host.as_mut().unwrap();
    let lines = entries(&part.data, part.digests);
    part.data = lines.into_iter().skip(known as usize).flatten().collect::<Vec<_>>().into();
    part.first = known;
    evidence
}

#[test]
fn what_a_list_begins_with_is_known_the_next_time() {
    let (mut node, world) = (node(), world());
    node.measure_buffer("kernel_version", b"6.12.0");
    let mut expect = world.expect(&node);
    let parts: Vec<_> = (0..=9).map(|index| node.pcrs[&index]).collect();
    let parts: Vec<&[u8]> = parts.iter().map(Digest::as_bytes).collect();
    let policy = expect.kernel.as_mut().unwrap();
    policy.boot_aggregate = vec![pcr::hash(Algorithm::Sha256, &parts)];
    policy.versions = vec!["6.12.0".to_owned()];
    let mut seen = None;
    for known in [0, 5, 5] {
        node.clock.clock += 10;
        let next = check(&left_out(&node, known), &expect, seen.as_ref());
        assert_eq!(next.verdict.conclusion(), Conclusion::Trusted, "{:#?}", next.verdict);
        seen = next.seen;
    }
    // Of another kernel, it is another, though the line is known.
    let other = [digest(5)].to_vec();
    expect.kernel.as_mut().unwrap().boot_aggregate = other;
    let verified = check(&left_out(&node, 5), &expect, seen.as_ref());
    assert_eq!(names(&verified), BTreeSet::from(["KERNEL"]));
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
    node.reboot(&[1; 32]);
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

#[test]
fn a_tenant_verifies_its_own_part_and_learns_nothing_of_the_others() {
    let (node, world) = (node(), world());
    let mut evidence = node.evidence(b"fresh");
    evidence.host = None;
    evidence.anchors[0].containers.retain(|container| container.id == "a");
    let text = String::from_utf8(evidence.to_json()).unwrap();
    assert!(!text.contains("\"b\""), "nothing names the other container");
    let mut expect = world.expect(&node);
    expect.containers.truncate(1);
    (expect.kernel, expect.host) = (None, None);
    let verified = check(&evidence, &expect, None);
    let answer = |question| &verified.verdict.answers()[&question];
    assert!(matches!(answer(Question::ContainerList("a".into())), Answer::Passed(_)));
    assert!(matches!(answer(Question::ContainerBaseline("a".into())), Answer::Passed(_)));

    // Another's secret opens nothing of it.
    expect.containers[0].secret = secret(2);
    let verified = check(&evidence, &expect, None);
    assert!(names(&verified).contains("NOT_ANCHORED"));
}

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

#[test]
fn a_kernel_s_version_counts_only_where_the_tpm_vouches_for_it() {
    let (mut node, world) = (node(), world());
    node.measure_buffer("kernel_version", b"6.1.0");
    let quoted = node.evidence(b"fresh");
    node.measure_buffer("kernel_version", b"6.12.0");
    let mut evidence = node.evidence(b"fresh");
    evidence.quote = quoted.quote;
    evidence.pcrs = quoted.pcrs;
    let mut expect = world.expect(&node);
    expect.kernel.as_mut().unwrap().versions = vec!["6.12.0".to_owned()];
    let verified = check(&evidence, &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["KERNEL", "UNANCHORED"]));
}

#[test]
fn the_kernel_must_be_one_of_the_allowed() {
    let (node, world) = (node(), world());
    let evidence = node.evidence(b"fresh");
    type Ask = fn(&mut KernelPolicy);
    let asked: [Ask; 4] = [
        |p| p.boot_aggregate = vec![digest(5)],
        |p| drop(p.pcrs.insert(4, vec![digest(5)])),
        |p| p.versions = vec!["6.12.0".to_owned()],
        |p| p.boot_events = vec![digest(5)],
    ];
    for ask in asked {
        let mut expect = world.expect(&node);
        ask(expect.kernel.as_mut().unwrap());
        let verified = check(&evidence, &expect, None);
        let told = names(&verified).contains("KERNEL");
        let conclusion = verified.verdict.conclusion();
        // An event can't be looked for without a boot log: that is not proven.
        assert!(told || conclusion == Conclusion::Unproven, "{:#?}", verified.verdict);
    }
    let mut expect = world.expect(&node);
    let mut evidence = evidence;
    evidence.anchors.clear();
    expect.containers.clear();
    assert!(names(&check(&evidence, &expect, None)).contains("KERNEL"));
}
