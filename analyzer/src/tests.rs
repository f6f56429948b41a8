//! Each kind of violation, of one small image with links in it.

use std::collections::{BTreeMap, BTreeSet};

use lacre_types::{Kind, Memory};
use proptest::prelude::*;

use super::*;

/// A baseline of a few files, on an image whose `/bin` and `/lib` are links into `/usr`.
#[derive(Debug, Clone, Default)]
struct Image(BTreeMap<CanonicalPath, Listed>);

impl Whitelist for Image {
    fn entry(&self, path: &CanonicalPath) -> Option<Listed> {
        let bytes = path.as_bytes();
        let merged = [&b"/bin/"[..], b"/lib/"].iter().any(|link| bytes.starts_with(link));
        let path = if merged { &at([b"/usr", bytes].concat()) } else { path };
        self.0.get(path).cloned()
    }
}

fn at(path: impl AsRef<[u8]>) -> CanonicalPath {
    CanonicalPath::new(path).unwrap()
}

fn digest(algorithm: Algorithm, byte: u8) -> Digest {
    Digest::new(algorithm, &vec![byte; algorithm.len()]).unwrap()
}

fn image(files: &[(&str, &[Digest], u64)]) -> Image {
    let listed = files.iter().map(|(path, digests, size)| {
        let digests = digests.iter().copied().collect();
        (at(path), Listed { path: at(path), digests, size: *size, kind: Kind::Elf })
    });
    Image(listed.collect())
}

fn seen(event: Event, path: Option<&str>, content: Content) -> Measurement {
    Measurement {
        source: Source::Fanotify,
        event,
        path: path.map(at),
        content,
        process: Process { pid: 7, uid: Some(0) },
        time: SystemTime::UNIX_EPOCH,
    }
}

fn kind(verdict: &Verdict) -> Option<ViolationKind> {
    match verdict {
        Verdict::Allowed(_) => None,
        Verdict::Violation(violation) | Verdict::Memory(violation) => Some(violation.kind),
    }
}

const A: fn() -> Digest = || digest(Algorithm::Sha256, 0xaa);
const B: fn() -> Digest = || digest(Algorithm::Sha256, 0xbb);

fn verdict(event: Event, path: Option<&str>, content: Content) -> Option<ViolationKind> {
    let image = image(&[("/usr/bin/sh", &[A(), digest(Algorithm::Sha1, 1)], 100)]);
    kind(&judge(Some(&image), &seen(event, path, content)))
}

#[test]
fn what_the_image_brought_is_allowed_under_every_form_of_its_name() {
    for form in ["/usr/bin/sh", "//usr/bin/sh", "/bin/sh", "//bin/./sh", "/usr/lib/../bin/sh"] {
        assert_eq!(verdict(Event::Exec, Some(form), Content::Digest(A())), None, "{form}");
    }
}

#[test]
fn the_library_of_figure_1_matches_its_canonical_entry() {
    let libdl = "/usr/lib/x86_64-linux-gnu/libdl-2.27.so";
    let image = image(&[(libdl, &[A()], 14560)]);
    let of = |content| {
        seen(Event::Mmap, Some("//lib/x86_64-linux-gnu/libdl-2.27.so"), Content::Digest(content))
    };
    let Verdict::Allowed(allowed) = judge(Some(&image), &of(A())) else { panic!() };
    assert_eq!(allowed.path(), &at(libdl));
    assert_eq!(allowed.digest(), &A());
    let Verdict::Violation(violation) = judge(Some(&image), &of(B())) else { panic!() };
    assert_eq!(violation.kind, ViolationKind::InvalidHash);
    assert_eq!(violation.expected, Some(A()));
    assert_eq!(violation.line(), format!("{} /lib/x86_64-linux-gnu/libdl-2.27.so\n", B()));
}

