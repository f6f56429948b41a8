//! Containers' lists and `aggregate`: the kernel's own test vector, and properties.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use lacre_attest::container::{
    Aggregate, AggregateError, Audited, Fault, Key, Kind, Recorded, Recorder, Secret, audit,
    parse_line,
};
use lacre_attest::pcr;
use lacre_types::{Algorithm, Digest};
use proptest::prelude::*;

/// `kernel/INTERFACE.md`, "Test vector".
const VECTOR: &str = "\
12 0 0000000000000000000000000000000000000000000000000000000000000000 \
0000000000000000000000000000000000000000000000000000000000000000
12 1 6ae024c7a995dd38cdfeb6346eb9cc3660a88219ddbe147e2cffeb5c8b6c7b63 \
b0e0791d2cd3207d84b429b5114b5b26649b71c6f519a7aebf1d6b660c25d156
12 1 6ba01fc02ef62e6a0a6335c7ba09f50a3506b325fe8f08f68bc559686bbd4da0 \
a2448391140e2bb97878d72f36c34838fad309c7bada070abcf469d56555d789
12 2 4dd7ef894d1b3d8413f802fab7f095bccf2d2a520970629eda01a5a368bc6d11 \
85fbfd96bc36c9071d801cb42b567dcc21c1e9eead32ab767fa57af00b8bd1c0
12 2 bb0761de34ad1be2eeb81d593a15643083ab3ada1de7c3b2d1ffff815becbe54 \
daecb5f457009b2b4d6ecd11efd57a6663674ea587f2234e455e697744c01da4
";
const PCR: &str = "sha256:d94d4bfb5ef32dc99fb26073d7e509db31b3f21f440a722d06f0c1c79ebd2148";
const CPCR: &str = "sha256:9fd0b30550b705a6651b1ba2a69832a87ec62b3c11134f74a3f2f5c3650802fe";

fn secret() -> Secret {
    let mut bytes = [0; 32];
    (0u8..).zip(&mut bytes).for_each(|(n, byte)| *byte = n);
    Secret::new(bytes)
}

#[test]
fn the_kernels_vector_is_replayed_and_opened() {
    let quoted: Digest = PCR.parse().unwrap();
    let start = Aggregate::new([Algorithm::Sha256]);
    let replayed = start.replay(VECTOR.as_bytes(), Some(&quoted)).unwrap();
    assert!(replayed.agrees);
    assert_eq!((replayed.more, replayed.state.lines, replayed.state.pcr), (0, 5, Some(12)));

    let key = Key::new(&secret(), 7, "box");
    let events: Vec<_> =
        VECTOR.split_inclusive('\n').skip(1).map(|l| parse_line(l.as_bytes()).unwrap()).collect();
    for (n, event) in (0..).zip(&events) {
        assert_eq!(event.tag, key.tag(n));
    }
    let values: Vec<_> = events.iter().map(|event| event.value).collect();
    let one = pcr::hash(Algorithm::Sha256, &[b"one"]);
    let lines = [one, pcr::repeated(Algorithm::Sha256, 0xff)];
    let audited = audit(&key, &Audited::new(), &lines, &values, None).unwrap();
    assert_eq!((audited.lines, audited.events, audited.closed), (2, 4, true));
    assert_eq!(audited.cpcr, CPCR.parse().unwrap());

    // The same container made again has other tags.
    assert_ne!(Key::new(&secret(), 8, "box").tag(0), events[0].tag);
}

#[test]
fn a_text_that_no_kernel_writes_is_refused() {
    let start = Aggregate::new([Algorithm::Sha256]);
    let replay = |text: &str| start.replay(text.as_bytes(), None).map(drop);
    let lines: Vec<&str> = VECTOR.split_inclusive('\n').collect();
    let cases = [
        (lines[1..].concat(), AggregateError::Start),
        ([lines[0], lines[3]].concat(), AggregateError::Batch { line: 1, got: 2, last: 0 }),
        ([lines[0], lines[0]].concat(), AggregateError::Batch { line: 1, got: 0, last: 0 }),
        (
            VECTOR.replacen("12 1", "11 1", 1),
            AggregateError::Pcr { line: 1, got: 11, expected: 12 },
        ),
        (VECTOR.trim_end().to_owned(), AggregateError::Line(4)),
        (VECTOR.replace("12 2 4", "12 2  4"), AggregateError::Line(3)),
        (VECTOR.replace('a', "A"), AggregateError::Line(1)),
    ];
    for (text, error) in cases {
        assert_eq!(replay(&text), Err(error));
    }
    let full = format!("12 3 {0} {0}\n", "ff".repeat(32));
    let replayed = start.replay([VECTOR, &full].concat().as_bytes(), None).unwrap();
    assert!(replayed.state.full);
    let expected = pcr::extended(&PCR.parse().unwrap(), &[0xff; 32]);
    assert_eq!(replayed.state.value(Algorithm::Sha256), Some(&expected));
    let after = [VECTOR, &full, &full.replace("12 3", "12 4")].concat();
    assert_eq!(replay(&after), Err(AggregateError::AfterFull(6)));
}

