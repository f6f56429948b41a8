//! Where containerd keeps an image's content.

use std::path::{Path, PathBuf};

use lacre_types::Digest;

/// What `--image` needs to know of containerd.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The image's target: the digest of a manifest or of an index.
    pub(crate) target: Digest,
    /// The content store's root, which holds `blobs/sha256/…`.
    pub(crate) content: PathBuf,
}

/// Asks containerd.
pub(crate) fn resolve(name: &str, namespace: &str, address: &Path) -> anyhow::Result<Resolved> {
    anyhow::bail!(
        "cannot ask containerd at {} for {name} in namespace {namespace}: this build has no \
         client of it; use --oci with an exported image",
        address.display()
    )
}
