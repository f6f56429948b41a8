//! Trees, tars and OCI layouts for the tests.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "shared by several test programs, each uses a part"
)]

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};
use sha2::Digest as _;

pub fn sha256(bytes: &[u8]) -> String {
    let digest: [u8; 32] = sha2::Sha256::digest(bytes).into();
    lacre_types::Digest::sha256(digest).to_string()
}

pub fn write(path: &Path, bytes: &[u8], mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn whiteout(path: &Path) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).unwrap();
}

pub fn opaque(path: &Path) {
    let flags = XattrFlags::empty();
    rustix::fs::setxattr(path, "trusted.overlay.opaque", b"y", flags).unwrap();
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::getxattr(path, "trusted.overlay.opaque", &mut value[..]).is_ok() && value == *b"y"
}

/// One entry of a layer that is to be made. Paths are of a few names, so that they meet.
#[derive(Debug, Clone)]
pub enum Op {
    File { path: String, content: u8, executable: bool },
    Symlink { path: String, target: String },
    HardLink { path: String, target: String },
    Dir { path: String, opaque: bool },
    Whiteout { path: String },
    Fifo { path: String },
}

pub const CONTENTS: [&[u8]; 7] = [
    b"plain data",
    b"#!/bin/sh\necho a\n",
    b"#!/bin/sh\necho b\n",
    b"\x7fELF\x02\x01",
    b"",
    b"\xca\xfe\xba\xbe\0\0\0\x3d",
    b"PK\x03\x04",
];

