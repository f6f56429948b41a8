//! What a node shows of itself by its TPM: the agent in the guest, the verifier outside, and
//! what becomes of evidence that is altered between the two.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lacre_attest::container::{Keeper, Secret};
use lacre_attest::evidence::{Evidence, ListPart};
use lacre_attest::expect::Hex;
use lacre_attest::tpm2::Selection;
use lacre_attest::verify::{
    Conclusion, Expectations, ExpectedAnchor, ExpectedContainer, Finding, HostPolicy, KernelPolicy,
    Nonce, Verdict, verify,
};
use lacre_integration::vm::{Guest, Kernel, shared};
use lacre_types::{Algorithm, CanonicalPath, Digest, Kind, Listed, Whitelist};

use super::ima::IMA;

pub(crate) const NONCE: [u8; 4] = [0x5e, 0xa1, 0xed, 0x01];
/// Its key is on the disk, and outlives a boot. Where a maker vouches for the TPM, what stands
/// between the two is shown, too.
const AGENT: &str = "if [ -e /root/issuer.pem ]; then export LACRE_EK_CHAIN=/root/issuer.pem; fi
    LACRE_ATTESTD_STATE=/root/attestd LACRE_EVIDENCE= /lacre/bin/lacre-attestd";
/// The agent's for its TPM is 15 s; it may have to ask twice, and the guest is slow.
const DEADLINE: Duration = Duration::from_secs(60);
/// What the host's own trust is about.
pub(crate) const PROGRAMS: [&str; 4] = [
    "/opt/1.6/containerd",
    "/opt/1.6/containerd-shim-runc-v2",
    "/opt/runc/runc",
    "/lacre/bin/containerd-shim-lacre-v1",
];

/// What the host may run, and nothing else.
struct Programs(HashMap<CanonicalPath, Digest>);

impl Whitelist for Programs {
    fn entry(&self, path: &CanonicalPath) -> Option<Listed> {
        let digests = [*self.0.get(path)?].into_iter().collect();
        Some(Listed { path: path.clone(), digests, size: 0, kind: Kind::Elf })
    }
}

/// A node, and what a verifier has been told of it before.
pub(crate) struct Node {
    pub(crate) evidence: Evidence,
    attestation_key: Vec<u8>,
    boot_aggregate: Digest,
    programs: Programs,
    containers: Vec<(String, Secret)>,
}

impl Node {
    /// What it shows of itself for that nonce.
    pub(crate) fn of(guest: &mut Guest, nonce: &[u8], containers: &[&str]) -> Result<Self> {
        let keys = guest.run(&format!("{AGENT} keys"))?;
        let key = keys.lines().find_map(|line| line.strip_prefix("attestationKey: "));
        let key: Hex = key.context("no key")?.parse().map_err(anyhow::Error::msg)?;
        guest.run(&format!("{AGENT} quote --nonce {} >/tmp/evidence", Hex(nonce.to_vec())))?;
        let evidence = Evidence::parse(&guest.read("/tmp/evidence")?)?;
        let first = guest.run(&format!("head -n 1 {IMA}/ascii_runtime_measurements"))?;
        let boot_aggregate = first.split(' ').nth(3).context("no boot_aggregate")?.parse()?;
        let sums = guest.run(&format!("sha256sum {}", PROGRAMS.join(" ")))?;
        let program = |line: &str| -> Result<_> {
            let (digest, path) = line.split_once("  ").context("no sum")?;
            Ok((CanonicalPath::new(path)?, format!("sha256:{digest}").parse()?))
        };
        let programs = Programs(sums.lines().map(program).collect::<Result<_>>()?);
        let mut node = Self {
            evidence,
            attestation_key: key.0,
            boot_aggregate,
            programs,
            containers: Vec::new(),
        };
        for id in containers {
            let id = format!("lacre--{id}");
            let secret = guest.text(&format!("/var/lib/lacre/secrets/{id}"))?;
            let secret = serde_json::from_value(serde_json::Value::String(secret))?;
            node.containers.push((id, secret));
        }
        Ok(node)
    }

