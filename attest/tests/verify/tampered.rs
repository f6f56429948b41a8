//! Each tampering of a quote and of lists, and the name that it is told by.

use super::*;

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

pub(crate) fn host(e: &mut Evidence, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
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
    ("an empty list", |_, e| e.host.as_mut().unwrap().data.0.clear(), &["LOG_TRUNCATED"]),
    ("no list", |_, e| e.host = None, &["LOG_MISSING"]),
    ("noise", |_, e| e.host.as_mut().unwrap().data.0 = vec![0xff; 100], &["LOG_MALFORMED"]),
];

pub(crate) fn container(e: &mut Evidence, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let part = &mut e.anchors[0].containers[0].list;
    let mut list = entries(&part.data, part.digests);
    change(&mut list);
    part.data = list.concat().into();
}

pub(crate) fn line(n: u8, name: &str) -> Vec<u8> {
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

pub(crate) fn aggregate(e: &mut Evidence, change: impl FnOnce(&mut Vec<String>)) {
    let text = String::from_utf8(e.anchors[0].aggregate.to_vec()).unwrap();
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    change(&mut lines);
    e.anchors[0].aggregate = lines.concat().into_bytes().into();
}

/// What may be somebody else's extend leaves the question open, and names the PCR.
const OPEN: &[Tampering] = &[
    (
        "a line edited",
        |_, e| aggregate(e, |l| l[2] = l[2].replace('a', "b")),
        &["AGGREGATE_NOT_REPLAYED"],
    ),
    ("the end cut off", |_, e| aggregate(e, |l| drop(l.pop())), &["AGGREGATE_NOT_REPLAYED"]),
    ("lines swapped", |_, e| aggregate(e, |l| l.swap(2, 3)), &["AGGREGATE_NOT_REPLAYED"]),
    ("nothing", |_, e| e.anchors[0].aggregate.0.clear(), &["AGGREGATE_NOT_REPLAYED"]),
];

const AGGREGATE: &[Tampering] = &[
    ("a batch left out", |_, e| aggregate(e, |l| drop(l.remove(1))), &["AGGREGATE_MALFORMED"]),
    ("no start", |_, e| aggregate(e, |l| drop(l.remove(0))), &["AGGREGATE_MALFORMED"]),
    ("noise", |_, e| e.anchors[0].aggregate.0 = vec![7; 99], &["AGGREGATE_MALFORMED"]),
];

#[test]
fn every_tampering_is_told_by_name() {
    let (node, world) = (node(), world());
    for (what, tamper, expected) in [QUOTES, HOST, CONTAINER, AGGREGATE, OPEN].concat() {
        let open = expected == ["AGGREGATE_NOT_REPLAYED"];
        let conclusion = if open { Conclusion::Unproven } else { Conclusion::Untrusted };
        let mut evidence = node.evidence(b"fresh");
        tamper(&node, &mut evidence);
        let verified = check(&evidence, &world.expect(&node), None);
        let found = names(&verified);
        assert_eq!(verified.verdict.conclusion(), conclusion, "{what}");
        for name in expected {
            assert!(found.contains(name), "{what}: expected {name}, found {found:?}");
        }
        let others = verified.verdict.findings().iter().filter(|finding| {
            // What follows from it: a kernel without lists, programs that were not seen.
            let follows =
                ["KERNEL", "HOST_PROGRAM_UNSEEN", "UNANCHORED", "OTHER_KEY", "EVENTS_UNCLAIMED"];
            !expected.contains(&finding.name()) && !follows.contains(&finding.name())
        });
        let others: Vec<_> = others.collect();
        assert!(others.is_empty() || expected.len() > 1, "{what}: also {others:?}");
    }
}
