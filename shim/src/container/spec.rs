//! The OCI runtime specification of a container, `config.json` in its bundle: what the runtime
//! will read too. This is the one reader of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The greatest specification that is read, in bytes: containerd sends none above it.
const MAX: u64 = 16 << 20;

/// What lacre needs of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Raw")]
pub(crate) struct Spec {
    /// What whoever made the container wrote to it.
    pub(crate) annotations: BTreeMap<String, String>,
    /// `root.path`: relative to the bundle, or absolute.
    root: PathBuf,
    /// `linux.cgroupsPath`, as it stands there.
    pub(crate) cgroups_path: Option<String>,
}

#[derive(Default, Deserialize)]
struct Raw {
    annotations: Option<BTreeMap<String, String>>,
    root: Option<Root>,
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Root {
    path: PathBuf,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(rename = "cgroupsPath")]
    cgroups_path: Option<String>,
}

impl From<Raw> for Spec {
    fn from(raw: Raw) -> Self {
        Self {
            annotations: raw.annotations.unwrap_or_default(),
            root: raw.root.map_or_else(|| "rootfs".into(), |root| root.path),
            cgroups_path: raw.linux.and_then(|linux| linux.cgroups_path),
        }
    }
}

impl Default for Spec {
    /// One that says nothing.
    fn default() -> Self {
        Raw::default().into()
    }
}

impl Spec {
    /// Reads the bundle's.
    ///
    /// # Errors
    /// When it can't be read, is too large, or is none.
    pub(crate) fn read(bundle: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        // One byte more than is taken, so that what is too large is told as such.
        File::open(path(bundle))?.take(MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX {
            return Err(io::Error::other("the specification has more than 16 MiB"));
        }
        Self::parse(&bytes)
    }

    /// The same, of its bytes.
    ///
    /// # Errors
    /// When they are none.
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Self> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The container's root directory, as this process reaches it.
    #[must_use]
    pub(crate) fn root(&self, bundle: &Path) -> PathBuf {
        bundle.join(&self.root)
    }
}

/// Where a bundle has it.
#[must_use]
pub(crate) fn path(bundle: &Path) -> PathBuf {
    bundle.join("config.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_has_the_runtimes_default() {
        let (spec, bundle) = (Spec::default(), Path::new("/b"));
        assert_eq!((spec.root(bundle), spec.cgroups_path), ("/b/rootfs".into(), None));
        assert_eq!(Spec::parse(b"{}").unwrap(), Spec::default());
        let nulls = br#"{"annotations": null, "root": null, "linux": {"cgroupsPath": null}}"#;
        assert_eq!(Spec::parse(nulls).unwrap(), Spec::default());
    }

    #[test]
    fn what_lacre_does_not_know_is_no_error() {
        let text = br#"{"root": {"path": "/r", "readonly": true}, "process": {"capabilities":
            {"bounding": ["CAP_OF_TOMORROW"]}}, "linux": {"cgroupsPath": "/a", "namespaces":
            [{"type": "of tomorrow"}]}, "annotations": {"a": "b"}}"#;
        let spec = Spec::parse(text).unwrap();
        assert_eq!(spec.root(Path::new("/b")), Path::new("/r"));
        assert_eq!(spec.cgroups_path.as_deref(), Some("/a"));
        assert_eq!(spec.annotations["a"], "b");
    }

    #[test]
    fn one_that_is_too_large_is_told_as_such() {
        let bundle = tempfile::tempdir().unwrap();
        let file = File::create(path(bundle.path())).unwrap();
        file.set_len(MAX + 1).unwrap();
        let error = Spec::read(bundle.path()).unwrap_err();
        assert_eq!(error.to_string(), "the specification has more than 16 MiB");
    }
}
