//! Whose image a container has, and what lies beneath its root.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lacre_containerd::{Client, Identity};
use lacre_policy::{Effective, Policy, Subject};
use lacre_report::Origin;
use lacre_types::{Digest, Mode};
use serde::Deserialize;

use super::layers::Layers;
use crate::messages::CreateRequest;

/// An annotation on the container, which may only tighten what the node says.
const MODE: &str = "lacre.dev/mode";

/// Where CRI names the image in a spec, and the pod's sandbox (containerd, pkg/cri/annotations).
const CRI_IMAGE: &str = "io.kubernetes.cri.image-name";

/// Where CRI writes the pod's namespace, among the labels.
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";

/// A container, as the policy and the records tell it from others.
#[derive(Debug, Clone)]
pub(super) struct Who {
    pub(super) id: String,
    pub(super) namespace: String,
    pub(super) image_name: String,
    pub(super) image_digest: Option<Digest>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) pod: Option<String>,
}

impl Who {
    /// Asks containerd. A container of Docker's has no image there, which is no error.
    pub(super) async fn ask(
        containerd: &Path,
        namespace: &str,
        id: &str,
    ) -> Result<Self, lacre_containerd::Error> {
        let client = Client::new(&containerd.display().to_string(), namespace);
        Ok(Self::of(namespace, client.identity(id).await?, id))
    }

    /// One of which nothing but the name is known.
    pub(super) fn unknown(namespace: &str, id: &str) -> Self {
        Self::of(namespace, Identity::default(), id)
    }

    fn of(namespace: &str, identity: Identity, id: &str) -> Self {
        let Identity { image_name, image_digest, labels, annotations, sandbox, .. } = identity;
        let image_name =
            image_name.or_else(|| annotations.get(CRI_IMAGE).cloned()).unwrap_or_default();
        Self {
            id: id.to_owned(),
            namespace: namespace.to_owned(),
            image_name,
            image_digest,
            labels,
            annotations,
            pod: sandbox,
        }
    }

    /// The part of a policy that is about this container.
    pub(super) fn effective(&self, policy: &Policy) -> Effective {
        let pod = self.labels.get(POD_NAMESPACE).map(String::as_str);
        let namespaces: Vec<_> =
            [Some(self.namespace.as_str()), pod].into_iter().flatten().collect();
        policy.effective(&Subject {
            container_id: &self.id,
            image_digests: self.image_digest.as_slice(),
            image_name: (!self.image_name.is_empty()).then_some(&self.image_name),
            namespaces: &namespaces,
            labels: &pairs(&self.labels),
            annotations: &pairs(&self.annotations),
        })
    }

    pub(super) fn origin(&self, node: &str) -> Origin {
        Origin {
            container_id: self.id.clone(),
            namespace: self.namespace.clone(),
            image_name: self.image_name.clone(),
            image_id: self.image_digest.map(|digest| digest.to_string()).unwrap_or_default(),
            node: node.to_owned(),
            pod: self.pod.clone(),
        }
    }

    pub(super) fn registration(&self) -> lacre_report::Container {
        lacre_report::Container {
            id: self.id.clone(),
            namespace: self.namespace.clone(),
            image_digests: self.image_digest.iter().map(ToString::to_string).collect(),
            image_name: self.image_name.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            pod: self.pod.clone(),
            pod_namespace: self.labels.get(POD_NAMESPACE).cloned(),
        }
    }

    /// The mode that the container asks for, if that is stricter than `mode`.
    pub(super) fn tightened(&self, mode: Mode) -> Mode {
        let asked = self.annotations.get(MODE).and_then(|word| word.parse().ok());
        asked.map_or(mode, |asked: Mode| asked.max(mode))
    }
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    map.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// The root file system of a container that is being created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootFs {
    /// As this process reaches it, once it is mounted.
    pub(super) path: PathBuf,
    /// What lies beneath it; `None` where that is not an overlay.
    pub(super) layers: Option<Layers>,
}

impl RootFs {
    /// From the request, or, when whoever asks has mounted the root already (Docker), from
    /// the mount that is there.
    pub(super) fn of(request: &CreateRequest) -> Self {
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
    pub(super) fn mounted(bundle: &Path) -> Self {
        let path = root_path(bundle);
        let mountinfo = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let layers = Layers::from_mountinfo(&mountinfo, &path);
        Self { path, layers }
    }
}

/// `root.path` of the OCI spec, relative to the bundle.
fn root_path(bundle: &Path) -> PathBuf {
    #[derive(Deserialize)]
    struct Spec {
        root: Root,
    }
    #[derive(Deserialize)]
    struct Root {
        path: PathBuf,
    }
    let spec = fs::read(bundle.join("config.json")).ok();
    let spec: Option<Spec> = spec.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    bundle.join(spec.map_or_else(|| "rootfs".into(), |spec| spec.root.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_annotation(mode: &str) -> Who {
        let annotations = BTreeMap::from([(MODE.to_owned(), mode.to_owned())]);
        Who::of("default", Identity { annotations, ..Identity::default() }, "c")
    }

    #[test]
    fn a_container_may_tighten_and_not_loosen() {
        assert_eq!(with_annotation("enforce").tightened(Mode::Audit), Mode::Enforce);
        assert_eq!(with_annotation("audit").tightened(Mode::Enforce), Mode::Enforce);
        assert_eq!(with_annotation("nonsense").tightened(Mode::Audit), Mode::Audit);
    }

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