    pub(crate) fn expected(&self, keeps_lists: bool) -> Expectations<'_> {
        // Nobody vouches for a simulator, and nobody measured the guest's firmware.
        let waived = ["endorsement", "boot-log", "container-baseline"];
        // Other tests have containers in that guest, whose secrets this verifier has not.
        let excused = [("aggregate-complete", "the containers of others")];
        let programs = PROGRAMS.iter().filter_map(|path| CanonicalPath::new(path).ok());
        let container = |(id, secret): &(String, Secret)| ExpectedContainer {
            id: id.clone(),
            secret: Some(secret.clone()),
            seq: None,
            keeper: Some(Keeper::Kernel),
            baseline: None,
            optional: false,
        };
        Expectations {
            nonce: Some(Nonce { value: NONCE.to_vec().into(), issued: None, good_for: 0 }),
            ak_name: Some(self.attestation_key.clone()),
            kernel: Some(KernelPolicy {
                boot_aggregate: vec![self.boot_aggregate],
                container_ima: keeps_lists,
                ..KernelPolicy::default()
            }),
            host: Some(HostPolicy {
                baseline: &self.programs,
                programs: programs.collect(),
                everything: false,
            }),
            containers: self.containers.iter().map(container).collect(),
            anchors: ExpectedAnchor::standard(keeps_lists),
            waived: waived.map(str::to_owned).into(),
            excused: excused.map(|(question, why)| (question.to_owned(), why.to_owned())).into(),
            ..Expectations::default()
        }
    }

    /// What is found when the evidence, or what is expected, is altered so.
    fn altered(
        &self,
        keeps_lists: bool,
        alter: impl FnOnce(&mut Evidence, &mut Expectations<'_>),
    ) -> Vec<&'static str> {
        let (mut evidence, mut expected) = (self.evidence.clone(), self.expected(keeps_lists));
        alter(&mut evidence, &mut expected);
        let verdict = verify(&evidence, &expected, None, 0).verdict;
        assert_ne!(verdict.conclusion(), Conclusion::Trusted);
        names(&verdict)
    }
}

/// What was found, notes and others' containers aside.
pub(crate) fn names(verdict: &Verdict) -> Vec<&'static str> {
    let others = |finding: &Finding| matches!(finding, Finding::EventsUnclaimed { .. });
    let findings = verdict.findings().iter();
    let findings = findings.filter(|finding| !finding.is_note() && !others(finding));
    findings.map(|finding| finding.name()).collect()
}

/// How many events the kernel has of containers that were not shown.
fn unclaimed(verdict: &Verdict) -> u64 {
    let events = |finding: &Finding| match finding {
        Finding::EventsUnclaimed { events, .. } => Some(*events),
        _ => None,
    };
    verdict.findings().iter().find_map(events).unwrap_or_default()
}

/// A list's lines (`ima_measurements_show`): PCR, template digest, then two fields with their
/// lengths before them.
pub(crate) fn lines(part: &ListPart) -> Vec<Vec<u8>> {
    let mut rest = &*part.data;
    let mut lines = Vec::new();
    let length = |bytes: &[u8], at: usize| -> Option<usize> {
        let field = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(at + 4 + u32::from_le_bytes(field) as usize)
    };
    let end = |rest: &[u8]| length(rest, length(rest, 4 + part.digests.len())?);
    while let Some((line, after)) = end(rest).and_then(|end| rest.split_at_checked(end)) {
        lines.push(line.to_vec());
        rest = after;
    }
    lines
}

/// One way to alter a list; the other list is one of another container.
type Alter = fn(&mut Vec<Vec<u8>>, &[Vec<u8>]);

fn edit(line: &mut [u8]) {
    // A letter of the name: every length stays as it was.
    if let Some(byte) = line.iter_mut().rev().find(|byte| byte.is_ascii_alphabetic()) {
        *byte ^= 1;
    }
}

