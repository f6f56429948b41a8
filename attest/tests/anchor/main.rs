//! Lists that the shim keeps, a simulator beneath them; and a node that is enrolled,
//! challenged and attested from end to end.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod batches;
#[path = "../common/mod.rs"]
mod common;
mod example;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use common::{DEADLINE, Swtpm};
use lacre_attest::container::{Keeper, Secret};
use lacre_attest::enrol::{
    Activated, Admission, Challenge, Enrol, EnrolError, NodeState, Pending, Trust,
};
use lacre_attest::evidence::{EkPart, Evidence};
use lacre_attest::ima::write;
use lacre_attest::pcr::{self, ListPcr};
use lacre_attest::testing::keep;
use lacre_attest::tpm::{
    Anchor, AttestationKey, CollectError, Journal, KeyKind, Places, ShimContainer, Tpm, collect,
};
use lacre_attest::tpm2::{EkRoots, Selection};
use lacre_attest::verify::{
    Conclusion, Expectations, ExpectedAnchor, ExpectedContainer, Finding, Seen, Verified,
};
use lacre_types::{Algorithm, Digest};
use tempfile::TempDir;

const PCR: u32 = 14;

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn digest(n: u8) -> Digest {
    Digest::sha256([n; 32])
}

fn selection() -> Selection {
    Selection::of(Algorithm::Sha256, [0, 10, PCR])
}

/// A node without container-IMA: its host's list is a file that the test writes.
struct Node {
    swtpm: Swtpm,
    folder: TempDir,
    host: u64,
}

impl Node {
    fn new() -> Self {
        let (swtpm, folder) = (Swtpm::new(), tempfile::tempdir().unwrap());
        fs::create_dir(folder.path().join("ima")).unwrap();
        fs::write(folder.path().join("ima/binary_runtime_measurements"), "").unwrap();
        Self { swtpm, folder, host: 0 }
    }

    fn places(&self) -> Places {
        Places {
            ima: self.folder.path().join("ima"),
            boot_log: self.folder.path().join("none"),
            journal: Some(self.journal()),
            ..Places::default()
        }
    }

    fn journal(&self) -> Journal {
        let banks = [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha384];
        Journal::open(&self.folder.path().join("journal"), PCR, &banks).unwrap()
    }

    /// What the kernel does when something runs on the host.
    fn measure(&mut self, tpm: &Tpm, name: &str) {
        self.measure_as(tpm, name, &digest(1));
    }

    fn measure_as(&mut self, tpm: &Tpm, name: &str, digest: &Digest) {
        let data = write::ima_ng(digest, name.as_bytes());
        let logged = pcr::hash(Algorithm::Sha1, &[&data]);
        let entry = write::binary(10, logged.as_bytes(), b"ima-ng", &data);
        let path = self.folder.path().join("ima/binary_runtime_measurements");
        let list = [fs::read(&path).unwrap(), entry].concat();
        fs::write(path, list).unwrap();
        self.host += 1;
        let count = self.folder.path().join("ima/runtime_measurements_count");
        fs::write(count, format!("{}\n", self.host)).unwrap();
        tpm.extend(10, vec![pcr::hash(Algorithm::Sha256, &[&data])]).unwrap();
    }
}

/// The two sides talk; who listens in between may alter what is said.
fn enrol(
    swtpm: &Swtpm,
    tpm: &Tpm,
    between: impl FnOnce(&mut Enrol),
) -> (AttestationKey, EkPart, Result<NodeState, EnrolError>) {
    let [root, issuer] = swtpm.authorities();
    let key = tpm.create_ak(KeyKind::Rsa2048, KeyKind::EccP256).unwrap();
    let endorsement = tpm.endorsement(KeyKind::Rsa2048).unwrap();
    let chain = vec![endorsement.certificate.unwrap().into(), issuer.into()];
    let ek = EkPart { public: endorsement.public.into(), chain };
    let mut asks = Enrol { node: "node-1".to_owned(), ek: ek.clone(), ak: key.public.clone() };
    between(&mut asks);
    let makers = EkRoots::new([root.as_slice()]).unwrap();
    let admission = Admission { makers, ..Admission::default() };
    let enrolled =
        Pending::begin(&asks, &admission, [5; 32], now()).and_then(|(pending, proof)| {
            let secret = tpm.activate(&proof.credential).unwrap_or_default().into();
            pending.finish(&Activated { secret }, now())
        });
    (key, ek, enrolled)
}

fn expect<'a>(state: &NodeState, containers: Vec<ExpectedContainer<'a>>) -> Expectations<'a> {
    let waived = ["kernel", "host-programs", "boot-aggregate", "boot-log", "container-baseline"];
    Expectations {
        nonce: state.challenge.clone(),
        ak_name: Some(state.ak_name.to_vec()),
        enrolled: true,
        selection: selection(),
        judged_by: Some(digest(1)),
        containers,
        anchors: [(Keeper::Shim, ExpectedAnchor::at(ListPcr::new(PCR).unwrap()))].into(),
        waived: waived.map(str::to_owned).into(),
        ..Expectations::default()
    }
}

