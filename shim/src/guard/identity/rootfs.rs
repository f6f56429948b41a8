use std::fs;
use std::path::{Path, PathBuf};

use crate::container::spec::Spec;
use crate::guard::layers::Layers;
use crate::messages::CreateRequest;

/// The root file system of a container that is being created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootFs {
    /// As this process reaches it, once it is mounted.
    pub(crate) path: PathBuf,
    /// What lies beneath it; `None` where that is not an overlay.
    pub(crate) layers: Option<Layers>,
}

impl RootFs {
    /// From the request, or, when whoever asks has mounted the root already (Docker), from
    /// the mount that is there.
    pub(crate) fn of(request: &CreateRequest) -> Self {
        let bundle = Path::new(&request.bundle);
        if let Some(mount) = request.rootfs.last() {
            let options = mount.options.iter().map(String::as_bytes);
            let layers = (mount.kind == "overlay")
                .then(|| Layers::from_options(options, Path::new("/")))
                .flatten();
            return Self { path: bundle.join("rootfs"), layers };
        }
        Self::mounted(bundle)
    }

    /// From the mount that is there.
    pub(crate) fn mounted(bundle: &Path) -> Self {
        let path = Spec::read(bundle).unwrap_or_default().root(bundle);
        let mountinfo = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let layers = Layers::from_mountinfo(&mountinfo, &path);
        Self { path, layers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_there_already_is_found_by_the_spec() {
        let bundle = tempfile::tempdir().unwrap();
        let spec = r#"{"root": {"path": "/somewhere/merged"}}"#;
        fs::write(bundle.path().join("config.json"), spec).unwrap();
        let request = CreateRequest {
            bundle: bundle.path().display().to_string(),
            ..CreateRequest::default()
        };
        let root = RootFs::of(&request);
        assert_eq!((root.path, root.layers), ("/somewhere/merged".into(), None));
    }
}
