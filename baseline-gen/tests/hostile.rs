//! Trees, tars and blobs made to harm: each gives a clear error or a right answer.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use common::{Pack, layout};
use lacre_baseline::{
    Baseline, Error, Limits, NoProgress, Options, Reference, from_lower, from_oci, from_rootfs,
    fuzz,
};
use proptest::prelude::*;
use tar::EntryType;

fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        text = format!("{text}: {source}");
        cause = source;
    }
    text
}

fn read(dir: &Path) -> Result<Baseline, Error> {
    from_oci(dir, &Reference::default(), None, &Options::default(), &NoProgress)
}

fn paths(baseline: &Baseline) -> Vec<String> {
    baseline.verify().unwrap();
    baseline.files().map(|entry| lacre_types::escape(entry.unwrap().path)).collect()
}

/// A member whose name and link are taken as they are.
fn member(kind: EntryType, name: &[u8], link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &[u8]) -> Vec<u8> {
    member(EntryType::Regular, name, b"", b"#!/bin/sh\n")
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let len = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap() + rest;
        content.extend_from_slice(format!("{len} {key}=").as_bytes());
        content.extend_from_slice(value);
        content.push(b'\n');
    }
    member(EntryType::XHeader, b"pax", b"", &content)
}

fn of_tar(members: &[Vec<u8>]) -> Result<Baseline, Error> {
    let temp = tempfile::tempdir().unwrap();
    let mut tar = members.concat();
    tar.extend_from_slice(&[0; 1024]);
    layout(temp.path(), &[(tar, Pack::Plain)]);
    read(temp.path())
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
    let data = member(EntryType::Regular, b"store/abc", b"", b"console.log(1)");
    let mut data = data;
    data[100..107].copy_from_slice(b"0000644");
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&data[..512]);
    header.set_mode(0o644);
    header.set_cksum();
    data[..512].copy_from_slice(header.as_bytes());
    let baseline = of_tar(&[
        data,
        member(EntryType::Link, b"node_modules/a.js", b"store/abc", b""),
        member(EntryType::Link, b"node_modules/b.txt", b"store/abc", b""),
    ])
    .unwrap();
    assert_eq!(paths(&baseline), ["/node_modules/a.js"], "code by its second name alone");
    assert_eq!(baseline.get(0).unwrap().sha256().to_string(), common::sha256(b"console.log(1)"));
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
        ("a name holds a NUL byte", vec![pax(&[("path", b"a\0b")]), file(b"x")]),
        ("its PAX records are broken", vec![member(EntryType::XHeader, b"p", b"", b"9999 a=b\n")]),
        ("stored as a sparse file", vec![pax(&[("GNU.sparse.major", b"1")]), file(b"x")]),
        ("is of a type that no image has", vec![member(EntryType::new(b'M'), b"x", b"", b"")]),
        (
            "overlayfs redirect",
            vec![
                pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/x")]),
                member(EntryType::Directory, b"d", b"", b""),
            ],
        ),
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

fn one_layer(pack: Pack) -> (tempfile::TempDir, std::path::PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    // Content that does not compress, or a cut would fall behind the data.
    let mut noise = vec![0; 300_000];
    fs::File::open("/dev/urandom").unwrap().read_exact_at(&mut noise, 0).unwrap();
    let mut tar = member(EntryType::Regular, b"noise", b"", &noise);
    tar.extend_from_slice(&[0; 1024]);
    layout(temp.path(), &[(tar.clone(), pack)]);
    let blob = common::sha256(&common::pack(&tar, pack)).replace(':', "/");
    let blob = temp.path().join("blobs").join(blob);
    (temp, blob)
}

