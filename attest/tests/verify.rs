//! Each tampering, and the name that it is told by.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod tamper;

use std::collections::{BTreeMap, BTreeSet};

use lacre_attest::container::{Keeper, Secret};
use lacre_attest::enrol::{NodeState, Trust};
use lacre_attest::evidence::{Evidence, EvidenceError, ListPart};
use lacre_attest::ima::write;
use lacre_attest::pcr;
use lacre_attest::testing::{BootEvent, Node, boot_log, ima_buf};
use lacre_attest::tpm2::Selection;
use lacre_attest::verify::{
    Answer, Conclusion, Expectations, ExpectedContainer, Finding, HostPolicy, KernelFault,
    KernelPolicy, ListName, Log, Nonce, Question, Seen, Verified, verify,
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
            enrolled: true,
            kernel: Some(KernelPolicy {
                pcrs: pcr0,
                container_ima: true,
                ..KernelPolicy::default()
            }),
            judged_by: Some(digest(1)),
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
    let dropped: [(&str, Drop); 7] = [
        ("nonce", |e| e.nonce = None),
        ("endorsement", |e| e.enrolled = false),
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
    assert_eq!(names(&verified), BTreeSet::from(["LOG_OF_ANOTHER_CONTAINER"]));
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

/// A container that came back under its name: the evidence, and the number of its first
/// creation.
fn came_back(again: &str) -> (Node, Evidence, u64) {
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
    expect.containers[0].secret = secret(9);
    let verified = check(&evidence, &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["NOT_ANCHORED"]));
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
        let why = Answer::NotChecked("what is known of it was judged by other expectations");
        for question in [Question::HostList, Question::Aggregate(Keeper::Kernel)] {
            assert_eq!(verified.verdict.answers()[&question], why, "{question}");
        }
    }
    // The clock goes on, whoever judges.
    node.clock.clock -= 1;
    let verified = check(&node.evidence(b"fresh"), &anew, Some(&seen));
    assert!(names(&verified).contains("CLOCK_WENT_BACK"));
}

fn enrolled(node: &Node, seen: Option<Seen>) -> NodeState {
    NodeState {
        node: "node-1".to_owned(),
        ek_name: vec![1].into(),
        ak_name: node.ak_name().into(),
        enrolled: NOW,
        trust: Trust::Unknown,
        attested: None,
        challenge: None,
        seen,
    }
}

