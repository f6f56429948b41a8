//! Root on a node, who knows every secret, extends what it likes, sets back what can be set
//! back, and chooses registers, keepers, beginnings, prefixes and lists: none of it is trusted,
//! and each has its name.

use lacre_attest::container::{Key, Recorded, Recorder, Tagged};
use lacre_attest::evidence::{AnchorPart, ContainerPart};
use lacre_attest::ima::Form;
use proptest::prelude::*;

use super::tampered::{aggregate, host};
use super::*;

/// A node on which container `a` ran a program that its image does not have.
struct Forger {
    node: Node,
    /// What was seen of it before it did.
    seen: Seen,
}

/// A list of that container without that program, and its events.
fn clean(id: &str, n: u8, seq: u64, pcr: u32) -> (ContainerPart, Vec<Tagged>) {
    let (mut recorded, made) = Recorded::create(Key::new(&secret(n), seq, id), pcr);
    let mut events = vec![made];
    let mut data = Vec::new();
    for (n, name) in [(10, "/bin/app"), (11, "/lib/libc.so"), (12, "/bin/sh")] {
        let (entry, event) = recorded.file(&digest(n), name.as_bytes());
        data.extend(entry);
        events.push(event);
    }
    let data = data.into();
    let list =
        ListPart { form: Form::Binary, digests: Algorithm::Sha256, first: 0, count: None, data };
    let image = Some("docker.io/library/demo:1".to_owned());
    (ContainerPart { id: id.to_owned(), seq, image, left: false, list }, events)
}

impl Forger {
    fn new(world: &World) -> Self {
        let mut node = node();
        let seen = check(&node.evidence(b"fresh"), &world.expect(&node), None).seen.unwrap();
        node.run("a", &digest(66), "/tmp/evil");
        node.flush();
        Self { node, seen }
    }

    /// Lists of its own making, anchored in that PCR on whatever it holds, as the text says.
    fn anchored(&mut self, keeper: Keeper, pcr: u32, says: u32, start: [u8; 32]) -> AnchorPart {
        let (mut recorder, first) = Recorder::begin(says, start);
        let mut text = first.text.clone();
        self.node.extend(pcr, &first.digest(Algorithm::Sha256));
        let (a, mut events) = clean("a", 1, 1, says);
        let (b, more) = clean("b", 2, 2, says);
        events.extend(more);
        let batch = recorder.batch(&events);
        text.push_str(&batch.text);
        self.node.extend(pcr, &batch.digest(Algorithm::Sha256));
        AnchorPart { keeper, first: 0, aggregate: text.into_bytes().into(), containers: vec![a, b] }
    }

    fn value(&self, pcr: u32) -> [u8; 32] {
        self.node.pcrs[&pcr].as_bytes().try_into().unwrap()
    }

    fn shows(&self, anchors: Vec<AnchorPart>) -> Evidence {
        Evidence { anchors, ..self.node.evidence_over(b"fresh", 0..24) }
    }

    /// What the kernel anchored, and the lists but that one.
    fn without(&self, id: &str) -> AnchorPart {
        let mut part = self.node.evidence(b"fresh").anchors.remove(0);
        part.containers.retain(|list| list.id != id);
        part
    }

    /// Adds a batch of its own to what the kernel anchored.
    fn appends(&mut self, events: &[Tagged]) -> AnchorPart {
        let mut part = self.node.evidence(b"fresh").anchors.remove(0);
        let text = String::from_utf8(part.aggregate.to_vec()).unwrap();
        let last = text.lines().last().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let batch = Recorder::after(12, last).batch(events);
        self.node.extend(12, &batch.digest(Algorithm::Sha256));
        part.aggregate = (text + &batch.text).into_bytes().into();
        part
    }
}

const ZERO: [u8; 32] = [0; 32];

/// What root does, and by which names it is told to who saw the node before, and to who did not.
type Forgery = (&'static str, fn(&mut Forger) -> Evidence, &'static str);

