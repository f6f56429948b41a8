//! Tars as odd writers make them; containerd unpacks each.

use tar::EntryType;

use crate::common::{Pack, layout};
use crate::{file, member, of_tar, paths, pax, read, text};

/// Edits the header of a member, and sums it up again.
fn edited(mut member: Vec<u8>, edit: impl Fn(&mut [u8])) -> Vec<u8> {
    edit(&mut member[..512]);
    summed(member, i64::from)
}

fn summed(mut member: Vec<u8>, value: impl Fn(u8) -> i64) -> Vec<u8> {
    member[148..156].fill(b' ');
    let sum: i64 = member[..512].iter().map(|byte| value(*byte)).sum();
    member[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    member
}

#[test]
fn a_number_may_be_blank() {
    let blank = |with: u8| {
        move |header: &mut [u8]| {
            header[108..124].fill(with);
            header[136..148].fill(with);
            header[329..345].fill(with);
        }
    };
    let empty = edited(member(EntryType::Regular, b"empty.sh", b"", b""), |header| {
        header[124..136].fill(0);
    });
    let baseline =
        of_tar(&[edited(file(b"nul.sh"), blank(0)), edited(file(b"blank.sh"), blank(b' ')), empty])
            .unwrap();
    assert_eq!(paths(&baseline), ["/blank.sh", "/empty.sh", "/nul.sh"]);
    let broken = edited(file(b"x.sh"), |header| header[108..112].copy_from_slice(b"-1  "));
    let error = text(&of_tar(&[broken]).unwrap_err());
    assert!(error.contains("a user id is not a number"), "{error}");
}

#[test]
fn a_checksum_may_be_of_signed_bytes() {
    let signed = summed(file("gr\u{fc}\u{df}.sh".as_bytes()), |byte| byte.cast_signed().into());
    assert_eq!(paths(&of_tar(&[signed]).unwrap()), ["/gr\u{fc}\u{df}.sh"]);
}

#[test]
fn only_the_oldest_type_is_a_directory_by_its_slash() {
    let old = edited(file(b"dir/"), |header| {
        header[156] = 0;
        header[124..136].fill(0);
    });
    let baseline = of_tar(&[old[..512].to_vec(), file(b"dir/x.sh"), file(b"tool/")]).unwrap();
    assert_eq!(paths(&baseline), ["/dir/x.sh", "/tool"]);
}

#[test]
fn an_empty_record_is_none_and_a_long_name_goes_before_a_record() {
    let baseline = of_tar(&[
        pax(&[("path", b""), ("size", b"")]),
        file(b"kept.sh"),
        pax(&[("path", b"by-pax.sh")]),
        member(EntryType::GNULongName, b"././@LongLink", b"", b"by-gnu.sh\0"),
        file(b"own.sh"),
    ])
    .unwrap();
    assert_eq!(paths(&baseline), ["/by-gnu.sh", "/kept.sh"]);
}

#[test]
fn a_sparse_file_has_its_holes() {
    let content = [&b"1\n2\n10\n"[..], &[0; 505], b"#!/bin/sh\n"].concat();
    let sparse = [
        pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"4096"),
            ("GNU.sparse.name", b"tool"),
        ]),
        member(EntryType::Regular, b"GNUSparseFile.0/tool", b"", &content),
    ]
    .concat();
    let baseline = of_tar(&[sparse]).unwrap();
    let whole = [&[0; 2][..], b"#!/bin/sh\n", &[0; 4084]].concat();
    let entry = baseline.get(0).unwrap();
    assert_eq!((entry.path, entry.size), (&b"/tool"[..], 4096));
    assert_eq!(entry.sha256().to_string(), crate::common::sha256(&whole));
}

/// The lowest layer is unpacked into a directory, the others beside what they hide.
#[test]
fn a_whiteout_removes_in_the_lowest_layer_and_yields_in_the_others() {
    let temp = tempfile::tempdir().unwrap();
    let tar = |members: &[Vec<u8>]| ([&members.concat()[..], &[0; 1024]].concat(), Pack::Plain);
    let dir = member(EntryType::Directory, b"d/", b"", b"");
    let lowest = tar(&[dir.clone(), file(b"d/old.sh"), file(b"x.sh"), file(b".wh.x.sh")]);
    let upper = tar(&[file(b".wh.d"), dir, file(b"d/new.sh")]);
    layout(temp.path(), &[lowest.clone(), upper]);
    assert_eq!(paths(&read(temp.path()).unwrap()), ["/d/new.sh", "/d/old.sh"]);
    layout(temp.path(), &[lowest.clone(), lowest]);
    let error = text(&read(temp.path()).unwrap_err());
    assert!(error.contains("/x.sh is there already"), "{error}");
}

#[test]
fn an_attribute_that_is_not_set_says_nothing() {
    let baseline = of_tar(&[
        pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/x"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ]),
        member(EntryType::Directory, b"d", b"", b""),
        file(b"d/x.sh"),
    ])
    .unwrap();
    assert_eq!(paths(&baseline), ["/d/x.sh"]);
}

/// Which mode and owner it has, is asked of the layers beneath.
#[test]
fn a_directory_that_is_implied_is_not_a_file_beneath() {
    let temp = tempfile::tempdir().unwrap();
    let tar = |members: &[Vec<u8>]| ([&members.concat()[..], &[0; 1024]].concat(), Pack::Plain);
    layout(temp.path(), &[tar(&[file(b"a")]), tar(&[file(b"a/x.sh")])]);
    assert_eq!(paths(&read(temp.path()).unwrap()), ["/a/x.sh"]);
    layout(temp.path(), &[tar(&[file(b"a")]), tar(&[file(b"a/b/x.sh")])]);
    let error = text(&read(temp.path()).unwrap_err());
    assert!(error.contains("the layers beneath have no place for /a/b"), "{error}");
}
