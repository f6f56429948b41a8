//! What containerd makes of a layer: its own diff service, on folders of ours.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use lacre_baseline::unpacked::{Listed, Listing};
use lacre_integration::Containerd;
use lacre_integration::grpc::{Applied, ApplyDiff, Client, Descriptor, Empty, Mount, WriteContent};
use lacre_types::Digest;
use sha2::{Digest as _, Sha256};

use crate::packing::Blob;

/// The writer's last word (`WriteAction`).
const COMMIT: i32 = 2;

pub(crate) struct Unpacker {
    client: Client,
    folder: PathBuf,
}

/// What became of one layer.
pub(crate) enum Told {
    Refused(String),
    /// Its diff ID, and what is there now.
    Unpacked(String, Vec<String>),
}

impl Unpacker {
    pub(crate) fn new(daemon: &Containerd) -> Result<Self> {
        let client = Client::connect(&daemon.socket(), daemon.namespace())?;
        let folder = daemon.node().folder().join("layers");
        fs::create_dir(&folder)?;
        Ok(Self { client, folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Unpacks the layer into an empty directory upon those beneath, topmost first, as a snapshot
    /// of overlayfs's.
    pub(crate) fn unpack(&mut self, blob: &Blob, to: &Path, beneath: &[PathBuf]) -> Result<Told> {
        if beneath.is_empty() {
            return self.unpack_over(blob, to);
        }
        let lower: Vec<_> = beneath.iter().map(|dir| dir.display().to_string()).collect();
        let options = vec![
            format!("workdir={}", self.folder.join("work").display()),
            format!("upperdir={}", to.display()),
            format!("lowerdir={}", lower.join(":")),
        ];
        let overlay = "overlay".to_owned();
        let mount = Mount { kind: overlay.clone(), source: overlay, options, ..Mount::default() };
        self.apply(blob, to, mount)
    }

    /// Unpacks the layer over what is in that directory, as a snapshot of native's.
    pub(crate) fn unpack_over(&mut self, blob: &Blob, to: &Path) -> Result<Told> {
        let options = ["rbind", "rw"].map(str::to_owned).to_vec();
        let source = to.display().to_string();
        let mount = Mount { kind: "bind".into(), source, options, ..Mount::default() };
        self.apply(blob, to, mount)
    }

    fn apply(&mut self, blob: &Blob, to: &Path, mount: Mount) -> Result<Told> {
        let diff = self.store(blob)?;
        let request = ApplyDiff { diff: Some(diff), mounts: vec![mount] };
        match self.client.call("diff.v1.Diff/Apply", request) {
            Ok(Applied { applied }) => {
                let digest = applied.context("no descriptor")?.digest;
                Ok(Told::Unpacked(digest, list(to)?))
            }
            Err(error) => refusal(&error).map(Told::Refused),
        }
    }

    fn store(&mut self, blob: &Blob) -> Result<Descriptor> {
        let digest = Digest::sha256(Sha256::digest(&blob.bytes).into()).to_string();
        let size = i64::try_from(blob.bytes.len())?;
        let root = ("containerd.io/gc.root".to_owned(), "now".to_owned());
        let request = WriteContent {
            action: COMMIT,
            reference: digest.clone(),
            total: size,
            expected: digest.clone(),
            data: blob.bytes.clone(),
            labels: BTreeMap::from([root]),
        };
        if let Err(error) = self.client.call::<_, Empty>("content.v1.Content/Write", request) {
            let status = error.downcast_ref::<tonic::Status>().map(tonic::Status::code);
            if status != Some(tonic::Code::AlreadyExists) {
                return Err(error);
            }
        }
        Ok(Descriptor { media_type: blob.media_type.clone(), digest, size })
    }
}

/// What containerd says of a layer; that it does not answer is no answer.
fn refusal(error: &anyhow::Error) -> Result<String> {
    use tonic::Code::{Cancelled, DeadlineExceeded, Unavailable};
    match error.downcast_ref::<tonic::Status>() {
        Some(status) if !matches!(status.code(), Cancelled | DeadlineExceeded | Unavailable) => {
            Ok(status.message().to_owned())
        }
        _ => bail!("no answer: {error:#}"),
    }
}

fn list(root: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let real = root.join(&path);
        let meta = real.symlink_metadata()?;
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            for entry in fs::read_dir(&real)? {
                todo.push(path.join(entry?.file_name()));
            }
            Listing::Directory(is_opaque(&real)?)
        } else if kind.is_file() {
            let bytes = fs::read(&real)?;
            Listing::File(bytes.len() as u64, Sha256::digest(&bytes).to_vec().into())
        } else if kind.is_symlink() {
            Listing::Symlink(fs::read_link(&real)?.as_os_str().as_bytes().to_vec())
        } else if kind.is_char_device() && meta.rdev() == 0 {
            Listing::Whiteout
        } else {
            Listing::Special
        };
        let name = path.as_os_str().as_bytes();
        let path = if name.is_empty() { Vec::new() } else { [b"/", name].concat() };
        let attributes = Some((meta.mode() & 0o7777, meta.uid(), meta.gid()));
        lines.push(Listed { path, what, attributes }.to_string());
    }
    lines.sort();
    Ok(lines)
}

fn is_opaque(dir: &Path) -> Result<bool> {
    let mut value = [0; 8];
    match rustix::fs::getxattr(dir, "trusted.overlay.opaque", &mut value) {
        Ok(len) => Ok(value[..len] == *b"y"),
        Err(rustix::io::Errno::NODATA) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