const FORGERIES: &[Forgery] = &[
    (
        "the program is left in, and told",
        |f| f.shows(f.node.evidence(b"fresh").anchors),
        "CONTAINER_VIOLATION",
    ),
    (
        "lists anew, in a PCR that says it is the kernel's",
        |f| {
            let part = f.anchored(Keeper::Kernel, 16, 12, ZERO);
            f.shows(vec![part])
        },
        "AGGREGATE_NOT_REPLAYED",
    ),
    (
        "the kernel's PCR, on top of what it holds, from zero",
        |f| {
            let part = f.anchored(Keeper::Kernel, 12, 12, ZERO);
            f.shows(vec![part])
        },
        "AGGREGATE_NOT_REPLAYED",
    ),
    (
        "a shim's, instead of the kernel's",
        |f| {
            let part = f.anchored(Keeper::Shim, 15, 15, ZERO);
            f.shows(vec![part])
        },
        "KEEPER_OTHER",
    ),
    (
        "a shim's, in the kernel's PCR",
        |f| {
            let start = f.value(12);
            let part = f.anchored(Keeper::Shim, 12, 12, start);
            f.shows(vec![part])
        },
        "KEEPER_OTHER",
    ),
    (
        "a shim's list of the one, the kernel's of the other",
        |f| {
            let part = f.anchored(Keeper::Shim, 15, 15, ZERO);
            f.shows(vec![f.without("a"), part])
        },
        "EVENTS_UNCLAIMED",
    ),
    ("no lists of containers", |f| f.shows(vec![]), "AGGREGATE_NOT_REPLAYED"),
    (
        "no lists, and no quote of their PCR",
        |f| Evidence { anchors: vec![], ..f.node.evidence_over(b"fresh", 0..=11) },
        "SELECTION_OTHER",
    ),
    (
        "an empty aggregate",
        |f| {
            let mut part = f.without("a");
            part.aggregate.0.clear();
            f.shows(vec![part])
        },
        "AGGREGATE_NOT_REPLAYED",
    ),
    ("the container is not shown", |f| f.shows(vec![f.without("a")]), "EVENTS_UNCLAIMED"),
    (
        "nor is a container of its own, of many events",
        |f| {
            f.node.create("rogue", secret(9));
            for n in 0..50 {
                f.node.run("rogue", &digest(n), "/tmp/evil");
            }
            f.node.flush();
            let mut part = f.without("rogue");
            part.containers.retain(|list| list.id != "a");
            f.shows(vec![part])
        },
        "EVENTS_UNCLAIMED",
    ),
    (
        "events of nobody",
        |f| {
            let part = f.appends(&[([7; 32], [8; 32])]);
            f.shows(vec![part])
        },
        "EVENTS_UNCLAIMED",
    ),
    (
        "the container by another number, anchored by hand",
        |f| {
            let (list, events) = clean("a", 1, 77, 12);
            let mut part = f.appends(&events);
            part.containers.retain(|list| list.id != "a");
            part.containers.push(list);
            f.shows(vec![part])
        },
        "EVENTS_UNCLAIMED",
    ),
    (
        "its events once more, without the program",
        |f| {
            let (list, events) = clean("a", 1, 1, 12);
            let mut part = f.appends(&events);
            part.containers.retain(|list| list.id != "a");
            part.containers.push(list);
            f.shows(vec![part])
        },
        "EVENTS_UNCLAIMED",
    ),
    (
        "its end, early",
        |f| {
            let mut part = f.node.evidence(b"fresh").anchors.remove(0);
            let list = part.containers.iter_mut().find(|list| list.id == "a").unwrap();
            let lines = entries(&list.list.data, Algorithm::Sha256);
            list.list.data = lines[..lines.len() - 1].concat().into();
            f.shows(vec![part])
        },
        "LOG_TRUNCATED",
    ),
    (
        "all before is left out: it begins on what the PCR holds",
        |f| {
            let start = f.value(12);
            let part = f.anchored(Keeper::Kernel, 12, 12, start);
            f.shows(vec![part])
        },
        "NOT_FROM_ZERO",
    ),
    (
        "an aggregate that is full, with what was never anchored in its last batch",
        |f| {
            let part = f.node.evidence(b"fresh").anchors.remove(0);
            let text = String::from_utf8(part.aggregate.to_vec()).unwrap();
            let batch: u64 =
                text.lines().last().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
            let hex =
                |bytes: [u8; 32]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
            let (list, events) = clean("a", 1, 77, 12);
            let mut all: Vec<Tagged> = events;
            all.push(([0xff; 32], [0xff; 32]));
            let lines = all
                .iter()
                .map(|(tag, value)| format!("12 {} {} {}\n", batch + 1, hex(*tag), hex(*value)));
            let text = text.clone() + &lines.collect::<String>();
            f.node.extend(12, &pcr::repeated(Algorithm::Sha256, 0xff));
            let mut containers = f.without("a").containers;
            containers.push(list);
            let aggregate = text.into_bytes().into();
            f.shows(vec![AnchorPart { aggregate, containers, ..part }])
        },
        "AGGREGATE_MALFORMED",
    ),
    (
        "an aggregate that is full, to anchor nothing from then on",
        |f| {
            let part = f.without("a");
            let text = String::from_utf8(part.aggregate.to_vec()).unwrap();
            let batch: u64 =
                text.lines().last().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
            let text = format!("{text}12 {} {1} {1}\n", batch + 1, "ff".repeat(32));
            f.node.extend(12, &pcr::repeated(Algorithm::Sha256, 0xff));
            f.shows(vec![AnchorPart { aggregate: text.into_bytes().into(), ..part }])
        },
        "LOG_OVERFLOWED",
    ),
    (
        "another's list behind the quote, as if it were newer",
        |f| {
            let (list, events) = clean("a", 1, 77, 12);
            let mut part = f.without("a");
            let text = String::from_utf8(part.aggregate.to_vec()).unwrap();
            let last = text.lines().last().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
            let batch = Recorder::after(12, last).batch(&events);
            part.aggregate = (text + &batch.text).into_bytes().into();
            part.containers.push(list);
            f.shows(vec![part])
        },
        "EVENTS_UNCLAIMED",
    ),
    (
        "a beginning that nobody asked to be left out",
        |f| {
            let mut part = f.node.evidence(b"fresh").anchors.remove(0);
            part.first = 3;
            f.shows(vec![part])
        },
        "LOG_GAP",
    ),
    (
        "the TPM is set back within the boot, and the lists are made anew",
        |f| {
            f.node.pcrs.insert(12, pcr::initial(Algorithm::Sha256, 12));
            let part = f.anchored(Keeper::Kernel, 12, 12, ZERO);
            f.shows(vec![part])
        },
        "LOG_REWRITTEN",
    ),
    (
        "the host's list, with lines of a PCR that can be set back",
        |f| {
            let mut evidence = f.shows(f.node.evidence(b"fresh").anchors);
            host(&mut evidence, |list| list.push(entry(16, Algorithm::Sha1, 1, "/usr/sbin/runc")));
            evidence
        },
        "LINES_ELSEWHERE",
    ),
    (
        "the host's list is left out",
        |f| Evidence { host: None, ..f.shows(f.node.evidence(b"fresh").anchors) },
        "LOG_MISSING",
    ),
    (
        "the host's list is emptied",
        |f| {
            let mut evidence = f.shows(f.node.evidence(b"fresh").anchors);
            evidence.host.as_mut().unwrap().data.0.clear();
            evidence.host.as_mut().unwrap().count = None;
            evidence
        },
        "LOG_NOT_REPLAYED",
    ),
    (
        "the host's PCR is set back, and its list is made anew",
        |f| {
            f.node.pcrs.insert(10, pcr::initial(Algorithm::Sha256, 10));
            f.node.host.clear();
            f.node.host_lines = 0;
            f.node.measure(&f.node.boot_aggregate(), "boot_aggregate");
            for (n, name) in [(2, "/usr/sbin/runc"), (1, "/usr/bin/containerd"), (3, "/bin/sh")] {
                f.node.measure(&digest(n), name);
            }
            f.shows(f.node.evidence(b"fresh").anchors)
        },
        "LOG_REWRITTEN",
    ),
];