/// Makes the layer's directory; what can't be made over what is there already is left out.
pub fn materialise(dir: &Path, ops: &[Op]) {
    fs::create_dir_all(dir).unwrap();
    for op in ops {
        let (Op::File { path, .. }
        | Op::Symlink { path, .. }
        | Op::HardLink { path, .. }
        | Op::Dir { path, .. }
        | Op::Whiteout { path }
        | Op::Fifo { path }) = op;
        let at = dir.join(path);
        let mut parent = at.parent().unwrap();
        let mut real = true;
        while parent != dir {
            real &= fs::symlink_metadata(parent).map_or(true, |meta| meta.is_dir());
            parent = parent.parent().unwrap();
        }
        if !real || at.symlink_metadata().is_ok() {
            continue;
        }
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        match op {
            Op::File { content, executable, .. } => {
                let content = CONTENTS[usize::from(*content) % CONTENTS.len()];
                write(&at, content, if *executable { 0o755 } else { 0o644 });
            }
            Op::Symlink { target, .. } => std::os::unix::fs::symlink(target, &at).unwrap(),
            Op::HardLink { target, .. } => {
                if dir.join(target).symlink_metadata().is_ok_and(|meta| meta.is_file()) {
                    let _ = fs::hard_link(dir.join(target), &at);
                }
            }
            Op::Dir { opaque: hides, .. } => {
                fs::create_dir(&at).unwrap();
                if *hides {
                    opaque(&at);
                }
            }
            Op::Whiteout { .. } => whiteout(&at),
            Op::Fifo { .. } => {
                mknodat(CWD, &at, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
            }
        }
    }
}

/// The layer tar of a lower directory, as a builder makes it: `.wh.` names for whiteouts.
pub fn tar_of(dir: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut inodes = HashMap::new();
    add(&mut builder, &mut inodes, dir, Path::new(""));
    builder.into_inner().unwrap()
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

fn add(
    builder: &mut tar::Builder<Vec<u8>>,
    inodes: &mut HashMap<u64, PathBuf>,
    dir: &Path,
    at: &Path,
) {
    let mut names: Vec<_> =
        fs::read_dir(dir.join(at)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    if is_opaque(&dir.join(at)) {
        let mut header = header(tar::EntryType::Regular, 0o644, 0);
        builder.append_data(&mut header, at.join(".wh..wh..opq"), &[][..]).unwrap();
    }
    for name in names {
        let path = at.join(&name);
        let real = dir.join(&path);
        let meta = real.symlink_metadata().unwrap();
        let kind = meta.file_type();
        if kind.is_dir() {
            let mut header = header(tar::EntryType::Directory, 0o755, 0);
            builder.append_data(&mut header, &path, &[][..]).unwrap();
            add(builder, inodes, dir, &path);
        } else if kind.is_symlink() {
            let mut header = header(tar::EntryType::Symlink, 0o777, 0);
            // `append_link` would tidy the target up.
            header
                .set_link_name_literal(fs::read_link(&real).unwrap().as_os_str().as_bytes())
                .unwrap();
            builder.append_data(&mut header, &path, &[][..]).unwrap();
        } else if kind.is_char_device() {
            let mut hidden = b".wh.".to_vec();
            hidden.extend_from_slice(name.as_bytes());
            let mut header = header(tar::EntryType::Regular, 0o644, 0);
            let path = at.join(OsStr::from_bytes(&hidden));
            builder.append_data(&mut header, path, &[][..]).unwrap();
        } else if kind.is_fifo() {
            let mut header = header(tar::EntryType::Fifo, 0o644, 0);
            builder.append_data(&mut header, &path, &[][..]).unwrap();
        } else if let Some(first) = inodes.get(&meta.ino()) {
            let mut header = header(tar::EntryType::Link, meta.mode() & 0o7777, 0);
            builder.append_link(&mut header, &path, first).unwrap();
        } else {
            inodes.insert(meta.ino(), path.clone());
            let bytes = fs::read(&real).unwrap();
            let size = bytes.len() as u64;
            let mut header = header(tar::EntryType::Regular, meta.mode() & 0o7777, size);
            builder.append_data(&mut header, &path, bytes.as_slice()).unwrap();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pack {
    Plain,
    Gzip,
    Zstd,
}

pub fn pack(tar: &[u8], how: Pack) -> Vec<u8> {
    match how {
        Pack::Plain => tar.to_vec(),
        Pack::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(tar).unwrap();
            gzip.finish().unwrap()
        }
        Pack::Zstd => zstd::encode_all(tar, 1).unwrap(),
    }
}

/// An OCI layout of these layers, from the bottom up; gives the manifest's digest.
pub fn layout(dir: &Path, layers: &[(Vec<u8>, Pack)]) -> String {
    let mut descriptors = Vec::new();
    let mut diff_ids = Vec::new();
    for (tar, how) in layers {
        diff_ids.push(sha256(tar));
        let media = match how {
            Pack::Plain => "application/vnd.oci.image.layer.v1.tar",
            Pack::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Pack::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        };
        descriptors.push(blob(dir, &pack(tar, *how), media));
    }
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config =
        blob(dir, config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest = serde_json::json!({
        "schemaVersion": 2, "config": config, "layers": descriptors,
    });
    let manifest =
        blob(dir, manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    manifest["digest"].as_str().unwrap().to_owned()
}

pub fn blob(dir: &Path, bytes: &[u8], media: &str) -> serde_json::Value {
    let digest = sha256(bytes);
    write(&dir.join("blobs").join(digest.replace(':', "/")), bytes, 0o644);
    serde_json::json!({"mediaType": media, "digest": digest, "size": bytes.len()})
}

/// A read-only overlay of these directories, topmost first, unmounted when dropped.
pub struct Overlay(PathBuf);

impl Overlay {
    pub fn mount(at: &Path, lower: &[PathBuf]) -> Self {
        fs::create_dir_all(at).unwrap();
        let dirs: Vec<_> = lower.iter().map(|dir| dir.to_str().unwrap()).collect();
        let data = CString::new(format!("lowerdir={}", dirs.join(":"))).unwrap();
        let flags = rustix::mount::MountFlags::RDONLY;
        rustix::mount::mount("overlay", at, "overlay", flags, data.as_c_str()).unwrap();
        Self(at.to_owned())
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