#[test]
fn cut_altered_and_missing_blobs_are_told() {
    for pack in [Pack::Plain, Pack::Gzip, Pack::Zstd] {
        let (temp, blob) = one_layer(pack);
        assert_eq!(paths(&read(temp.path()).unwrap()), ["/noise"], "{pack:?}");
        let bytes = fs::read(&blob).unwrap();
        fs::write(&blob, &bytes[..bytes.len() / 2]).unwrap();
        let error = text(&read(temp.path()).unwrap_err());
        assert!(error.contains("altered or cut short"), "{pack:?}: {error}");
        let mut altered = bytes.clone();
        altered[bytes.len() / 2] ^= 1;
        fs::write(&blob, &altered).unwrap();
        let error = text(&read(temp.path()).unwrap_err());
        assert!(error.contains("altered or cut short"), "{pack:?}: {error}");
        fs::remove_file(&blob).unwrap();
        let error = text(&read(temp.path()).unwrap_err());
        assert!(error.contains("it is not in"), "{pack:?}: {error}");
    }
}

#[test]
fn a_layer_that_is_not_the_configurations_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let mut tar = file(b"x.sh");
    tar.extend_from_slice(&[0; 1024]);
    layout(temp.path(), &[(tar.clone(), Pack::Gzip)]);
    let config = serde_json::json!({"rootfs": {"diff_ids": [common::sha256(b"another")]}});
    let config = common::blob(temp.path(), config.to_string().as_bytes(), "config");
    let layer = common::blob(temp.path(), &common::pack(&tar, Pack::Gzip), "layer");
    let manifest = serde_json::json!({"config": config, "layers": [layer]});
    let manifest = common::blob(temp.path(), manifest.to_string().as_bytes(), "manifest");
    let index = serde_json::json!({"manifests": [manifest]});
    fs::write(temp.path().join("index.json"), index.to_string()).unwrap();
    let error = text(&read(temp.path()).unwrap_err());
    assert!(error.contains("diff ID"), "{error}");
}

#[test]
fn a_decompression_bomb_is_stopped() {
    let temp = tempfile::tempdir().unwrap();
    let zeros = vec![0; 64 << 20];
    let tar = member(EntryType::Regular, b"zeros", b"", &zeros);
    for pack in [Pack::Gzip, Pack::Zstd] {
        layout(temp.path(), &[(tar.clone(), pack)]);
        let limits = Limits { layer_bytes: 16 << 20, ..Limits::default() };
        let options = Options { limits, ..Options::default() };
        let got = from_oci(temp.path(), &Reference::default(), None, &options, &NoProgress);
        let error = text(&got.unwrap_err());
        assert!(error.contains("unpack to more than 16777216"), "{error}");
    }
}

#[test]
fn too_many_entries_are_stopped() {
    let temp = tempfile::tempdir().unwrap();
    for index in 0..20 {
        fs::write(temp.path().join(index.to_string()), []).unwrap();
    }
    let limits = Limits { entries: 10, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let error = from_rootfs(temp.path(), &options, &NoProgress).unwrap_err();
    assert!(matches!(error, Error::TooManyEntries { limit: 10, .. }), "{error}");
}

#[test]
fn a_directory_full_of_traps_is_read_in_peace() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("fs");
    common::materialise(&dir, &[common::Op::Fifo { path: "fifo.sh".into() }]);
    std::os::unix::fs::symlink("/etc", dir.join("out")).unwrap();
    std::os::unix::fs::symlink("loop", dir.join("loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket.sh")).unwrap();
    let zero = rustix::fs::makedev(1, 5);
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("zero.sh"), kind, mode, zero).unwrap();
    common::write(&dir.join(OsStr::from_bytes(b"\xff\n.sh")), b"", 0o644);
    // 10 GB that takes no room, and is not code: only its beginning is read.
    fs::File::create(dir.join("sparse")).unwrap().set_len(10 << 30).unwrap();
    let mut deep = dir.clone();
    for _ in 0..200 {
        deep.push("deep");
    }
    common::write(&deep.join("x.py"), b"", 0o644);
    let baseline = from_rootfs(&dir, &Options::default(), &NoProgress).unwrap();
    let found = paths(&baseline);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].ends_with("deep/x.py"));
    assert_eq!(found[1], "/\\xff\\n.sh");
    let links: Vec<_> = baseline.links().map(|link| link.unwrap().path).collect();
    assert_eq!(links, [b"/loop", &b"/out"[..]]);
}