#[test]
fn what_root_forges_is_told_and_never_trusted() {
    let world = world();
    for (what, forge, name) in FORGERIES {
        let mut forger = Forger::new(&world);
        let evidence = forge(&mut forger);
        let mut expect = world.expect(&forger.node);
        // Whose secrets the node gives.
        expect.containers.push(ExpectedContainer { seq: Some(77), ..world.container("a", 1) });
        expect.containers.iter_mut().for_each(|container| container.optional = true);
        let [knows, new] = [Some(&forger.seen), None].map(|seen| check(&evidence, &expect, seen));
        // Who never saw the node does not know that its TPM was set back.
        let who = if *name == "LOG_REWRITTEN" { vec![&knows] } else { vec![&knows, &new] };
        for verified in &who {
            let verdict = &verified.verdict;
            assert_ne!(verdict.conclusion(), Conclusion::Trusted, "{what}: {verdict:#?}");
        }
        let told: Vec<_> = who.into_iter().map(names).collect();
        assert!(told.iter().any(|names| names.contains(name)), "{what}: {told:?}");
    }
}

/// Whatever PCR the lists are put into: none but the pinned one is looked at.
#[test]
fn a_list_in_any_other_register_is_told() {
    let world = world();
    for index in (0..24).filter(|index| *index != 12) {
        for set_back in [false, true] {
            let mut forger = Forger::new(&world);
            if set_back {
                forger.node.pcrs.insert(index, pcr::repeated(Algorithm::Sha256, 0));
            }
            let start = forger.value(index);
            let part = forger.anchored(Keeper::Kernel, index, index, start);
            let evidence = forger.shows(vec![part]);
            let verified = check(&evidence, &world.expect(&forger.node), Some(&forger.seen));
            assert!(names(&verified).contains("ANCHOR_OTHER"), "{index}: {:?}", names(&verified));
            assert_ne!(verified.verdict.conclusion(), Conclusion::Trusted, "{index}");
        }
    }
}