/// A container's list and its anchored values.
fn recorded(lines: &[u8], closed: bool) -> (Key, Vec<Digest>, Vec<[u8; 32]>) {
    let key = Key::new(&secret(), 1, "a");
    let (mut list, event) = Recorded::create(key.clone(), 12);
    let (mut digests, mut values) = (Vec::new(), vec![event.1]);
    for (n, name) in lines.iter().enumerate() {
        let name = format!("/bin/{n}-{name}");
        let digest = Digest::sha256([*name.as_bytes().last().unwrap(); 32]);
        let data = lacre_attest::ima::write::ima_ng(&digest, name.as_bytes());
        let (_, event) = list.file(&digest, name.as_bytes());
        digests.push(pcr::hash(Algorithm::Sha256, &[&data]));
        values.push(event.1);
    }
    if closed {
        values.push(list.close().1);
    }
    (key, digests, values)
}

proptest! {
    #[test]
    fn a_true_list_is_vouched_for_in_pieces_as_in_one(
        lines in proptest::collection::vec(any::<u8>(), 0..30),
        at in any::<prop::sample::Index>(),
        closed in any::<bool>(),
    ) {
        let (key, digests, values) = recorded(&lines, closed);
        let whole = audit(&key, &Audited::new(), &digests, &values, None).unwrap();
        prop_assert_eq!((whole.lines, whole.closed), (lines.len() as u64, closed));
        let at = at.index(lines.len() + 1);
        let first = audit(&key, &Audited::new(), &digests, &values[..=at], None).unwrap();
        prop_assert_eq!(first.lines, at as u64);
        let kept: Audited =
            serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
        let rest = audit(&key, &kept, &digests[at..], &values[at + 1..], None).unwrap();
        prop_assert_eq!(rest, whole);
    }

    #[test]
    fn no_tampering_goes_unseen_and_its_line_is_told(
        lines in proptest::collection::vec(any::<u8>(), 2..30),
        a in any::<prop::sample::Index>(),
        b in any::<prop::sample::Index>(),
        closed in any::<bool>(),
    ) {
        let (key, good, values) = recorded(&lines, closed);
        let (a, b) = (a.index(good.len()), b.index(good.len()));
        let fault = |list: &[Digest]| {
            let count = Some(good.len() as u64);
            audit(&key, &Audited::new(), list, &values, count).map_err(|(fault, _)| fault)
        };
        let at = a as u64;
        let mut edited = good.clone();
        edited[a] = Digest::sha256([1; 32]);
        prop_assert_eq!(fault(&edited), Err(Fault::Edited(at)));
        let lines = good.len() as u64 - 1 - at;
        let missing = good.len() as u64 - lines + u64::from(closed);
        let cut = fault(&good[..good.len() - 1 - a]);
        prop_assert_eq!(cut, Err(Fault::Truncated { lines, missing }));
        let mut foreign = good.clone();
        foreign.insert(a, Digest::sha256([1; 32]));
        prop_assert_eq!(fault(&foreign), Err(Fault::Interleaved { line: at, count: 1 }));
        if b < a {
            let mut twice = good.clone();
            twice.insert(a, good[b]);
            prop_assert_eq!(fault(&twice), Err(Fault::Duplicated(at)));
            let mut swapped = good.clone();
            swapped.swap(a, b);
            prop_assert_eq!(fault(&swapped), Err(Fault::Reordered(b as u64)));
        }
        if a + 1 < good.len() {
            let mut removed = good.clone();
            removed.remove(a);
            prop_assert_eq!(fault(&removed), Err(Fault::Removed(at)));
        }
    }

    #[test]
    fn an_aggregate_goes_on_where_it_was_kept(
        batches in proptest::collection::vec(proptest::collection::vec(0u8..255, 1..5), 0..12),
        at in any::<prop::sample::Index>(),
        start in any::<u8>(),
    ) {
        let (mut recorder, first) = Recorder::begin(12, [start; 32]);
        let mut texts = vec![first.text.clone()];
        let mut value = pcr::extended(
            &Digest::sha256([start; 32]),
            first.digest(Algorithm::Sha256).as_bytes(),
        );
        for batch in &batches {
            let events: Vec<_> = batch.iter().map(|n| ([*n; 32], [*n; 32])).collect();
            let batch = recorder.batch(&events);
            value = pcr::extended(&value, batch.digest(Algorithm::Sha256).as_bytes());
            texts.push(batch.text);
        }
        let begin = Aggregate::new([Algorithm::Sha256]);
        let whole = begin.replay(texts.concat().as_bytes(), Some(&value)).unwrap();
        prop_assert!(whole.agrees);
        prop_assert_eq!(whole.state.value(Algorithm::Sha256), Some(&value));
        let at = at.index(texts.len()) + 1;
        let kept = begin.replay(texts[..at].concat().as_bytes(), None).unwrap().state;
        let kept: Aggregate =
            serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
        let rest = kept.replay(texts[at..].concat().as_bytes(), Some(&value)).unwrap();
        prop_assert_eq!(&rest.state, &whole.state);
        // More than the PCR vouches for is told apart from it.
        let before = *kept.value(Algorithm::Sha256).unwrap();
        let early = begin.replay(texts.concat().as_bytes(), Some(&before)).unwrap();
        prop_assert!(early.agrees);
        prop_assert_eq!(early.anchored, texts[..at].concat().len());
    }
}

#[test]
fn only_the_event_that_was_anchored_has_its_value() {
    let key = Key::new(&secret(), 7, "box");
    let value = key.value(0, Kind::Create, &[0; 32]);
    assert_ne!(value, key.value(0, Kind::Line, &[0; 32]));
    assert_ne!(value, key.value(1, Kind::Create, &[0; 32]));
    assert_eq!(format!("{key:?} {:?}", secret()), "Key(…) Secret(…)");
}
