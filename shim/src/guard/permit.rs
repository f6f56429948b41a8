use std::path::Path;

use super::container::Guarded;
use crate::config::Config;
use crate::messages::ProcessId;

/// Leave to start one process. The wrapper's only way to forward a `Start` takes one, and
/// only guards, which are in this module, can make one.
#[derive(Debug)]
#[must_use = "a permit that is dropped starts nothing"]
pub struct Permit {
    process: ProcessId,
}

impl Permit {
    /// Without a guard, for what the node's configuration exempts.
    pub(super) fn exempt(_: &Exempt, process: ProcessId) -> Self {
        Self { process }
    }

    /// Of a container that is watched.
    pub(super) fn guarded(_: &Guarded, process: ProcessId) -> Self {
        Self { process }
    }

    /// What may be started.
    #[must_use]
    pub const fn process(&self) -> &ProcessId {
        &self.process
    }
}

/// The node's configuration says that these containers are only forwarded for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exempt {
    because: String,
}

/// Where CRI writes the Kubernetes namespace of a pod (containerd, pkg/cri/annotations).
const POD_NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";
/// The containerd namespace of CRI. In another, whoever creates containers could exempt
/// them by an annotation.
const CRI: &str = "k8s.io";

impl Exempt {
    /// Whether the containers of the inner shim that was started for `bundle` are exempt.
    #[must_use]
    pub fn by_config(config: &Config, namespace: &str, bundle: &Path) -> Option<Self> {
        let listed = |name: &str| config.exempt.namespaces.iter().any(|listed| listed == name);
        if listed(namespace) {
            return Some(Self { because: format!("containerd namespace {namespace}") });
        }
        if namespace != CRI || config.exempt.namespaces.is_empty() {
            return None;
        }
        let pod = pod_namespace(&bundle.join("config.json"))?;
        listed(&pod).then(|| Self { because: format!("Kubernetes namespace {pod}") })
    }

    #[cfg(test)]
    pub(super) fn for_a_test() -> Self {
        Self { because: "a test".to_owned() }
    }

    /// Why, for the log.
    #[must_use]
    pub fn because(&self) -> &str {
        &self.because
    }
}

fn pod_namespace(path: &Path) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Spec {
        #[serde(default)]
        annotations: std::collections::HashMap<String, String>,
    }
    let bytes = std::fs::read(path).ok()?;
    let mut spec: Spec = serde_json::from_slice(&bytes).ok()?;
    spec.annotations.remove(POD_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_exempt() {
        let dir = tempfile::tempdir().unwrap();
        let spec = format!(r#"{{"annotations": {{"{POD_NAMESPACE}": "kube-system"}}}}"#);
        std::fs::write(dir.path().join("config.json"), spec).unwrap();
        let exempt = |config: &str, namespace| {
            Exempt::by_config(&Config::parse(config).unwrap(), namespace, dir.path()).is_some()
        };
        let listed = "exempt: {namespaces: [kube-system, moby]}";
        assert!(exempt(listed, "k8s.io"));
        assert!(exempt(listed, "moby"));
        assert!(!exempt(listed, "default"), "an annotation alone exempts nothing");
        assert!(!exempt("exempt: {namespaces: [other]}", "k8s.io"));
        assert!(!exempt("", "k8s.io"));
    }
}
