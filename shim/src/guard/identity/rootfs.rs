//! The container's root, from what Create mounts or what Docker has mounted before.

use std::fs;
use std::path::{Path, PathBuf};

use crate::container::spec::Spec;
use crate::guard::lazy_content;
use crate::guard::overlay_layers::Layers;
use crate::messages::{CreateTaskRequest, Mount};

/// The root file system of a container that is being created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootFs {
    /// As this process reaches it, once it is mounted.
    pub(crate) path: PathBuf,
    /// What lies beneath it; `None` where that is not an overlay.
    pub(crate) layers: Option<Layers>,
    /// Why its files come over the network as they are read, by its mounts.
    pub(crate) lazy: Option<String>,
}

impl RootFs {
    /// From the request, or, when whoever asks has mounted the root already (Docker), from
    /// the mount that is there.
    pub(crate) fn of(request: &CreateTaskRequest) -> Self {
        let bundle = Path::new(&request.bundle);
        if let Some(mount) = request.rootfs.last() {
            let lazy = lazy_content::by_mounts(&request.rootfs);
            return Self { path: bundle.join("rootfs"), layers: overlaid(mount), lazy };
        }
        Self::mounted(bundle)
    }

    /// From the mount that is there.
    pub(crate) fn mounted(bundle: &Path) -> Self {
        let path = Spec::read(bundle).unwrap_or_default().root(bundle);
        let mountinfo = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let layers = Layers::from_mountinfo(&mountinfo, &path);
        Self { path, layers, lazy: None }
    }
}

/// The layers of an overlay: by its own name, or by one of those that containerd mounts by a
/// helper (nydus's `fuse.nydus-overlayfs`) or after it has filled in what the mounts before it
/// gave (`format/mkdir/overlay`). What is still to be filled in is no path.
fn overlaid(Mount { type_: kind, options, .. }: &Mount) -> Option<Layers> {
    let is_overlay = kind.rsplit('/').next() == Some("overlay")
        || kind.strip_prefix("fuse.").is_some_and(|kind| kind.starts_with("nydus-overlayfs"));
    let is_whole = !options.iter().any(|option| option.contains("{{"));
    let options = options.iter().map(String::as_bytes);
    (is_overlay && is_whole).then(|| Layers::from_options(options, Path::new("/"))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_there_already_is_found_by_the_spec() {
        let bundle = tempfile::tempdir().unwrap();
        let spec = r#"{"root": {"path": "/somewhere/merged"}}"#;
        fs::write(bundle.path().join("config.json"), spec).unwrap();
        let request = CreateTaskRequest {
            bundle: bundle.path().display().to_string(),
            ..CreateTaskRequest::default()
        };
        let root = RootFs::of(&request);
        assert_eq!((root.path, root.layers), ("/somewhere/merged".into(), None));
    }

    #[test]
    fn an_overlay_has_many_names() {
        let root = |kind: &str, lower: &str| {
            let options = vec![format!("lowerdir={lower}"), "upperdir=/u".to_owned()];
            let mount = Mount { type_: kind.to_owned(), options, ..Mount::default() };
            let rootfs = vec![mount];
            RootFs::of(&CreateTaskRequest { rootfs, ..CreateTaskRequest::default() })
        };
        let lower = |root: RootFs| root.layers.map(|layers| layers.lower.len());
        for kind in ["overlay", "format/mkdir/overlay", "fuse.nydus-overlayfs"] {
            assert_eq!(lower(root(kind, "/a:/b")), Some(2), "{kind}");
        }
        assert!(root("fuse.nydus-overlayfs", "/a").lazy.is_some());
        assert!(root("overlay", "/a").lazy.is_none());
        assert_eq!(lower(root("format/mkdir/overlay", "{{ overlay 0 1 }}")), None);
        for kind in ["bind", "btrfs", "ext4", "erofs", "fuse.rawBridge"] {
            assert_eq!(lower(root(kind, "/a")), None, "{kind}");
        }
    }
}
