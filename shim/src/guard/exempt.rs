//! Which containers are forwarded without a guard.

use std::path::Path;

use super::identity::Pod;
use crate::config::Config;

/// The node's configuration says that these containers are only forwarded for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exempt {
    because: String,
}

impl Exempt {
    /// Whether the containers of the inner shim that was started for `bundle` are exempt.
    #[must_use]
    pub fn by_config(config: &Config, namespace: &str, bundle: &Path) -> Option<Self> {
        let listed = |name: &str| config.exempt.namespaces.iter().any(|listed| listed == name);
        if listed(namespace) {
            return Some(Self { because: format!("containerd namespace {namespace}") });
        }
        if config.exempt.namespaces.is_empty() {
            return None;
        }
        let pod = Pod::of_bundle(namespace, bundle)?.namespace?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_exempt() {
        let dir = tempfile::tempdir().unwrap();
        let spec = r#"{"annotations": {"io.kubernetes.cri.sandbox-namespace": "kube-system",
            "io.kubernetes.cri.sandbox-id": "4f"}}"#;
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
