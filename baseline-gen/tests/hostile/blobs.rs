//! Blobs, and the documents that lead to them.

use std::fs;
use std::os::unix::fs::FileExt as _;

use lacre_baseline::{Limits, NoProgress, Options, Reference, from_oci};
use tar::EntryType;

use crate::common::{self, Pack, layout};
use crate::{file, member, paths, read, text};

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
    let media = "application/vnd.oci.image.layer.v1.tar+gzip";
    let layer = common::blob(temp.path(), &common::pack(&tar, Pack::Gzip), media);
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