/// Leaves only what is not known.
fn rest(evidence: &mut Evidence, seen: &Seen) {
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
    let unchecked = |why| Some(Answer::NotChecked(why));
    let (answer, conclusion, verified) = hidden(&node, &expect);
    assert_eq!(answer, unchecked("it was known, did not end, and is not brought any more"));
    assert_eq!((conclusion, verified.gone), (Conclusion::Unproven, vec![]));
    // A shim that died does not end its list, which goes an hour after.
    let (mut kept, mut of_shims) = (without(&node), seen.clone());
    kept.anchors[0].keeper = Keeper::Shim;
    let anchor = of_shims.anchors.remove(&Keeper::Kernel).unwrap();
    of_shims.anchors.insert(Keeper::Shim, anchor);
    let verified = check(&kept, &expect, Some(&of_shims));
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
    let open = Answer::NotChecked("lines are missing from the list");
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

#[test]
fn only_lines_that_are_vouched_for_tell_the_kernels_version() {
    let (mut node, world) = (node(), world());
    node.measure_buffer("kernel_version", b"6.1.0");
    let mut expect = world.expect(&node);
    expect.kernel.as_mut().unwrap().versions = vec!["6.12.0".to_owned()];
    expect.host.as_mut().unwrap().programs.push(CanonicalPath::new("/bin/ls").unwrap());
    let version = ima_buf("kernel_version", b"6.12.0");
    let sha1 = pcr::hash(Algorithm::Sha1, &[&version]);
    // A line after the quote, and one of a PCR that was not quoted.
    for index in [10, 13] {
        let mut evidence = node.evidence(b"fresh");
        let line = write::binary(index, sha1.as_bytes(), b"ima-buf", &version);
        let program = entry(index, Algorithm::Sha1, 13, "/bin/ls");
        host(&mut evidence, |list| list.extend([line, program]));
        let verified = check(&evidence, &expect, None);
        let findings = verified.verdict.findings();
        let kernel = Finding::Kernel(KernelFault::Version("6.1.0".to_owned()));
        assert!(findings.contains(&kernel), "{index}: {findings:#?}");
        assert!(findings.contains(&Finding::HostProgramUnseen("/bin/ls".to_owned())), "{index}");
    }
    // A violation is extended as one, whatever its line says.
    let ones = pcr::repeated(Algorithm::Sha256, 0xff);
    node.extend(10, &ones);
    let mut evidence = node.evidence(b"fresh");
    let line = write::binary(10, &[0; 20], b"ima-buf", &version);
    host(&mut evidence, |list| list.push(line));
    let verified = check(&evidence, &expect, None);
    let kernel = Finding::Kernel(KernelFault::Version("6.1.0".to_owned()));
    assert!(verified.verdict.findings().contains(&kernel), "{:#?}", verified.verdict);
}

#[test]
fn the_kernel_must_be_one_of_the_allowed() {
    let (node, world) = (node(), world());
    let evidence = node.evidence(b"fresh");
    type Ask = fn(&mut KernelPolicy);
    let asked: [(Ask, KernelFault); 4] = [
        (|p| p.boot_aggregate = vec![digest(5)], KernelFault::BootAggregate(node.boot_aggregate())),
        (
            |p| drop(p.pcrs.insert(4, vec![digest(5)])),
            KernelFault::Pcr { index: 4, value: node.pcrs[&4] },
        ),
        (|p| p.versions = vec!["6.12.0".to_owned()], KernelFault::NoVersion),
        (|p| p.boot_events = vec![digest(5)], KernelFault::BootEvent(digest(5))),
    ];
    for (ask, fault) in asked {
        let mut expect = world.expect(&node);
        ask(expect.kernel.as_mut().unwrap());
        let verified = check(&evidence, &expect, None);
        assert_eq!(verified.verdict.findings(), [Finding::Kernel(fault)]);
    }
    let mut expect = world.expect(&node);
    let policy = expect.kernel.as_mut().unwrap();
    policy.boot_aggregate = vec![digest(5), node.boot_aggregate()];
    policy.pcrs = BTreeMap::from([(4, vec![digest(5), node.pcrs[&4]])]);
    policy.boot_events = vec![node.boot[4].event];
    assert_eq!(check(&evidence, &expect, None).verdict.conclusion(), Conclusion::Trusted);
    let mut expect = world.expect(&node);
    let mut evidence = evidence;
    evidence.anchors.clear();
    expect.containers.clear();
    let verified = check(&evidence, &expect, None);
    assert_eq!(verified.verdict.findings(), [Finding::Kernel(KernelFault::NoContainerIma)]);
}

/// The firmware's log is only text: an event is one when a PCR that was quoted vouches for it.
#[test]
fn an_event_of_the_boot_must_be_in_a_pcr_that_was_quoted() {
    let (node, world) = (node(), world());
    let mut expect = world.expect(&node);
    let wanted = digest(77);
    expect.kernel.as_mut().unwrap().boot_events = vec![wanted];
    let boot = |events: Vec<BootEvent>| {
        let mut evidence = node.evidence(b"fresh");
        evidence.boot_log = Some(boot_log(&events).into());
        check(&evidence, &expect, None)
    };
    let event = |index, kind| BootEvent { index, kind, event: wanted, data: vec![] };
    let fault = Finding::Kernel(KernelFault::BootEvent(wanted));

    // In PCRs that are not the boot's alone, quoted or not.
    for index in [11, 16] {
        let verified = boot([node.boot.clone(), vec![event(index, 1)]].concat());
        assert_eq!(verified.verdict.findings(), std::slice::from_ref(&fault), "{index}");
    }
    // In a PCR that does not agree.
    let verified = boot([node.boot.clone(), vec![event(4, 1)]].concat());
    assert_eq!(verified.verdict.findings(), [Finding::BootLogNotReplayed(4), fault.clone()]);
    // In one that a start of another locality is to make up for, as if it had begun anew.
    let locality = BootEvent { data: b"StartupLocality\0\0".to_vec(), ..event(0, 3) };
    let again = vec![event(0, 1), locality];
    let verified = boot([again, node.boot.clone()].concat());
    assert_eq!(verified.verdict.findings(), [Finding::BootLogNotReplayed(0), fault.clone()]);
    // The events of a PCR left out.
    let verified = boot(node.boot.iter().filter(|event| event.index != 4).cloned().collect());
    assert_eq!(verified.verdict.findings(), [Finding::BootLogNotReplayed(4), fault.clone()]);

    // A log of PCRs none of which was quoted says nothing.
    let mut evidence = node.evidence(b"fresh");
    let selection = Selection::of(Algorithm::Sha256, 10..=12);
    let attest = node.attest(b"fresh", &selection);
    evidence.quote.signature = node.sign(&attest).into();
    evidence.quote.attest = attest.into();
    evidence.boot_log = Some(boot_log(&[event(4, 1)]).into());
    expect.selection = selection;
    expect.kernel.as_mut().unwrap().pcrs.clear();
    let verified = check(&evidence, &expect, None);
    assert_eq!(verified.verdict.findings(), []);
    let why = Answer::NotChecked("there is no boot log that holds");
    assert_eq!(verified.verdict.answers()[&Question::Kernel], why);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
}

#[test]
fn a_boot_log_that_is_left_out_is_not_checked() {
    let (node, world) = (node(), world());
    let mut expect = world.expect(&node);
    let mut evidence = node.evidence(b"fresh");
    evidence.boot_log = None;
    let verified = check(&evidence, &expect, None);
    let why = Answer::NotChecked("the evidence brings no boot log");
    assert_eq!(verified.verdict.answers()[&Question::BootLog], why);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
    expect.waived.insert("boot-log".to_owned());
    assert_eq!(check(&evidence, &expect, None).verdict.conclusion(), Conclusion::Trusted);
}

#[test]
fn a_pcr_0_that_began_at_another_locality_is_replayed_from_there() {
    let (mut node, world) = (node(), world());
    let mut start = [0; 32];
    start[31] = 3;
    let events: Vec<BootEvent> = node.boot.iter().filter(|e| e.index == 0).cloned().collect();
    let value = events
        .iter()
        .fold(Digest::sha256(start), |value, event| pcr::extended(&value, event.event.as_bytes()));
    node.pcrs.insert(0, value);
    let data = b"StartupLocality\0\x03".to_vec();
    node.boot.insert(0, BootEvent { index: 0, kind: 3, event: digest(0), data });
    let expect = Expectations { kernel: None, ..world.expect(&node) };
    let verified = check(&node.evidence(b"fresh"), &expect, None);
    assert!(!names(&verified).contains("BOOT_LOG_NOT_REPLAYED"), "{:#?}", verified.verdict);
    assert!(matches!(verified.verdict.answers()[&Question::BootLog], Answer::Passed(_)));
}
