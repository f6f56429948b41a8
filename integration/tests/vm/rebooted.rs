//! A node that is rebooted: what it then shows, and what it could show of the boot before
//! instead. The verifier is outside, and keeps what it saw. The guest is its own.

use std::fs;
use std::time::SystemTime;

use anyhow::{Context, Result};
use lacre_attest::evidence::{AnchorPart, ContainerPart, Evidence, ListPart};
use lacre_attest::expect::makers;
use lacre_attest::tpm2::EkRoots;
use lacre_attest::verify::{Conclusion, Expectations, Log, Nonce, Seen, Verified, verify};
use lacre_integration::vm::{Guest, Kernel, Maker};

use super::attested::{Node, lines, names, used};
use super::container_ima::{AUDIT, remove, run};
use super::put;

const NONCES: [&[u8]; 2] = [b"the first boot", b"the second boot"];
const IDS: [&str; 2] = ["same", "other"];

/// What a boot has: a program of the host that the other has not, a container that is the same
/// in both, and one that runs a program of its own; and what the node then shows.
fn life(guest: &mut Guest, nonce: &[u8], program: &str) -> Result<Node> {
    guest.run(&format!("mkdir -p /root/{program}; cp /bin/busybox /root/{program}/true"))?;
    guest.run(&format!("/root/{program}/true"))?;
    used(guest, AUDIT)?;
    for (id, program) in IDS.into_iter().zip(["true", program]) {
        let inside = format!("sleep 0; {program} >/dev/null; exec tail -f /dev/null");
        let script = run(id, "", "lacre.test/debian:12", &inside, "/usr/bin/tail");
        // That of the boot before is still known to containerd, and runs no more.
        let forget = format!("{{ {}; }} 2>/dev/null || true", remove(id));
        guest.run_with(AUDIT, &format!("{forget}\n{script}"))?;
    }
    Node::of(guest, nonce, &IDS)
}

/// What a verifier expects who has just handed out that nonce, of TPMs of these makers.
fn expected<'a>(node: &'a Node, nonce: &[u8], makers: &EkRoots) -> Expectations<'a> {
    let nonce = Nonce { value: nonce.to_vec().into(), issued: None, good_for: 0 };
    let mut expected = node.expected(true);
    expected.waived.remove("endorsement");
    Expectations { nonce: Some(nonce), ek_roots: Some(makers.clone()), ..expected }
}

/// A verifier that trusts that maker.
fn trusting(maker: &Maker) -> Result<EkRoots> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("root.pem"), maker.root()?)?;
    Ok(makers(&["root.pem".into()], folder.path())?)
}

fn kernels(evidence: &mut Evidence) -> Result<&mut AnchorPart> {
    evidence.anchors.first_mut().context("the kernel's lists are not there")
}

fn container<'a>(evidence: &'a mut Evidence, id: &str) -> Result<&'a mut ContainerPart> {
    let mut lists = kernels(evidence)?.containers.iter_mut();
    lists.find(|list| list.id == format!("lacre--{id}")).context("no such list")
}

/// Has an earlier list stand before another.
fn put_before(earlier: &ListPart, list: &mut ListPart) {
    list.data = [&*earlier.data, &*list.data].concat().into();
}

/// The same evidence with something done to it, and the name that this is told by.
type Case = (&'static str, fn(&mut Evidence, &Evidence) -> Result<()>, &'static str);

const CASES: &[Case] = &[
    (
        "the host's list",
        |now, before| {
            now.host.clone_from(&before.host);
            Ok(())
        },
        "LOG_OF_ANOTHER_BOOT",
    ),
    (
        "a line of it among this boot's",
        |now, before| {
            let earlier = lines(before.host.as_ref().context("no list")?);
            let host = now.host.as_mut().context("no list")?;
            let mut list = lines(host);
            let foreign = earlier.into_iter().find(|line| !list.contains(line));
            list.insert(2, foreign.context("the two boots ran the same")?);
            host.data = list.concat().into();
            Ok(())
        },
        "LOG_INTERLEAVED",
    ),
    (
        "aggregate",
        |now, before| {
            kernels(now)?.aggregate = kernels(&mut before.clone())?.aggregate.clone();
            Ok(())
        },
        "LOG_OF_ANOTHER_BOOT",
    ),
    (
        "all that the kernel keeps of containers",
        |now, before| {
            now.anchors.clone_from(&before.anchors);
            Ok(())
        },
        "LOG_OF_ANOTHER_BOOT",
    ),
    (
        "a container's list",
        |now, before| {
            container(now, "other")?.list = container(&mut before.clone(), "other")?.list.clone();
            Ok(())
        },
        "LOG_OF_ANOTHER_BOOT",
    ),
    (
        "the host's two lists in one",
        |now, before| {
            let host = now.host.as_mut().context("no list")?;
            put_before(before.host.as_ref().context("no list")?, host);
            Ok(())
        },
        "LOG_CONCATENATED",
    ),
    (
        "two aggregates in one",
        |now, before| {
            let earlier = kernels(&mut before.clone())?.aggregate.clone();
            let part = kernels(now)?;
            part.aggregate = [&*earlier, &*part.aggregate].concat().into();
            Ok(())
        },
        "LOG_CONCATENATED",
    ),
    (
        "a container's two lists in one",
        |now, before| {
            let earlier = container(&mut before.clone(), "other")?.list.clone();
            put_before(&earlier, &mut container(now, "other")?.list);
            Ok(())
        },
        "LOG_CONCATENATED",
    ),
    (
        "two containers' lists in one",
        |now, _| {
            let other = container(now, "same")?.list.clone();
            put_before(&other, &mut container(now, "other")?.list);
            Ok(())
        },
        "LOG_CONCATENATED",
    ),
    (
        "the quote of before",
        |now, before| {
            now.quote = before.quote.clone();
            now.pcrs.clone_from(&before.pcrs);
            Ok(())
        },
        "NONCE_MISMATCH",
    ),
];

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs())
}

