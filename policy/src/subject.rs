//! A container as rules see it.

use lacre_types::Digest;

/// A container, as rules know it. What is not known stays empty, and matches no rule.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// Its id in containerd.
    pub container_id: &'a str,
    /// The digests by which its image is known: of the configuration (what Docker calls
    /// the image's id), of the manifest, of the index.
    pub image_digests: &'a [Digest],
    /// Its image's name, in any form.
    pub image_name: Option<&'a str>,
    /// containerd's namespace, and the pod's where there is one.
    pub namespaces: &'a [&'a str],
    /// Its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// Its OCI annotations.
    pub annotations: &'a [(&'a str, &'a str)],
}
