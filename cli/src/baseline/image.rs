//! Where containerd keeps an image's content.

use std::path::PathBuf;

use anyhow::Context as _;
use lacre_containerd::Client;
use lacre_types::{Digest, escape};

/// What `--image` needs to know of containerd.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The image's target: the digest of a manifest or of an index.
    pub(crate) target: Digest,
    /// The content store's root, which holds `blobs/sha256/…`.
    pub(crate) content: PathBuf,
}

/// Asks containerd.
pub(crate) fn resolve(name: &str, namespace: &str, address: &str) -> anyhow::Result<Resolved> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::new(address, namespace);
        let image = client.image(name).await.with_context(|| {
            let full = match name.contains('/') {
                true => "",
                // As `ctr images ls` has them.
                false => {
                    " (containerd knows it by its full name, such as docker.io/library/debian:12)"
                }
            };
            let name = escape(name.as_bytes());
            let address = escape(address.as_bytes());
            format!(
                "asking containerd at {address} for the image {name} of namespace {namespace}{full}"
            )
        })?;
        Ok(Resolved { target: image.target, content: client.content_root().await? })
    })
}
