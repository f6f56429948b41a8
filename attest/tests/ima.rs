//! Measurement lists: real lines, every template, hostile bytes, replay.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod tamper;

use lacre_attest::ima::{
    Ascii, Container, Endian, Entry, EntryError, Form, LogError, MAX_DATA, Stream, next_binary,
    write,
};
use lacre_attest::pcr;
use lacre_attest::replay::{Fill, Line, Replay};
use lacre_types::{Algorithm, Digest};
use proptest::prelude::*;
use tamper::entries;

/// Lines that kernels have printed: the first by any machine without a TPM, the others are
/// the IMA wiki's examples.
const PRINTED: &[&str] = &[
    "10 1d8d532d463c9f8c205d0df7787669a85f93e260 ima-ng \
     sha1:0000000000000000000000000000000000000000 boot_aggregate",
    "10 7971593a7ad22a7cce5b234e4bc5d71b04696af4 ima \
     b5a166c10d153b7cc3e5b4f1eab1f71672b7c524 boot_aggregate",
    "10 2c7020ad8cab6b7419e4973171cb704bdbf52f77 ima \
     e09e048c48301268ff38645f4c006137e42951d0 /init",
    "10 247dba6fc82b346803660382d1973c019243e59f ima \
     747acb096b906392a62734916e0bb39cef540931 ld-2.9.so",
];

#[test]
fn printed_lines_give_their_digests() {
    for line in PRINTED {
        let mut ascii = Ascii::default();
        let entry = ascii.line(line.as_bytes()).unwrap();
        let digest = entry.template_digest(Algorithm::Sha1).unwrap();
        assert_eq!(digest.as_bytes(), entry.logged, "{line}");
    }
}