fn container(id: &str, n: u8) -> ExpectedContainer<'static> {
    let (id, secret) = (id.to_owned(), Some(Secret::new([n; 32])));
    let (seq, keeper, baseline) = (None, Some(Keeper::Shim), None);
    ExpectedContainer { id, secret, seq, keeper, baseline, optional: false }
}

fn shim(id: &str, seq: u64, image: Option<&str>) -> ShimContainer {
    ShimContainer { id: id.to_owned(), seq, image: image.map(str::to_owned), left: false }
}

/// Verifies, and keeps the evidence to be verified anew.
fn verify(
    evidence: &Evidence,
    expect: &Expectations<'_>,
    seen: Option<&Seen>,
    now: u64,
) -> Verified {
    let verified = lacre_attest::verify::verify(evidence, expect, seen, now);
    let kept = Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/evidence"));
    keep(kept, evidence, expect, seen, now, &verified);
    verified
}

fn names(verified: &Verified) -> BTreeSet<&'static str> {
    verified.verdict.findings().iter().map(Finding::name).collect()
}

#[test]
fn a_node_is_enrolled_challenged_and_attested() {
    let mut node = Node::new();
    let tpm = node.swtpm.open();
    let (key, ek, enrolled) = enrol(&node.swtpm, &tpm, |_| ());
    let mut state = enrolled.unwrap();
    assert_eq!(state.trust, Trust::Unknown);
    for name in ["/usr/bin/containerd", "/usr/sbin/runc"] {
        node.measure(&tpm, name);
    }
    let tcti = node.swtpm.tcti();
    drop(tpm);

    let pcr = lacre_attest::tpm::PcrOf::new(tcti.clone(), DEADLINE);
    let anchor = Anchor::start(node.journal(), pcr).unwrap();
    let (mut a, seq_a) = anchor.create("a", &Secret::new([1; 32])).unwrap();
    let (mut b, seq_b) = anchor.create("b", &Secret::new([2; 32])).unwrap();
    for n in 0..10 {
        a.push(&digest(n), format!("/bin/a{n}").as_bytes()).unwrap();
        b.push(&digest(n), format!("/bin/b{n}").as_bytes()).unwrap();
    }
    assert!(anchor.wait(DEADLINE), "{:?}", anchor.anchored());
    drop(anchor);
    let shims = [shim("a", seq_a, Some("demo:1")), shim("b", seq_b, None)];

    let tpm = wait_for(&tcti);
    tpm.load_ak(&key).unwrap();
    let attest = |node: &Node, tpm: &Tpm, state: &mut NodeState, nonce| {
        let challenge = state.challenge([nonce; 32], selection(), Some(&digest(1)), now(), 60);
        let ek = Some(ek.clone());
        let evidence =
            collect(tpm, "node-1", &key, ek, &challenge, &node.places(), &shims).unwrap();
        Evidence::parse(&evidence.to_json()).unwrap()
    };
    let both = || vec![container("a", 1), container("b", 2)];
    let evidence = attest(&node, &tpm, &mut state, 7);
    let verified = verify(&evidence, &expect(&state, both()), None, now());
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    let by_shim = verified.verdict.answers().iter().any(|(_, answer)| {
        matches!(answer, lacre_attest::verify::Answer::Passed(seen) if seen.contains("by the shim"))
    });
    assert!(by_shim, "the shim's lists are told as the shim's");

    // The same evidence answers no other challenge.
    state.note(verified, now());
    assert_eq!(state.trust, Trust::Trusted);
    let _ = state.challenge([8; 32], selection(), Some(&digest(1)), now(), 60);
    let seen = state.seen.clone();
    let verified = verify(&evidence, &expect(&state, both()), seen.as_ref(), now());
    assert_eq!(names(&verified), BTreeSet::from(["NONCE_MISMATCH"]));

    // The next time, only what is new.
    node.measure(&tpm, "/bin/new");
    let evidence = attest(&node, &tpm, &mut state, 9);
    assert_eq!(evidence.host.as_ref().unwrap().first, 2);
    assert!(evidence.anchors[0].aggregate.is_empty());
    let verified = verify(&evidence, &expect(&state, both()), state.seen.as_ref(), now());
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    state.note(verified, now());

    // A list that is cut is told, and so is the node from then on.
    let path = node.journal().list(seq_b);
    let list = fs::read(&path).unwrap();
    fs::write(&path, &list[..list.len() - 20]).unwrap();
    let mut whole = state.clone();
    whole.seen = None;
    let evidence = attest(&node, &tpm, &mut whole, 10);
    let verified = verify(&evidence, &expect(&whole, both()), None, now());
    assert!(names(&verified).contains("LOG_TRUNCATED"), "{:?}", names(&verified));
    whole.note(verified, now());
    assert_eq!(whole.trust, Trust::Untrusted);

    // One that holds what is no line is told as it is, not as one that was cut there.
    let mut corrupt = list.clone();
    corrupt[list.len() / 2..].fill(0xff);
    fs::write(&path, &corrupt).unwrap();
    let mut again = state.clone();
    again.seen = None;
    let evidence = attest(&node, &tpm, &mut again, 12);
    let verified = verify(&evidence, &expect(&again, both()), None, now());
    assert_eq!(names(&verified), BTreeSet::from(["LOG_MALFORMED"]));

    // One that can't be read is named; one that the agent removed meanwhile is left out.
    let taken = |state: &mut NodeState| {
        let challenge = state.challenge([13; 32], selection(), None, now(), 60);
        collect(&tpm, "node-1", &key, None, &challenge, &node.places(), &shims)
    };
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let unreadable = taken(&mut again).unwrap_err();
    assert!(matches!(&unreadable, CollectError::Shim { id, .. } if id == "b"), "{unreadable}");
    fs::remove_dir(&path).unwrap();
    fs::write(path.with_extension("json"), "").unwrap();
    let missing = taken(&mut again).unwrap_err();
    assert!(matches!(&missing, CollectError::Shim { id, .. } if id == "b"), "{missing}");
    fs::remove_file(path.with_extension("json")).unwrap();
    let left = taken(&mut again).unwrap();
    assert!(left.anchors[0].containers.iter().all(|list| list.id == "a"));

    // A reboot is told as one, and what was extended then is gone.
    drop(tpm);
    node.swtpm.restart();
    fs::remove_dir_all(node.folder.path().join("journal")).unwrap();
    fs::write(node.folder.path().join("ima/binary_runtime_measurements"), "").unwrap();
    let tpm = node.swtpm.open();
    tpm.load_ak(&key).unwrap();
    node.measure(&tpm, "/usr/sbin/runc");
    let evidence = collect(
        &tpm,
        "node-1",
        &key,
        None,
        &state.challenge([11; 32], selection(), Some(&digest(1)), now(), 60),
        &node.places(),
        &[],
    )
    .unwrap();
    let verified = verify(&evidence, &expect(&state, vec![]), state.seen.as_ref(), now());
    assert_eq!(names(&verified), BTreeSet::from(["REBOOTED"]), "{:#?}", verified.verdict);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
}

