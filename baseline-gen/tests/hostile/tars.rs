//! What a layer's tar may hold.

use tar::EntryType;

use crate::common::{self, Pack, layout};
use crate::{file, member, of_tar, paths, pax, read, text};

fn with_mode(mut member: Vec<u8>, mode: u32) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&member[..512]);
    header.set_mode(mode);
    header.set_cksum();
    member[..512].copy_from_slice(header.as_bytes());
    member
}

#[test]
fn names_in_a_tar_stay_within_the_image() {
    let baseline = of_tar(&[
        file(b"../../etc/cron.sh"),
        file(b"/abs.sh"),
        file(b"./dir//./x.sh"),
        file(b"new\nline.sh"),
        file(b"\xff\xfe.sh"),
        pax(&[("path", b"pax\nname.sh"), ("mtime", b"1.5")]),
        file(b"short"),
    ])
    .unwrap();
    let expected = [
        "/abs.sh",
        "/dir/x.sh",
        "/etc/cron.sh",
        "/new\\nline.sh",
        "/pax\\nname.sh",
        "/\\xff\\xfe.sh",
    ];
    assert_eq!(paths(&baseline), expected);
}

#[test]
fn a_parent_is_looked_up_through_the_layers_own_links() {
    let baseline = of_tar(&[
        member(EntryType::Directory, b"usr/lib/", b"", b""),
        member(EntryType::Symlink, b"lib", b"usr/lib", b""),
        file(b"lib/a.sh"),
        member(EntryType::Symlink, b"up", b"../../..", b""),
        file(b"up/root.sh"),
        member(EntryType::Symlink, b"usr/abs", b"/usr/lib", b""),
        file(b"usr/abs/b.sh"),
    ])
    .unwrap();
    assert_eq!(paths(&baseline), ["/root.sh", "/usr/lib/a.sh", "/usr/lib/b.sh"]);
}

#[test]
fn later_members_replace_earlier_ones() {
    let baseline = of_tar(&[
        file(b"d/x.sh"),
        member(EntryType::Symlink, b"d", b"e", b""),
        file(b"f"),
        member(EntryType::Directory, b"f", b"", b""),
        file(b"f/y.sh"),
        file(b"twice.sh"),
        member(EntryType::Regular, b"twice.sh", b"", b"longer than before"),
    ])
    .unwrap();
    assert_eq!(paths(&baseline), ["/f/y.sh", "/twice.sh"]);
    assert_eq!(baseline.get(1).unwrap().size, 18);
}

#[test]
fn a_hard_link_is_its_target_under_another_name() {
    let data = with_mode(member(EntryType::Regular, b"store/abc", b"", b"console.log(1)"), 0o644);
    let baseline = of_tar(&[
        data,
        with_mode(member(EntryType::Link, b"node_modules/a.js", b"store/abc", b""), 0o644),
        with_mode(member(EntryType::Link, b"node_modules/b.txt", b"store/abc", b""), 0o644),
    ])
    .unwrap();
    assert_eq!(paths(&baseline), ["/node_modules/a.js"], "code by its second name alone");
    assert_eq!(baseline.get(0).unwrap().sha256().to_string(), common::sha256(b"console.log(1)"));
}

#[test]
fn the_last_hard_link_sets_the_mode_of_all() {
    let data = with_mode(member(EntryType::Regular, b"tool", b"", b"any bytes"), 0o644);
    let link = member(EntryType::Link, b"bin/tool", b"tool", b"");
    let baseline = of_tar(&[data.clone(), link.clone()]).unwrap();
    assert_eq!(paths(&baseline), ["/bin/tool", "/tool"], "code by a later mode");
    let baseline = of_tar(&[data, link.clone(), with_mode(link, 0o600)]).unwrap();
    assert!(paths(&baseline).is_empty());
}

#[test]
fn broken_tars_are_told_from_whole_ones() {
    let long = vec![b'a'; 5000];
    let mut bad_sum = file(b"x.sh");
    bad_sum[0] = b'y';
    let cases: [(&str, Vec<Vec<u8>>); 11] = [
        ("the checksum of a header does not match", vec![bad_sum]),
        (
            "which is no file of this layer before it",
            vec![member(EntryType::Link, b"l", b"nowhere", b"")],
        ),
        ("is a file, and yet has something in it", vec![file(b"a"), file(b"a/b")]),
        (
            "too many symbolic links",
            vec![
                member(EntryType::Symlink, b"a", b"b", b""),
                member(EntryType::Symlink, b"b", b"a", b""),
                file(b"a/x"),
            ],
        ),
        ("hides no name", vec![file(b"dir/.wh...")]),
        ("more than PATH_MAX", vec![pax(&[("path", &long)]), file(b"x")]),
        ("its PAX records are broken", vec![pax(&[("path", b"a\0b")]), file(b"x")]),
        (
            "a name holds a NUL byte",
            vec![
                pax(&[
                    ("GNU.sparse.name", b"a\0b"),
                    ("GNU.sparse.map", b"0,10"),
                    ("GNU.sparse.numblocks", b"1"),
                ]),
                file(b"x"),
            ],
        ),
        ("its PAX records are broken", vec![member(EntryType::XHeader, b"p", b"", b"9999 a=b\n")]),
        ("is of a type that no image has", vec![member(EntryType::GNUSparse, b"x", b"", b"")]),
        ("is of a type that no image has", vec![member(EntryType::new(b'M'), b"x", b"", b"")]),
    ];
    for (expected, members) in cases {
        let error = text(&of_tar(&members).unwrap_err());
        assert!(error.contains(expected) && error.contains("sha256:"), "{expected}: {error}");
    }
}

#[test]
fn a_tar_may_end_with_its_last_content_but_not_within_it() {
    let temp = tempfile::tempdir().unwrap();
    let whole = file(b"x.sh");
    layout(temp.path(), &[(whole[..512 + 10].to_vec(), Pack::Plain)]);
    assert_eq!(paths(&read(temp.path()).unwrap()), ["/x.sh"], "umoci 0.4 writes such layers");
    layout(temp.path(), &[(whole[..512 + 9].to_vec(), Pack::Plain)]);
    let error = text(&read(temp.path()).unwrap_err());
    assert!(error.contains("it ends within a member"), "{error}");
}

#[test]
fn a_long_name_is_not_taken_into_memory_without_bound() {
    let huge = member(EntryType::GNULongName, b"././@LongLink", b"", &vec![b'a'; 2 << 20]);
    let error = text(&of_tar(&[huge, file(b"x")]).unwrap_err());
    assert!(error.contains("a name or its attributes take 2097152 bytes"), "{error}");
}