/// Feeds a list in pieces of that size, and hands each entry over.
fn feed(
    form: Form,
    digests: Algorithm,
    list: &[u8],
    piece: usize,
    mut each: impl FnMut(&Entry<'_>),
) -> Result<u64, LogError> {
    let mut stream = Stream::new(form, digests);
    for piece in list.chunks(piece.max(1)) {
        stream.feed(piece, |_, entry| each(entry))?;
    }
    stream.finish().map(|()| stream.lines())
}

fn replayed(list: &[u8]) -> Replay {
    let mut replay = Replay::new([Algorithm::Sha256, Algorithm::Sha1, Algorithm::Sha384]);
    feed(Form::Binary, Algorithm::Sha1, list, usize::MAX, |entry| {
        let _ = replay.push(entry, Algorithm::Sha1);
    })
    .unwrap();
    replay
}

/// Fields, each with its length.
fn data(fields: &[&[u8]]) -> Vec<u8> {
    let with_len =
        |field: &&[u8]| [&u32::try_from(field.len()).unwrap().to_le_bytes(), *field].concat();
    fields.iter().flat_map(with_len).collect()
}

fn made(template: &str, data: &[u8]) -> Vec<u8> {
    let logged = pcr::hash(Algorithm::Sha1, &[data]);
    write::binary(10, logged.as_bytes(), template.as_bytes(), data)
}

fn d_ng(n: u8) -> Vec<u8> {
    [b"sha256:\0".as_slice(), &[n; 32]].concat()
}

#[test]
fn every_template_tells_what_it_carries() {
    let d = d_ng(7);
    let buffer = pcr::hash(Algorithm::Sha256, &[b"buffer"]);
    let of_buffer = [b"sha256:\0".as_slice(), buffer.as_bytes()].concat();
    let cases: [(&str, Vec<&[u8]>); 8] = [
        ("ima-ng", vec![&d, b"/bin/sh\0"]),
        ("ima-sig", vec![&d, b"/bin/sh\0", &[3, 2, 4]]),
        ("ima-buf", vec![&of_buffer, b"/bin/sh\0", b"buffer"]),
        ("ima-cgpath", vec![b"/a:/b\0", b"/kubepods/pod1/abc\0", &d, b"/bin/sh\0"]),
        ("ima-dep-cgn", vec![b"/a:/b\0", b"abc\0", &d, b"/bin/sh\0"]),
        ("ima-ns", vec![&d, b"/bin/sh\0", &[9, 0, 0, 240]]),
        ("d-ng|n-ng|cgn", vec![&d, b"/bin/sh\0", b"abc\0"]),
        ("sig|n-ng|d-ng", vec![&[], b"/bin/sh\0", &d]),
    ];
    for (template, fields) in cases {
        let bytes = made(template, &data(&fields));
        let (entry, len) = next_binary(&bytes, Algorithm::Sha1, Endian::Little).unwrap().unwrap();
        assert_eq!(len, bytes.len());
        assert_eq!(entry.name(), Some(b"/bin/sh".as_slice()), "{template}");
        let digest = if template == "ima-buf" { buffer } else { Digest::sha256([7; 32]) };
        assert_eq!(entry.file_digest(), Some(digest), "{template}");
        let container = match template {
            "ima-cgpath" => Some(Container::CgroupPath(b"/kubepods/pod1/abc")),
            "ima-dep-cgn" | "d-ng|n-ng|cgn" => Some(Container::CgroupName(b"abc")),
            "ima-ns" => Some(Container::Namespace(&[9, 0, 0, 240])),
            _ => None,
        };
        assert_eq!(entry.container(), container);
        assert_eq!(entry.signature().is_some(), template == "ima-sig");
        assert_eq!(entry.buffer().is_some(), template == "ima-buf");
        assert_eq!(Replay::new([]).push(&entry, Algorithm::Sha1), Line::Sound);
    }
    // A template that nobody knows is replayed all the same; it just tells nothing.
    let bytes = made("of-tomorrow", &data(&[b"x", b"/bin/sh\0"]));
    let (entry, _) = next_binary(&bytes, Algorithm::Sha1, Endian::Little).unwrap().unwrap();
    assert_eq!((entry.name(), entry.file_digest()), (None, None));
    assert_eq!(Replay::new([]).push(&entry, Algorithm::Sha1), Line::Sound);
}

#[test]
fn a_template_by_another_name_hides_nothing() {
    // No PCR vouches for the name: a signed file's entry, called a buffer's.
    let signed = data(&[&d_ng(7), b"/bin/evil\0", &d_ng(1)]);
    for name in ["ima-buf", "ima-ng", "ima-modsig", "buf|n-ng|d-ng", "ima-cgpath"] {
        let bytes = made(name, &signed);
        let (entry, _) = next_binary(&bytes, Algorithm::Sha1, Endian::Little).unwrap().unwrap();
        assert_eq!(entry.buffer(), None, "{name}");
        let told = entry.file_digest().is_some_and(|digest| digest == Digest::sha256([7; 32]));
        assert!(told || entry.name().is_none() || !entry.is_built_in(), "{name}");
    }
}

#[test]
fn big_endian_lists_are_read() {
    let mut bytes = Vec::new();
    let field = |field: &[u8]| [&u32::try_from(field.len()).unwrap().to_be_bytes(), field].concat();
    let data = [field(&d_ng(7)), field(b"/bin/sh\0")].concat();
    bytes.extend(10u32.to_be_bytes());
    bytes.extend(pcr::hash(Algorithm::Sha1, &[&data]).as_bytes());
    bytes.extend(field(b"ima-ng"));
    bytes.extend(field(&data));
    let mut seen = 0;
    feed(Form::Binary, Algorithm::Sha1, &bytes.repeat(2), 7, |entry| {
        seen += 1;
        assert_eq!(entry.name(), Some(b"/bin/sh".as_slice()));
        assert_eq!(entry.template_digest(Algorithm::Sha1).unwrap().as_bytes(), entry.logged);
    })
    .unwrap();
    assert_eq!(seen, 2);
}

#[test]
fn hostile_numbers_are_refused_at_once() {
    let next = |bytes: &[u8]| next_binary(bytes, Algorithm::Sha1, Endian::Little).map(|_| ());
    let good = made("ima-ng", &data(&[&d_ng(1), b"/a\0"]));
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        bad
    };
    let max = [0xff; 4];
    assert_eq!(next(&with(0, &[24, 0, 0, 0])), Err(EntryError::Pcr(24)));
    assert!(matches!(next(&with(24, &max)), Err(EntryError::Length { .. })));
    assert!(matches!(next(&with(34, &max)), Err(EntryError::Length { .. })));
    assert_eq!(next(&with(38, &max)), Err(EntryError::Fields));
    let too_long = u32::try_from(MAX_DATA + 1).unwrap().to_le_bytes();
    assert!(matches!(next(&with(34, &too_long)), Err(EntryError::Length { .. })));
    // A stream that is fed without end gives up.
    let mut stream = Stream::new(Form::Ascii, Algorithm::Sha1);
    let fed = (0..8).try_for_each(|_| stream.feed(&vec![b'a'; MAX_DATA], |_, _| ()));
    assert!(fed.is_err());
    let cut = feed(Form::Binary, Algorithm::Sha1, &good[..40], 9, |_| ());
    assert_eq!(cut.unwrap_err().source, EntryError::Cut);
}

