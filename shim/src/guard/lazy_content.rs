//! Images whose files come over the network as they are read: to read them all is to download
//! the image, which nobody who creates a container waits for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::messages::Mount;

/// On every snapshot that stands for a layer that was not fetched: of stargz's, SOCI's and
/// nydus's snapshotters.
const REMOTE: &str = "containerd.io/snapshot/remote";
/// How further labels of nydus's begin (nydus-snapshotter, pkg/label).
const NYDUS: &str = "containerd.io/snapshot/nydus-";
/// How overlaybd's begin (accelerated-container-image, pkg/label).
const OVERLAYBD: &str = "containerd.io/snapshot/overlaybd";

/// `FUSE_SUPER_MAGIC` (linux/magic.h).
const FUSE: u64 = 0x6573_5546;
/// `EROFS_SUPER_MAGIC_V1`.
const EROFS: u64 = 0xe0f5_e1e2;

/// Why the mounts that a snapshotter hands over are of such an image.
pub(super) fn by_mounts(mounts: &[Mount]) -> Option<String> {
    mounts.iter().find_map(|Mount { type_: kind, options, .. }| {
        let is_fuse = kind == "fuse" || kind.starts_with("fuse.");
        let from_cache = kind.ends_with("erofs")
            && options
                .iter()
                .any(|option| option.starts_with("fsid=") || option.starts_with("domain_id="));
        (is_fuse || from_cache).then(|| format!("its root is a mount of {kind}"))
    })
}

/// Why the labels of a snapshot are of such an image's layer.
pub(super) fn by_labels(labels: &BTreeMap<String, String>) -> Option<String> {
    let own =
        |name: &&String| *name == REMOTE || name.starts_with(NYDUS) || name.starts_with(OVERLAYBD);
    let label = labels.keys().find(own)?;
    Some(format!("its snapshot has the label {label}"))
}

/// Why these directories are of such an image.
pub(super) fn by_directories(lower: &[PathBuf]) -> Option<String> {
    let dir = lower.iter().find(|dir| is_on(dir, FUSE))?;
    Some(format!("{} is on FUSE", dir.display()))
}

/// Whether only the labels of the snapshot tell: nydus's layers may be EROFS, whose data a cache
/// of the kernel's fetches.
pub(super) fn may_be(lower: &[PathBuf]) -> bool {
    lower.iter().any(|dir| is_on(dir, EROFS))
}

fn is_on(dir: &Path, kind: u64) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(ToString::to_string).collect();
        Mount { type_: kind.to_owned(), source: "x".to_owned(), options, ..Mount::default() }
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// As each snapshotter's documents and sources show them.
    #[test]
    fn each_snapshotter_is_known_by_its_mounts_or_its_labels() {
        let nydus = ["lowerdir=/n/snapshots/2/mnt", "upperdir=/n/9/fs", "extraoption=e30="];
        assert!(by_mounts(&[mount("fuse.nydus-overlayfs", &nydus)]).is_some());
        assert!(by_mounts(&[mount("fuse.rawBridge", &["allow_other"])]).is_some(), "stargz");
        assert!(by_mounts(&[mount("erofs", &["ro", "fsid=nydus-1"])]).is_some(), "fscache");
        let stargz = [
            (REMOTE, "remote snapshot"),
            ("containerd.io/snapshot/remote/stargz.digest", "sha256:1"),
        ];
        let soci = [(REMOTE, "remote snapshot"), ("containerd.io/snapshot/remote/soci.size", "1")];
        let nydus = [("containerd.io/snapshot/nydus-bootstrap", "true")];
        let overlaybd = [("containerd.io/snapshot/overlaybd.blob-digest", "sha256:1")];
        for of in [&stargz[..], &soci, &nydus, &overlaybd] {
            assert!(by_labels(&labels(of)).is_some(), "{of:?}");
        }
    }

    #[test]
    fn what_is_unpacked_on_the_node_is_not_such() {
        let overlay = mount("overlay", &["lowerdir=/a:/b", "upperdir=/c", "workdir=/w"]);
        let erofs = mount("erofs", &["ro", "loop"]);
        for of in [overlay, mount("bind", &["rw", "rbind"]), mount("btrfs", &["subvolid=7"]), erofs]
        {
            assert_eq!(by_mounts(std::slice::from_ref(&of)), None, "{of:?}");
        }
        let own = [
            ("containerd.io/snapshot.ref", "sha256:1"),
            ("containerd.io/snapshot/cri.image-ref", "r"),
            ("containerd.io/snapshot/remote/stargz.reference", "a pull with the label, unused"),
        ];
        assert_eq!(by_labels(&labels(&own)), None);
        let here = std::env::temp_dir();
        assert_eq!(by_directories(&[here, "/nonexistent".into()]), None);
    }
}