/// A stock node's root says that its kernel keeps lists.
#[test]
fn a_node_does_not_choose_who_keeps_its_lists() {
    let world = world();
    let mut node = Node::boot();
    node.measure(&digest(1), "/usr/bin/containerd");
    node.measure(&digest(2), "/usr/sbin/runc");
    node.create("a", secret(1));
    node.run("a", &digest(10), "/bin/app");
    node.flush();
    let mut expect = world.expect(&node);
    expect.anchors = ExpectedAnchor::standard(false);
    expect.kernel.as_mut().unwrap().container_ima = false;
    expect.containers = vec![ExpectedContainer { keeper: None, ..world.container("a", 1) }];
    let verified = check(&node.evidence_over(b"fresh", 0..16), &expect, None);
    assert!(names(&verified).contains("KEEPER_OTHER"), "{:?}", names(&verified));
    assert_ne!(verified.verdict.conclusion(), Conclusion::Trusted);
    // Nor is it believed that they are the shim's, where the kernel's PCR has them.
    let mut evidence = node.evidence_over(b"fresh", 0..16);
    evidence.anchors[0].keeper = Keeper::Shim;
    let verified = check(&evidence, &expect, None);
    assert!(names(&verified).contains("ANCHOR_OTHER"), "{:?}", names(&verified));
    assert_ne!(verified.verdict.conclusion(), Conclusion::Trusted);
    // Where the verifier says that shims have that PCR, they have.
    let shims = ExpectedAnchor::at(ListPcr::KERNEL);
    expect.anchors = BTreeMap::from([(Keeper::Shim, shims)]);
    let verified = check(&evidence, &expect, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    // And what it holds before their first line.
    let started = ExpectedAnchor { start: Some(digest(5)), ..shims };
    expect.anchors = BTreeMap::from([(Keeper::Shim, started)]);
    let verified = check(&evidence, &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["NOT_FROM_ZERO"]));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
}

/// A container without a line is a container, whose events are accounted for.
#[test]
fn a_container_that_measured_nothing_is_no_stranger() {
    let world = world();
    for closed in [false, true] {
        let mut node = node();
        node.create("c", secret(3));
        if closed {
            node.close("c");
        }
        node.flush();
        let mut expect = world.expect(&node);
        expect.containers.push(world.container("c", 3));
        let verified = check(&node.evidence(b"fresh"), &expect, None);
        let told = if closed { BTreeSet::new() } else { BTreeSet::from(["NOTHING_MEASURED"]) };
        assert_eq!(names(&verified), told);
        assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    }
}

/// What a list accounted for once it has, though it is removed afterwards, and whatever else
/// was wrong with the node when it was shown.
#[test]
fn what_was_accounted_for_stays_so_for_that_boot() {
    let world = world();
    let mut node = node();
    node.create("c", secret(3));
    node.run("c", &digest(99), "/tmp/evil");
    node.close("c");
    node.flush();
    let mut expect = world.expect(&node);
    expect.containers.push(world.container("c", 3));
    let first = check(&node.evidence(b"fresh"), &expect, None);
    assert_eq!(names(&first), BTreeSet::from(["CONTAINER_VIOLATION"]));
    let claims = serde_json::to_string(&first.claims.unwrap()).unwrap();
    let claims = serde_json::from_str(&claims).unwrap();
    node.run("a", &digest(10), "/bin/app");
    node.flush();
    expect.containers.pop();
    let mut evidence = node.evidence(b"fresh");
    evidence.anchors[0].containers.retain(|list| list.id != "c");
    let new = check(&evidence, &expect, None);
    assert_eq!(names(&new), BTreeSet::from(["EVENTS_UNCLAIMED"]));
    expect.claims = Some(&claims);
    let known = check(&evidence, &expect, None);
    assert_eq!(known.verdict.conclusion(), Conclusion::Trusted, "{:#?}", known.verdict);
    // What came since is asked as ever.
    node.create("d", secret(4));
    node.flush();
    let mut evidence = node.evidence(b"fresh");
    evidence.anchors[0].containers.retain(|list| list.id != "c" && list.id != "d");
    let verified = check(&evidence, &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["EVENTS_UNCLAIMED"]));
    // Another text is not the one that was seen.
    aggregate(&mut evidence, |lines| lines[1] = lines[1].replace('a', "b"));
    let verified = check(&evidence, &expect, None);
    assert!(names(&verified).contains("LOG_REWRITTEN"), "{:?}", names(&verified));
}

