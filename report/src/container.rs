//! A container as the policy server is told of it.

use std::collections::BTreeMap;

/// A container, as the policy tells it from others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// containerd's id.
    pub id: String,
    /// containerd's namespace.
    pub namespace: String,
    /// What names this life of it on its node, where another containerd may have the same
    /// namespace and id, and an id comes again: what is stored goes by it, and what the server
    /// has for it.
    pub generation: String,
    /// The digests by which its image is known, each `sha256:…`: of the configuration, of
    /// the manifest, of the index.
    pub image_digests: Vec<String>,
    /// The image as the user named it; empty when nobody knows.
    pub image_name: String,
    /// containerd's labels.
    pub labels: BTreeMap<String, String>,
    /// The OCI annotations.
    pub annotations: BTreeMap<String, String>,
    /// The pod's sandbox, where there is one.
    pub pod: Option<String>,
    /// The pod's namespace in Kubernetes, where there is one.
    pub pod_namespace: Option<String>,
}
