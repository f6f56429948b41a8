//! Who would start a container again, and so must be told to or not to.

use std::collections::BTreeMap;

/// Who brings a container back after it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// containerd's own restart monitor, if it is asked to.
    Containerd,
    /// The kubelet, by the pod's restart policy, with a container of a new id.
    Kubelet,
    /// dockerd, by the container's restart policy.
    Docker,
}

impl Manager {
    /// Whose the container is, by its namespace and labels.
    #[must_use]
    pub fn of(namespace: &str, labels: &BTreeMap<String, String>) -> Self {
        if labels.contains_key("io.cri-containerd.kind") {
            Self::Kubelet
        } else if namespace == "moby" || labels.contains_key("com.docker/engine.bundle.path") {
            Self::Docker
        } else {
            Self::Containerd
        }
    }
}
