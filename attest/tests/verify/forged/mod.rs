//! Root on a node, who knows every secret, extends what it likes, sets back what can be set
//! back, and chooses registers, keepers, beginnings, prefixes and lists: none of it is trusted,
//! and each has its name.

mod forgeries;
mod random;

use lacre_attest::container::{Key, Recorded, Recorder, Tagged};
use lacre_attest::evidence::{AnchorPart, ContainerPart};
use lacre_attest::ima::Form;

use super::tampered::aggregate;
use super::*;
use forgeries::FORGERIES;

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