#[test]
fn violations_are_zeroes_in_the_list_and_ones_in_the_pcr() {
    let data = write::ima_ng(&Digest::sha256([0; 32]), b"/bin/sh");
    let replay = replayed(&write::binary(10, &[0; 20], b"ima-ng", &data));
    assert_eq!((replay.lines, replay.violations), (1, 1));
    for bank in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha384] {
        let ones = pcr::repeated(bank, 0xff);
        let expected = pcr::extended(&pcr::initial(bank, 10), ones.as_bytes());
        assert_eq!(replay.value(bank, 10), Some(expected));
    }
}

#[test]
fn a_kernel_before_5_8_is_replayed_by_its_own_rule() {
    let list = write::file(10, Algorithm::Sha1, &Digest::sha256([1; 32]), b"/bin/sh");
    let mut padded = Replay::new([Algorithm::Sha256]).filled(Fill::PaddedSha1);
    feed(Form::Binary, Algorithm::Sha1, &list, 99, |entry| {
        let _ = padded.push(entry, Algorithm::Sha1);
    })
    .unwrap();
    let event = [&list[4..24], &[0; 12]].concat();
    let expected = pcr::extended(&pcr::initial(Algorithm::Sha256, 10), &event);
    assert_eq!(padded.value(Algorithm::Sha256, 10), Some(expected));
}

/// A list: files, signed ones, old ones, violations, buffers.
fn lists() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let name = proptest::collection::vec(1u8..=255, 1..60);
    let line = (0..6u8, any::<u8>(), name).prop_map(|(kind, n, mut name)| {
        name.retain(|byte| !b" \n".contains(byte));
        let digest = d_ng(n);
        let mut ended = name.clone();
        ended.push(0);
        match kind {
            0 => made("ima-sig", &data(&[&digest, &ended, &[n, n]])),
            1 => made("ima-buf", &data(&[&digest, &ended, &[n; 9]])),
            2 => write::binary(10, &[0; 20], b"ima-ng", &data(&[&digest, &ended])),
            3 => {
                let len = u32::try_from(name.len()).unwrap().to_le_bytes();
                let fields = [&[n; 20][..], &len, &name].concat();
                let padded = [&[n; 20][..], &name, &vec![0; 256 - name.len()]].concat();
                let logged = pcr::hash(Algorithm::Sha1, &[&padded]);
                write::binary(10, logged.as_bytes(), b"ima", &fields)
            }
            _ => made("ima-ng", &data(&[&digest, &ended])),
        }
    });
    proptest::collection::vec(line, 1..24)
}

/// What the kernel prints of an entry.
fn printed(entry: &Entry<'_>) -> Vec<u8> {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut line = format!("{} {} ", entry.pcr, hex(entry.logged)).into_bytes();
    line.extend_from_slice(entry.template);
    line.push(b' ');
    match entry.field("d-ng") {
        Some(field) => line.extend(format!("sha256:{}", hex(&field[8..])).into_bytes()),
        None => line.extend(hex(entry.field("d").unwrap()).into_bytes()),
    }
    line.push(b' ');
    line.extend_from_slice(entry.name().unwrap());
    for last in [entry.field("sig"), entry.field("buf")].into_iter().flatten() {
        line.push(b' ');
        line.extend(hex(last).into_bytes());
    }
    line.push(b'\n');
    line
}