#[test]
fn what_is_mounted_is_left_out() {
    let temp = tempfile::tempdir().unwrap();
    let (lower, root) = (temp.path().join("lower"), temp.path().join("root"));
    let empty = temp.path().join("empty");
    common::write(&lower.join("foreign.sh"), b"", 0o644);
    common::write(&root.join("own.sh"), b"", 0o644);
    fs::create_dir(&empty).unwrap();
    let mount = common::Overlay::mount(&root.join("mnt"), &[lower, empty]);
    let baseline = from_rootfs(&root, &Options::default(), &NoProgress).unwrap();
    drop(mount);
    assert_eq!(paths(&baseline), ["/own.sh"]);
}

#[test]
fn a_directory_with_a_redirect_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let moved = temp.path().join("moved");
    fs::create_dir(&moved).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&moved, "trusted.overlay.redirect", b"/was", flags).unwrap();
    let dirs = [temp.path().to_owned()];
    let error = from_lower(&dirs, None, &Options::default(), &NoProgress).unwrap_err();
    assert!(matches!(&error, Error::Redirect { path } if *path == moved), "{error}");
}

#[test]
fn whiteouts_as_attributes_hide_too() {
    let temp = tempfile::tempdir().unwrap();
    let (bottom, top) = (temp.path().join("bottom"), temp.path().join("top"));
    common::write(&bottom.join("d/a.sh"), b"", 0o644);
    common::write(&bottom.join("d/b.sh"), b"", 0o644);
    common::write(&top.join("d/a.sh"), b"", 0o644);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(top.join("d"), "trusted.overlay.opaque", b"x", flags).unwrap();
    rustix::fs::setxattr(top.join("d/a.sh"), "trusted.overlay.whiteout", b"", flags).unwrap();
    let baseline = from_lower(&[top, bottom], None, &Options::default(), &NoProgress).unwrap();
    assert_eq!(paths(&baseline), ["/d/b.sh"]);
}

#[test]
fn a_file_that_never_holds_still_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("busy.sh");
    fs::write(&path, vec![b'#'; 64 << 20]).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::File::options().write(true).open(&path).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all(b"x").unwrap();
            }
        });
        let got = from_rootfs(temp.path(), &Options::default(), &NoProgress);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        got.unwrap_err()
    });
    assert!(matches!(&error, Error::Changing { path: told, tries: 4 } if *told == path), "{error}");
}

#[test]
fn an_archive_is_read_as_a_layout_is() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("layout");
    let mut tar = file(b"x.sh");
    tar.extend_from_slice(&[0; 1024]);
    layout(&dir, &[(tar.clone(), Pack::Zstd)]);
    let archive = temp.path().join("layout.tar");
    fs::write(&archive, common::tar_of(&dir)).unwrap();
    let expected = read(&dir).unwrap();
    assert_eq!(read(&archive).unwrap().as_bytes(), expected.as_bytes());

    // docker save, the older form: a layer is a link to an equal one.
    let config = serde_json::json!({"rootfs": {"diff_ids": [common::sha256(&tar)]}}).to_string();
    let name = format!("{}.json", common::sha256(config.as_bytes()).replace("sha256:", ""));
    let saved = serde_json::json!([
        {"Config": name, "RepoTags": ["a:1"], "Layers": ["two/layer.tar"]},
    ]);
    let members = [
        member(EntryType::Regular, name.as_bytes(), b"", config.as_bytes()),
        member(EntryType::Regular, b"one/layer.tar", b"", &tar),
        member(EntryType::Symlink, b"two/layer.tar", b"../one/layer.tar", b""),
        member(EntryType::Regular, b"manifest.json", b"", saved.to_string().as_bytes()),
    ];
    let mut bytes = members.concat();
    bytes.extend_from_slice(&[0; 1024]);
    fs::write(&archive, &bytes).unwrap();
    let got = read(&archive).unwrap();
    assert_eq!(got.canonical_bytes(), expected.canonical_bytes());
    let other = Reference { name: Some("b:2".to_owned()), ..Reference::default() };
    let got = from_oci(&archive, &other, None, &Options::default(), &NoProgress);
    let error = text(&got.unwrap_err());
    assert!(error.contains("no image of that name") && error.contains("a:1"), "{error}");

    fs::write(&archive, common::pack(&bytes, Pack::Gzip)).unwrap();
    let error = text(&read(&archive).unwrap_err());
    assert!(error.contains("gunzip"), "{error}");
}