const ALTERATIONS: &[(&str, Alter)] = &[
    ("LOG_EDITED", |list, _| edit(&mut list[1])),
    ("LOG_TRUNCATED", |list, _| drop(list.pop())),
    ("LOG_REORDERED", |list, _| list.swap(1, 2)),
    ("LOG_DUPLICATED", |list, _| list.insert(2, list[1].clone())),
];

/// More of them can be told of a list whose every line is anchored by a secret.
const OF_CONTAINERS: &[(&str, Alter)] = &[
    ("LOG_REMOVED", |list, _| drop(list.remove(1))),
    ("LOG_INTERLEAVED", |list, other| {
        let foreign = other.iter().find(|line| !list.contains(line)).cloned();
        list.splice(2..2, foreign);
    }),
    ("LOG_CONCATENATED", |list, other| drop(list.splice(0..0, other.to_vec()))),
    ("LOG_OF_ANOTHER_CONTAINER", |list, other| *list = other.to_vec()),
];

/// Runs a container of lacre's once, so that the host has run all that it needs for that.
pub(crate) fn used(guest: &mut Guest, config: &str) -> Result<()> {
    let run = "ctr run --rm --null-io --runtime io.containerd.lacre.v1";
    guest.run_with(config, &format!("{run} lacre.test/busybox:1 used-by-attested true")).map(drop)
}

/// What is asked of any kernel with IMA.
fn host(node: &Node, keeps_lists: bool) {
    let verified = verify(&node.evidence, &node.expected(keeps_lists), None, 0);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);

    let found = node.altered(keeps_lists, |_, expected| {
        expected.nonce = Some(Nonce { value: vec![1].into(), issued: None, good_for: 0 });
    });
    assert_eq!(found, ["NONCE_MISMATCH"]);
    let found = node.altered(keeps_lists, |_, expected| {
        expected.ak_name = Some(vec![0; 34]);
    });
    assert_eq!(found, ["OTHER_KEY"]);
    // The 23rd is a debugger's, and no list's.
    let found = node.altered(keeps_lists, |_, expected| {
        expected.selection = Selection::of(Algorithm::Sha256, [10, 23]);
    });
    assert_eq!(found, ["SELECTION_OTHER"]);
    for (name, alter) in ALTERATIONS {
        let found = node.altered(keeps_lists, |evidence, _| {
            if let Some(part) = &mut evidence.host {
                let mut list = lines(part);
                alter(&mut list, &[]);
                part.data = list.concat().into();
            }
        });
        assert!(found.contains(name), "{name}: {found:?}");
    }
    let found = node.altered(keeps_lists, |_, expected| {
        let policy = KernelPolicy {
            boot_aggregate: vec![Digest::sha256([7; 32])],
            ..KernelPolicy::default()
        };
        expected.kernel = Some(policy);
    });
    assert_eq!(found, ["KERNEL"]);
    let other = Programs(
        node.programs.0.keys().map(|path| (path.clone(), Digest::sha256([0; 32]))).collect(),
    );
    let expected = Expectations {
        host: node.expected(keeps_lists).host.map(|host| HostPolicy { baseline: &other, ..host }),
        ..node.expected(keeps_lists)
    };
    let verdict = verify(&node.evidence, &expected, None, 0).verdict;
    assert_eq!(names(&verdict).len(), PROGRAMS.len(), "{:?}", verdict.findings());
    assert_eq!(verdict.conclusion(), Conclusion::Untrusted);
}

mod stock_ima {
    use super::*;

    /// The host's own trust: its list, its kernel, and the programs that run containers.
    #[test]
    fn the_host_is_trusted_and_each_alteration_is_told() -> Result<()> {
        let mut guest = shared(Kernel::StockIma)?;
        used(&mut guest, "mode: audit\nsources: [ima]\n")?;
        host(&Node::of(&mut guest, &NONCE, &[])?, false);
        Ok(())
    }

