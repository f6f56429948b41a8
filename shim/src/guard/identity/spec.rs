//! What the bundle's OCI specification says: it is what the runtime will read too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The greatest specification that is read, in bytes: containerd sends none above it.
const SPEC_MAX: u64 = 16 << 20;

/// The part of `config.json` that tells who a container is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Spec {
    pub(crate) annotations: BTreeMap<String, String>,
    /// `root.path`, as this process reaches it.
    pub(crate) root: PathBuf,
}

impl Spec {
    /// Reads the bundle's.
    pub(crate) fn read(bundle: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(bundle.join("config.json"))?.take(SPEC_MAX).read_to_end(&mut bytes)?;
        Self::parse(&bytes, bundle)
    }

    pub(crate) fn parse(bytes: &[u8], bundle: &Path) -> io::Result<Self> {
        #[derive(Deserialize)]
        struct Raw {
            annotations: Option<BTreeMap<String, String>>,
            root: Option<Root>,
        }
        #[derive(Deserialize)]
        struct Root {
            path: PathBuf,
        }
        let raw: Raw = serde_json::from_slice(bytes)?;
        let root = raw.root.map_or_else(|| "rootfs".into(), |root| root.path);
        Ok(Self { annotations: raw.annotations.unwrap_or_default(), root: bundle.join(root) })
    }
}