#[test]
fn only_a_boot_log_that_is_not_there_is_left_out() {
    let node = Node::new();
    let tpm = node.swtpm.open();
    let key = tpm.create_ak(KeyKind::Rsa2048, KeyKind::EccP256).unwrap();
    let challenge =
        Challenge { nonce: b"nonce".to_vec().into(), selection: selection(), known: None };
    let taken = |boot_log: &Path| {
        let places = Places { boot_log: boot_log.to_owned(), ..node.places() };
        collect(&tpm, "node-1", &key, None, &challenge, &places, &[])
    };
    let log = node.folder.path().join("log");
    assert_eq!(taken(&log).unwrap().boot_log, None);
    fs::write(&log, "log").unwrap();
    assert_eq!(taken(&log).unwrap().boot_log, Some(b"log".to_vec().into()));
    let unreadable = taken(node.folder.path());
    assert!(matches!(unreadable, Err(CollectError::Read { .. })), "{unreadable:?}");
    fs::File::options().write(true).open(&log).unwrap().set_len(1 << 30).unwrap();
    let large = taken(&log);
    assert!(matches!(large, Err(CollectError::TooLarge(_))), "{large:?}");
}

/// A connection of another thread ends when that thread does.
fn wait_for(tcti: &str) -> Tpm {
    Tpm::open(tcti, DEADLINE).unwrap()
}

#[test]
fn a_node_with_a_key_of_another_tpm_is_not_enrolled() {
    let swtpm = Swtpm::new();
    let tpm = swtpm.open();
    let other = Swtpm::other();
    let key = other.open().create_ak(KeyKind::Rsa2048, KeyKind::EccP256).unwrap();
    let (_, _, enrolled) = enrol(&swtpm, &tpm, |asks| asks.ak = key.public.clone());
    assert_eq!(enrolled.unwrap_err(), EnrolError::NotActivated);
    let (_, _, enrolled) = enrol(&swtpm, &tpm, |asks| asks.ak = asks.ek.public.clone());
    assert!(matches!(enrolled, Err(EnrolError::Unsuitable(_))), "{enrolled:?}");
    let (_, _, enrolled) = enrol(&swtpm, &tpm, |asks| asks.ek.chain.truncate(1));
    assert!(matches!(enrolled, Err(EnrolError::Endorsement(_))), "{enrolled:?}");
}