/// One thing that root does to what the node shows.
#[derive(Debug, Clone)]
enum Deed {
    Extend(u32),
    SetBack(u32),
    Anew { keeper: bool, pcr: u32, says: u32, on_top: bool },
    Append { seq: u64 },
    Hide(usize),
    Clean(usize),
    Cut { lines: usize },
    First(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let pcr = prop::sample::select(vec![8, 9, 11, 12, 13, 14, 15, 16, 17, 23]);
    prop_oneof![
        pcr.clone().prop_map(Deed::Extend),
        prop::sample::select(vec![16u32, 17, 23]).prop_map(Deed::SetBack),
        (any::<bool>(), pcr.clone(), pcr, any::<bool>())
            .prop_map(|(keeper, pcr, says, on_top)| Deed::Anew { keeper, pcr, says, on_top }),
        prop::sample::select(vec![1, 2, 77]).prop_map(|seq| Deed::Append { seq }),
        (0usize..3).prop_map(Deed::Hide),
        (0usize..3).prop_map(Deed::Clean),
        (1usize..12).prop_map(|lines| Deed::Cut { lines }),
        (0u64..9).prop_map(Deed::First),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is done, in whatever order: a node on which that program ran is not trusted.
    #[test]
    fn no_forgery_is_trusted(deeds in prop::collection::vec(deed(), 0..6), seen: bool) {
        let world = world();
        let mut forger = Forger::new(&world);
        let mut parts = forger.node.evidence(b"fresh").anchors;
        for deed in deeds {
            let part = &mut parts[0];
            match deed {
                Deed::Extend(pcr) => forger.node.extend(pcr, &digest(5)),
                Deed::SetBack(pcr) => {
                    forger.node.pcrs.insert(pcr, pcr::repeated(Algorithm::Sha256, 0));
                }
                Deed::Anew { keeper, pcr, says, on_top } => {
                    let keeper = if keeper { Keeper::Kernel } else { Keeper::Shim };
                    let start = if on_top { forger.value(pcr) } else { ZERO };
                    let anew = forger.anchored(keeper, pcr, says, start);
                    if keeper == part.keeper {
                        parts[0] = anew;
                    } else {
                        parts.truncate(1);
                        parts.push(anew);
                    }
                }
                Deed::Append { seq } => {
                    let (list, events) = clean("a", 1, seq, 12);
                    let appended = forger.appends(&events);
                    part.aggregate = appended.aggregate;
                    part.containers.retain(|other| (&other.id, other.seq) != (&list.id, list.seq));
                    part.containers.push(list);
                }
                Deed::Hide(at) if at < part.containers.len() => drop(part.containers.remove(at)),
                Deed::Clean(at) if at < part.containers.len() => {
                    let seq = part.containers[at].seq;
                    part.containers[at].list = clean("a", 1, seq, 12).0.list;
                }
                Deed::Hide(_) | Deed::Clean(_) => {}
                Deed::Cut { lines } => {
                    let text = String::from_utf8(part.aggregate.to_vec()).unwrap();
                    let kept: String = text.split_inclusive('\n').take(lines).collect();
                    part.aggregate = kept.into_bytes().into();
                }
                Deed::First(first) => part.first = first,
            }
        }
        let evidence = forger.shows(parts);
        let mut expect = world.expect(&forger.node);
        expect.containers.push(ExpectedContainer { seq: Some(77), ..world.container("a", 1) });
        expect.containers.iter_mut().for_each(|container| container.optional = true);
        let verified = check(&evidence, &expect, seen.then_some(&forger.seen));
        prop_assert_ne!(verified.verdict.conclusion(), Conclusion::Trusted);
        let told = verified.verdict.findings().iter().any(|finding| !finding.is_note());
        prop_assert!(told, "{:#?}", verified.verdict);
    }
}
