//! Each forgery, and the name that it is told by.

use super::*;
use crate::tampered::host;

/// What root does, and by which names it is told to who saw the node before, and to who did not.
pub(super) type Forgery = (&'static str, fn(&mut Forger) -> Evidence, &'static str);

pub(super) const FORGERIES: &[Forgery] = &[
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