    /// One that breaks, in a guest of its own.
    #[test]
    #[ignore = "make test-vm"]
    fn a_tpm_that_is_gone_is_told_and_nothing_waits_for_it() -> Result<()> {
        let mut guest = Guest::boot(Kernel::StockIma)?;
        Node::of(&mut guest, &NONCE, &[])?;
        guest.break_tpm()?;
        let began = Instant::now();
        let quote = format!("{AGENT} quote --nonce {}", Hex(NONCE.to_vec()));
        let said = guest.run(&format!("{quote} 2>&1 || echo status $?"))?;
        for words in ["lacre-attestd: the TPM does not serve", "status 1"] {
            assert!(said.contains(words), "{words:?} in {said}");
        }
        assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
        Ok(())
    }
}

mod patched {
    use super::*;
    use crate::container_ima::{AUDIT, remove, run};

    #[test]
    #[ignore = "make test-vm"]
    fn containers_are_vouched_for_and_each_alteration_is_told() -> Result<()> {
        let mut guest = shared(Kernel::Patched)?;
        used(&mut guest, AUDIT)?;
        let ids = ["shown-a", "shown-b"];
        for (id, program) in ids.into_iter().zip(["ls", "id"]) {
            let inside = format!("sleep 0; {program} >/dev/null; exec tail -f /dev/null");
            let script = run(id, "", "lacre.test/debian:12", &inside, "/usr/bin/tail");
            guest.run_with(AUDIT, &script)?;
        }
        let node = Node::of(&mut guest, &NONCE, &ids);
        for id in ids {
            guest.run_with(AUDIT, &remove(id))?;
        }
        let node = node?;
        host(&node, true);

        let other = lines(&node.evidence.anchors[0].containers[1].list);
        for (name, alter) in ALTERATIONS.iter().chain(OF_CONTAINERS) {
            let found = node.altered(true, |evidence, _| {
                let part = &mut evidence.anchors[0].containers[0].list;
                let mut list = lines(part);
                alter(&mut list, &other);
                part.data = list.concat().into();
            });
            assert!(found.contains(name), "{name}: {found:?}");
        }

        // A container that is neither shown nor known of is missed all the same.
        let whole = verify(&node.evidence, &node.expected(true), None, 0).verdict;
        let (mut evidence, mut expected) = (node.evidence.clone(), node.expected(true));
        let hidden = evidence.anchors[0].containers.remove(0);
        expected.containers.retain(|container| container.id != hidden.id);
        expected.excused.clear();
        let verdict = verify(&evidence, &expected, None, 0).verdict;
        assert_eq!(verdict.conclusion(), Conclusion::Unproven, "{verdict:#?}");
        assert!(unclaimed(&verdict) > unclaimed(&whole), "{verdict:#?}");
        Ok(())
    }

    /// The kernel's bound for all containers' lines is a parameter, and is reached here: in a
    /// guest of its own.
    #[test]
    #[ignore = "make test-vm"]
    fn an_aggregate_that_is_full_proves_nothing_and_accuses_nobody() -> Result<()> {
        let limit = Duration::from_secs(300);
        let mut guest = Guest::boot_with(Kernel::Patched, "ima.container_events_max=12", limit)?;
        let inside = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do cp /bin/busybox /tmp/$n; /tmp/$n true; \
                      done; exec tail -f /dev/null";
        guest.run_with(AUDIT, &run("many", "", "lacre.test/busybox:1", inside, "/tmp/12"))?;
        let node = Node::of(&mut guest, &NONCE, &["many"])?;
        let verdict = verify(&node.evidence, &node.expected(true), None, 0).verdict;
        assert_eq!(verdict.conclusion(), Conclusion::Unproven, "{verdict:#?}");
        assert_eq!(names(&verdict), ["LOG_OVERFLOWED"], "{verdict:#?}");
        assert_eq!(unclaimed(&verdict), 0, "{verdict:#?}");
        Ok(())
    }
}
