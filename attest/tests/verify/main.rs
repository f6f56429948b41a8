//! What evidence is trusted, what is not, and by what name that is told.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod again;
mod boots;
mod cut;
mod firmware;
mod forged;
mod images;
mod kernel;
mod lists;
mod ran;
#[path = "../tamper/mod.rs"]
mod tamper;
mod tampered;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lacre_attest::container::{Keeper, Secret};
use lacre_attest::enrol::{NodeState, Trust};
use lacre_attest::evidence::{Evidence, EvidenceError, ListPart};
use lacre_attest::ima::write;
use lacre_attest::pcr::{self, ListPcr};
use lacre_attest::testing::{BootEvent, Node, boot_log, ima_buf, keep};
use lacre_attest::tpm2::Selection;
use lacre_attest::verify::{
    Answer, Conclusion, Expectations, ExpectedAnchor, ExpectedContainer, Finding, HostPolicy,
    KernelFault, KernelPolicy, ListName, Log, Nonce, Question, Seen, Verified, verify,
};
use lacre_types::{
    Algorithm, CanonicalPath, Digest, Digests, Kind, Listed, ViolationKind, Whitelist,
};
use tamper::{entries, entry};

/// Where evidence is kept, to be verified anew.
const KEPT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/evidence");

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
        let (id, secret) = (id.to_owned(), Some(secret(n)));
        let baseline: Option<&dyn Whitelist> = Some(&self.image);
        let (seq, keeper) = (None, Some(Keeper::Kernel));
        ExpectedContainer { id, secret, seq, keeper, baseline, optional: false }
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
            anchors: ExpectedAnchor::standard(true),
            selection: Selection::of(Algorithm::Sha256, (0..=10).chain([12])),
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
    let verified = verify(&evidence, expect, seen, NOW);
    keep(Path::new(KEPT), &evidence, expect, seen, NOW, &verified);
    verified
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
        // Whose list was not checked, its events are not accounted for either.
        if name == "container-list" {
            let verified = check(&evidence, &expect, None);
            assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
            assert_eq!(names(&verified), BTreeSet::from(["EVENTS_UNCLAIMED"]));
            expect.waived.insert("aggregate-complete".to_owned());
            let verified = check(&evidence, &expect, None);
            assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "without a reason");
            expect.excused.insert("aggregate-complete".to_owned(), "another tenant's".to_owned());
        }
        let verified = check(&evidence, &expect, None);
        assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{name} waived");
    }
    let nothing = Expectations::default();
    let verified = check(&evidence, &nothing, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
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
    let others = Finding::EventsUnclaimed { log: Log::Aggregate(Keeper::Kernel), events: 4 };
    assert!(verified.verdict.findings().contains(&others), "{:#?}", verified.verdict);

    // Another's secret opens nothing of it.
    expect.containers[0].secret = Some(secret(2));
    let verified = check(&evidence, &expect, None);
    assert!(names(&verified).contains("NOT_ANCHORED"));
}