proptest! {
    #[test]
    fn both_forms_and_all_pieces_give_the_same(list in lists(), piece in 1usize..200) {
        let list = list.concat();
        let whole = replayed(&list);
        let mut replay = Replay::new([Algorithm::Sha256, Algorithm::Sha1, Algorithm::Sha384]);
        let mut text = Vec::new();
        feed(Form::Binary, Algorithm::Sha1, &list, piece, |entry| {
            assert_ne!(replay.push(entry, Algorithm::Sha1), Line::Edited);
            text.extend(printed(entry));
        })
        .unwrap();
        prop_assert_eq!(&replay, &whole);
        let mut replay = Replay::new([Algorithm::Sha256, Algorithm::Sha1, Algorithm::Sha384]);
        feed(Form::Ascii, Algorithm::Sha1, &text, piece, |entry| {
            let _ = replay.push(entry, Algorithm::Sha1);
        })
        .unwrap();
        prop_assert_eq!(&replay, &whole);
    }

    #[test]
    fn what_is_kept_goes_on_as_the_whole(list in lists(), at in any::<prop::sample::Index>()) {
        let at = at.index(list.len());
        let kept = replayed(&list[..at].concat());
        let mut kept: Replay = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
        feed(Form::Binary, Algorithm::Sha1, &list[at..].concat(), 50, |entry| {
            let _ = kept.push(entry, Algorithm::Sha1);
        })
        .unwrap();
        prop_assert_eq!(kept, replayed(&list.concat()));
    }

    #[test]
    fn no_single_edit_goes_unseen(
        list in lists(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let good = list.concat();
        let mut bad = good.clone();
        bad[at.index(good.len())] ^= 1 << bit;
        let mut replay = Replay::new([Algorithm::Sha256]);
        let mut edited = false;
        let read = feed(Form::Binary, Algorithm::Sha1, &bad, usize::MAX, |entry| {
            edited |= replay.push(entry, Algorithm::Sha1) == Line::Edited;
        });
        let value = |replay: &Replay| replay.value(Algorithm::Sha256, 10);
        let same_pcrs = replay.pcrs().eq(replayed(&good).pcrs());
        let seen = read.is_err()
            || edited
            || !same_pcrs
            || value(&replay) != value(&replayed(&good));
        // Two things are outside of what is hashed: a template's name, which can't alter what
        // is told of an entry but to what its data does not bear; and what a violation is of.
        let entries = entries(&good, Algorithm::Sha1);
        let mut begin = 0;
        let unhashed = entries.iter().any(|entry| {
            let from = begin + 28;
            let len = usize::from(entry[24]);
            let violation = entry[4..24] == [0; 20];
            let to = if violation { begin + entry.len() } else { from + len };
            begin += entry.len();
            (from..to).contains(&at.index(good.len()))
        });
        prop_assert!(seen || unhashed);
    }

    #[test]
    fn lines_left_out_swapped_or_repeated_change_the_pcr(
        list in lists(),
        a in any::<prop::sample::Index>(),
        b in any::<prop::sample::Index>(),
    ) {
        let value = |list: &[Vec<u8>]| replayed(&list.concat()).value(Algorithm::Sha256, 10);
        let good = value(&list);
        let (a, b) = (a.index(list.len()), b.index(list.len()));
        let mut cut = list.clone();
        cut.remove(a);
        prop_assert_ne!(value(&cut), good);
        let mut twice = list.clone();
        twice.insert(b, list[a].clone());
        prop_assert_ne!(value(&twice), good);
        let mut swapped = list.clone();
        swapped.swap(a, b);
        // Two violations weigh the same, whatever their names.
        let violation = |entry: &[u8]| entry[4..24] == [0; 20];
        if swapped != list && !(violation(&list[a]) && violation(&list[b])) {
            prop_assert_ne!(value(&swapped), good);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        piece in 1usize..50,
    ) {
        for form in [Form::Binary, Form::Ascii] {
            let _ = feed(form, Algorithm::Sha256, &bytes, piece, |entry| {
                let _ = (entry.name(), entry.file_digest(), entry.container(), entry.event(Algorithm::Sha1));
            });
        }
    }
}
