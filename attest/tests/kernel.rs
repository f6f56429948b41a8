//! The lists of a real kernel, and the PCRs of the TPM beneath it (`tests/data/README.md`).
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;

use lacre_attest::container::{Aggregate, Audited, Key, Secret, audit, parse_line};
use lacre_attest::ima::{Form, Stream};
use lacre_attest::pcr;
use lacre_attest::replay::{Line, Replay};
use lacre_types::{Algorithm, Digest};

const BANKS: [Algorithm; 3] = [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha384];

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("data/kernel-6.12/", $name)).as_slice()
    };
}

fn pcrs() -> BTreeMap<(Algorithm, u32), Digest> {
    let text = std::str::from_utf8(data!("pcrs")).unwrap();
    let pcr = |line: &str| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap();
        let (bank, index, value) = (word(), word(), word());
        (
            (bank.parse().unwrap(), index.parse().unwrap()),
            format!("{bank}:{value}").parse().unwrap(),
        )
    };
    text.lines().map(pcr).collect()
}

#[test]
fn the_hosts_list_replays_to_pcr_10_in_every_bank_and_form() {
    let forms = [
        (data!("host"), Form::Binary, Algorithm::Sha1),
        (data!("host_sha256"), Form::Binary, Algorithm::Sha256),
        (data!("host_ascii"), Form::Ascii, Algorithm::Sha1),
    ];
    let pcrs = pcrs();
    for (list, form, digests) in forms {
        let mut replay = Replay::new(BANKS);
        let mut stream = Stream::new(form, digests);
        let mut boot_aggregate = None;
        stream
            .feed(list, |line, entry| {
                assert_eq!(replay.push(entry, digests), Line::Sound);
                if line == 0 {
                    assert_eq!(entry.name(), Some(b"boot_aggregate".as_slice()));
                    boot_aggregate = entry.file_digest();
                }
            })
            .unwrap();
        stream.finish().unwrap();
        for bank in BANKS {
            assert_eq!(replay.value(bank, 10), Some(pcrs[&(bank, 10)]), "{form:?} {bank}");
        }
        let boot: Vec<&Digest> = (0..=9).map(|index| &pcrs[&(Algorithm::Sha256, index)]).collect();
        let parts: Vec<&[u8]> = boot.iter().map(|value| value.as_bytes()).collect();
        assert_eq!(boot_aggregate, Some(pcr::hash(Algorithm::Sha256, &parts)));
    }
}

#[test]
fn aggregate_replays_to_pcr_12_in_every_bank() {
    let pcrs = pcrs();
    let start = Aggregate::new(BANKS);
    let replayed = start.replay(data!("aggregate"), Some(&pcrs[&(Algorithm::Sha256, 12)])).unwrap();
    assert!(replayed.agrees);
    assert_eq!(replayed.more, 0);
    for bank in BANKS {
        assert_eq!(replayed.state.value(bank), Some(&pcrs[&(bank, 12)]), "{bank}");
    }
}

/// A list's lines, as they are extended to the cPCR.
fn lines(list: &[u8]) -> Vec<Digest> {
    let mut lines = Vec::new();
    let mut stream = Stream::new(Form::Binary, Algorithm::Sha256);
    stream.feed(list, |_, entry| lines.extend(entry.event(Algorithm::Sha256))).unwrap();
    stream.finish().unwrap();
    lines
}

/// The values of the container's events, in their order.
fn values(key: &Key) -> Vec<[u8; 32]> {
    let events = data!("aggregate").split_inclusive(|byte| *byte == b'\n');
    let mut values = Vec::new();
    for event in events.filter_map(parse_line) {
        if event.tag == key.tag(values.len() as u64) {
            values.push(event.value);
        }
    }
    values
}

#[test]
fn each_container_is_vouched_for_by_its_own_secret_alone() {
    let containers = [("web", 1u8, data!("web"), 3), ("shop", 2, data!("shop"), 2)];
    for (id, n, list, count) in containers {
        let seq = u64::from(n);
        let key = Key::new(&Secret::new([n; 32]), seq, id);
        let values = values(&key);
        let audited = audit(&key, &Audited::new(), &lines(list), &values, None).unwrap();
        assert_eq!((audited.lines, audited.events, audited.closed), (count, count + 1, false));
        if id == "web" {
            let told = String::from_utf8(data!("web_cpcr").to_vec()).unwrap();
            assert_eq!(told, format!("{count} {}\n", audited.cpcr));
        }
        let others = Key::new(&Secret::new([3; 32]), seq, id);
        assert!(self::values(&others).is_empty());
    }
    // The two ran the same files; each has them in a list of its own.
    let name = |list: &[u8]| {
        let mut names = Vec::new();
        let mut stream = Stream::new(Form::Binary, Algorithm::Sha256);
        stream.feed(list, |_, entry| names.push(entry.name().unwrap().to_vec())).unwrap();
        names
    };
    assert_eq!(name(data!("shop"))[0], name(data!("web"))[1]);
    assert_eq!(name(data!("web"))[2], b"/disk/bin/my_tool", "a space is logged as `_`");
}