#[test]
fn every_kind_has_its_case() {
    use ViolationKind::*;
    let digest = |d| Content::Digest(d);
    let unread = || Content::Unread("EIO".into());
    let cases = [
        (Event::Exec, Some("/tmp/x"), digest(A()), EntryNotFound),
        (Event::Exec, None, digest(A()), EntryNotFound),
        (Event::Exec, Some("/tmp/x"), unread(), EntryNotFound),
        (Event::Exec, Some("/bin/sh"), digest(B()), InvalidHash),
        (Event::Exec, Some("/bin/sh"), unread(), InvalidHash),
        (Event::Exec, Some("/bin/sh"), Content::Size(99), InvalidHash),
        (Event::Exec, Some("/bin/sh"), Content::Size(100), InvalidHash),
        (Event::Exec, Some("/bin/sh"), Content::Fileless, Fileless),
        (Event::Memfd, Some("/bin/sh"), digest(A()), Fileless),
        (Event::Mprotect, None, Content::Fileless, Fileless),
        (Event::Mprotect, Some("/bin/sh"), digest(A()), CodeModified),
        (Event::Mprotect, Some("/bin/sh"), unread(), CodeModified),
        (Event::Mprotect, Some("/bin/sh"), Content::Size(100), CodeModified),
        (Event::Mprotect, Some("/bin/sh"), Content::Size(99), InvalidHash),
        (Event::Mprotect, Some("/bin/sh"), digest(B()), InvalidHash),
        (Event::Mprotect, Some("/tmp/x"), digest(A()), EntryNotFound),
    ];
    let mut reached = BTreeSet::new();
    for (event, path, content, expected) in cases {
        let told = format!("{event} {path:?} {content:?}");
        assert_eq!(verdict(event, path, content), Some(expected), "{told}");
        reached.insert(expected);
    }
    let none = judge(None, &seen(Event::Exec, Some("/bin/sh"), digest(A())));
    reached.extend(kind(&none));
    reached.insert(source_lost(Source::Fanotify, "gone", SystemTime::UNIX_EPOCH).kind);
    reached.insert(log_tampered("went back", SystemTime::UNIX_EPOCH).kind);
    reached.insert(report(seen(Event::Open, Some("/data"), Content::Size(1))).kind);
    assert_eq!(reached, ViolationKind::ALL.iter().copied().collect());
}

#[test]
fn sha1_never_allows_even_where_it_is_all_that_is_known() {
    let sha1 = digest(Algorithm::Sha1, 1);
    for digests in [&[sha1][..], &[sha1, A()]] {
        let image = image(&[("/x", digests, 1)]);
        let verdict = judge(Some(&image), &seen(Event::Exec, Some("/x"), Content::Digest(sha1)));
        assert_eq!(kind(&verdict), Some(ViolationKind::InvalidHash));
    }
}

#[test]
fn an_algorithm_that_the_entry_lacks_is_not_allowed_and_the_strongest_is_expected() {
    let sha384 = digest(Algorithm::Sha384, 3);
    let image = image(&[("/x", &[A(), sha384], 1)]);
    let other = Content::Digest(digest(Algorithm::Sha512, 3));
    let Verdict::Violation(violation) = judge(Some(&image), &seen(Event::Exec, Some("/x"), other))
    else {
        panic!()
    };
    assert_eq!(violation.kind, ViolationKind::InvalidHash);
    assert_eq!(violation.expected, Some(sha384));
}

#[test]
fn a_lost_source_carries_its_reason_and_no_file() {
    let lost = source_lost(Source::ExecMap, "ring overflowed by 12", SystemTime::UNIX_EPOCH);
    assert_eq!(lost.measurement.event, Event::Watch);
    assert_eq!(lost.measurement.path, None);
    assert_eq!(lost.measurement.content, Content::Unread("ring overflowed by 12".into()));
    assert_eq!(lost.line(), "- (no name)\n");
}

prop_compose! {
    fn any_digest()(algorithm in prop::sample::select(Algorithm::ALL), byte in 0_u8..4) -> Digest {
        digest(algorithm, byte)
    }
}