#[test]
fn the_platform_chooses_among_manifests() {
    let temp = tempfile::tempdir().unwrap();
    let mut manifests = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let mut tar = file(format!("{architecture}.sh").as_bytes());
        tar.extend_from_slice(&[0; 1024]);
        layout(temp.path(), &[(tar, Pack::Plain)]);
        let index = fs::read(temp.path().join("index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let mut one = index["manifests"][0].clone();
        one["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        manifests.push(one);
    }
    let index = serde_json::json!({"manifests": manifests}).to_string();
    let index = common::blob(temp.path(), index.as_bytes(), "index");
    let top = serde_json::json!({"manifests": [index]}).to_string();
    fs::write(temp.path().join("index.json"), top).unwrap();
    let with = |platform: &str| {
        let image = Reference { name: None, platform: platform.parse().unwrap() };
        from_oci(temp.path(), &image, None, &Options::default(), &NoProgress)
    };
    assert_eq!(paths(&with("linux/arm64").unwrap()), ["/arm64.sh"]);
    assert_eq!(paths(&with("linux/amd64").unwrap()), ["/amd64.sh"]);
    let error = text(&with("linux/s390x").unwrap_err());
    assert!(error.contains("no image for linux/s390x") && error.contains("arm64"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_make_a_parser_panic(data in prop::collection::vec(any::<u8>(), 0..2000)) {
        fuzz::fuzz_baseline(&data);
        fuzz::fuzz_layer_cache(&data);
        fuzz::fuzz_node_index(&data);
        fuzz::fuzz_documents(&data);
        fuzz::fuzz_kind(&data);
        fuzz::fuzz_layer_tar(&data);
        fuzz::fuzz_layer_blob(&data);
    }

    #[test]
    fn no_damage_to_a_tar_makes_it_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut tar = [
            pax(&[("path", b"a/b.sh")]), file(b"x"),
            member(EntryType::GNULongName, b"l", b"", b"d/long.py\0"), file(b"y"),
            member(EntryType::Symlink, b"l", b"a/../d", b""), file(b"l/.wh.z"),
            member(EntryType::Link, b"h.py", b"a/b.sh", b""), vec![0; 1024],
        ].concat();
        let at = at.index(tar.len());
        tar[at] = byte;
        // Right again, or the checksum alone would be tested.
        let start = at - at % 512;
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&tar[start..start + 512]);
        header.set_cksum();
        tar[start..start + 512].copy_from_slice(header.as_bytes());
        let cut = cut.index(tar.len() + 1);
        fuzz::fuzz_layer_tar(&tar);
        fuzz::fuzz_layer_tar(&tar[..cut]);
        fuzz::fuzz_layer_blob(&common::pack(&tar, Pack::Gzip)[..cut.min(40)]);
    }

    #[test]
    fn no_damage_to_a_baseline_makes_it_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let temp = tempfile::tempdir().unwrap();
        common::write(&temp.path().join("bin/a.sh"), b"", 0o644);
        std::os::unix::fs::symlink("bin/a.sh", temp.path().join("sh")).unwrap();
        let good = from_rootfs(temp.path(), &Options::default(), &NoProgress).unwrap();
        let mut bytes = good.as_bytes().to_vec();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        fuzz::fuzz_baseline(&bytes);
        fuzz::fuzz_baseline(&bytes[..cut.index(bytes.len())]);
        let noticed = Baseline::from_bytes(bytes).and_then(|damaged| damaged.verify());
        prop_assert!(noticed.is_err(), "byte {at}");
    }
}