fn faults(verified: &Verified) -> Vec<&'static str> {
    assert_eq!(verified.verdict.conclusion(), Conclusion::Untrusted, "{:#?}", verified.verdict);
    names(&verified.verdict)
}

fn seen(node: &Node, expected: &Expectations<'_>, before: Option<&Seen>) -> Result<Verified> {
    let verified = verify(&node.evidence, expected, before, now()?);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    Ok(verified)
}

mod patched {
    use super::*;

    #[test]
    #[ignore = "make test-vm"]
    fn a_reboot_is_told_and_nothing_of_the_boot_before_passes_for_this_one() -> Result<()> {
        let (maker, other) = (Maker::new()?, Maker::new()?);
        other.make(tempfile::tempdir()?.path())?;
        let mut guest = Guest::boot_made_by(Kernel::Patched, &maker)?;
        put(&mut guest, "/root/issuer.pem", &maker.issuer()?)?;
        let before = life(&mut guest, NONCES[0], "ls")?;
        guest.reboot()?;
        let after = life(&mut guest, NONCES[1], "id")?;

        let makers = trusting(&maker)?;
        let first = seen(&before, &expected(&before, NONCES[0], &makers), None)?;
        let known = first.seen.context("nothing was seen")?;
        let expect = expected(&after, NONCES[1], &makers);
        let second = seen(&after, &expect, Some(&known))?;
        // Something may run just after the quote.
        let told = second.verdict.findings().iter().map(|finding| finding.name());
        let told: Vec<_> = told.filter(|name| *name != "UNANCHORED").collect();
        // The container that was only there to be run is gone, and its events are not.
        assert_eq!(told, ["REBOOTED", "EVENTS_UNCLAIMED"]);
        // All of it is new.
        let host = after.evidence.host.as_ref().context("no list")?;
        let kernels = &after.evidence.anchors[0];
        assert_eq!((host.first, kernels.first), (0, 0));

        for (what, alter, name) in CASES {
            let mut evidence = after.evidence.clone();
            alter(&mut evidence, &before.evidence)?;
            let found = faults(&verify(&evidence, &expect, Some(&known), now()?));
            assert!(found.contains(name), "{what}: {name} is not among {found:?}");
            // Who has seen nothing before can tell two lists, and no other boot.
            if *name == "LOG_CONCATENATED" {
                let found = faults(&verify(&evidence, &expect, None, now()?));
                assert!(found.contains(name), "{what}: {name} is not among {found:?}");
            }
        }

        // Behind its own list, only who has seen it knows it for one.
        let mut evidence = after.evidence.clone();
        let earlier = before.evidence.host.as_ref().context("no list")?;
        let mut behind = earlier.clone();
        put_before(host, &mut behind);
        evidence.host = Some(behind);
        let found = faults(&verify(&evidence, &expect, Some(&known), now()?));
        assert_eq!(found, ["LOG_CONCATENATED"]);
        let verified = verify(&evidence, &expect, None, now()?);
        assert!(names(&verified.verdict).is_empty(), "{:?}", verified.verdict.findings());
        assert_eq!(verified.lines[&Log::Host], second.lines[&Log::Host], "they are not counted");

        // A TPM of another maker than the one that is trusted.
        let strange = expected(&after, NONCES[1], &trusting(&other)?);
        let found = faults(&verify(&after.evidence, &strange, Some(&known), now()?));
        assert_eq!(found, ["ENDORSEMENT"]);

        // All that the first boot showed, once the second is known.
        let known = second.seen.context("nothing was seen")?;
        let found = faults(&verify(&before.evidence, &expect, Some(&known), now()?));
        for name in ["NONCE_MISMATCH", "CLOCK_WENT_BACK"] {
            assert!(found.contains(&name), "{name} is not among {found:?}");
        }
        Ok(())
    }
}