fn any_content() -> impl Strategy<Value = Content> {
    prop_oneof![
        4 => any_digest().prop_map(Content::Digest),
        1 => (0_u64..3).prop_map(Content::Size),
        1 => Just(Content::Fileless),
        1 => prop::sample::select(Memory::ALL).prop_map(Content::Memory),
        1 => "[ -~]{0,8}".prop_map(Content::Unread),
    ]
}

/// Few names, so that a good part of them is listed; among them bytes that are no UTF-8.
fn any_path() -> impl Strategy<Value = CanonicalPath> {
    prop::sample::select(vec![
        &b"/bin/a"[..],
        b"/usr/bin/a",
        b"//usr//bin/./a",
        b"/usr/bin/\xff\n",
        b"/lib/../bin/\xff\n",
        b"/tmp/x",
    ])
    .prop_map(at)
}

prop_compose! {
    fn any_measurement()(
        source in prop::sample::select(Source::ALL),
        event in prop::sample::select(Event::ALL),
        path in prop::option::weighted(0.9, any_path()),
        content in any_content(),
        pid in any::<u32>(),
    ) -> Measurement {
        Measurement {
            source, event, path, content,
            process: Process { pid, uid: None },
            time: SystemTime::UNIX_EPOCH,
        }
    }
}

fn any_image() -> impl Strategy<Value = Image> {
    let listed = (any_path(), prop::collection::vec(any_digest(), 0..4), 0_u64..3);
    prop::collection::vec(listed, 0..4).prop_map(|files| {
        let listed = files.into_iter().map(|(path, digests, size)| {
            let digests = digests.into_iter().collect();
            (path.clone(), Listed { path, digests, size, kind: Kind::Library })
        });
        Image(listed.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_same_input_has_the_same_verdict(image in any_image(), m in any_measurement()) {
        prop_assert_eq!(judge(Some(&image), &m), judge(Some(&image.clone()), &m.clone()));
        prop_assert_eq!(judge(None, &m), judge(None, &m.clone()));
    }

    #[test]
    fn allowed_means_that_a_strong_listed_digest_is_equal(
        image in any_image(), m in any_measurement(),
    ) {
        let entry = m.path.as_ref().and_then(|path| image.entry(path));
        let equal = m.digest().is_some_and(|digest| {
            digest.algorithm() != Algorithm::Sha1
                && entry.is_some_and(|listed| listed.digests.iter().any(|known| known == digest))
        });
        let bytes_are_the_files = !matches!(m.event, Event::Memfd | Event::Mprotect);
        let allowed = matches!(judge(Some(&image), &m), Verdict::Allowed(_));
        prop_assert_eq!(allowed, equal && bytes_are_the_files);
        let memory = matches!(m.content, Content::Memory(_));
        let without =
            if memory { ViolationKind::Fileless } else { ViolationKind::NoWhitelist };
        prop_assert_eq!(kind(&judge(None, &m)), Some(without));
        prop_assert_eq!(matches!(judge(Some(&image), &m), Verdict::Memory(_)), memory);
    }

    #[test]
    fn who_saw_it_and_who_did_it_change_nothing(
        image in any_image(), m in any_measurement(), source in prop::sample::select(Source::ALL),
    ) {
        let mut other = m.clone();
        other.source = source;
        other.process = Process { pid: 1, uid: Some(1000) };
        other.time = SystemTime::now();
        prop_assert_eq!(kind(&judge(Some(&image), &m)), kind(&judge(Some(&image), &other)));
    }

    #[test]
    fn a_violation_keeps_the_measurement_and_its_line_reads_back(
        image in any_image(), m in any_measurement(),
    ) {
        if let Verdict::Violation(violation) = judge(Some(&image), &m) {
            prop_assert_eq!(&violation.measurement, &m);
            prop_assert_eq!(violation.kind.to_string().parse(), Ok(violation.kind));
            let line = violation.line();
            let body = line.strip_suffix('\n').unwrap();
            prop_assert!(!body.contains('\n'));
            let (digest, path) = body.split_once(' ').unwrap();
            prop_assert_eq!(digest.parse().ok(), m.digest().copied());
            prop_assert_eq!(path, m.shown_path());
        }
    }
}
