//! The pod that a container belongs to, as CRI says it.

use std::collections::BTreeMap;
use std::path::Path;

use lacre_containerd::Container;
use serde::{Deserialize, Serialize};

use crate::container::spec::Spec;

/// The containerd namespace of CRI. In another, whoever creates containers writes the
/// annotations below, and they say nothing of a pod.
const CRI: &str = "k8s.io";

// containerd, pkg/cri/annotations.
const SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";
const SANDBOX_NAME: &str = "io.kubernetes.cri.sandbox-name";
const SANDBOX_NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";
const CONTAINER_NAME: &str = "io.kubernetes.cri.container-name";
const IMAGE_NAME: &str = "io.kubernetes.cri.image-name";
const SANDBOX_IMAGE_NAME: &str = "io.kubernetes.cri.podsandbox.image-name";

// containerd, pkg/cri/labels: where CRI keeps what the kubelet asked for.
const CONTAINER_METADATA: &str = "io.cri-containerd.container.metadata";
const SANDBOX_METADATA: &str = "io.cri-containerd.sandbox.metadata";

/// A pod, by the annotations that CRI writes into the specification. This is the only place
/// that makes one: `exempt`, rules and records all ask here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pod {
    /// The id of its sandbox.
    pub(crate) sandbox: String,
    /// Its name.
    pub(crate) name: Option<String>,
    /// Its namespace in Kubernetes.
    pub(crate) namespace: Option<String>,
    /// The container's name in it; the sandbox has none.
    pub(crate) container: Option<String>,
    /// The image's name, as far as the annotations know it.
    pub(super) image: Option<String>,
}

impl Pod {
    /// The pod of a container in that containerd namespace; `None` elsewhere than in CRI's.
    pub(crate) fn of(namespace: &str, annotations: &BTreeMap<String, String>) -> Option<Self> {
        if namespace != CRI {
            return None;
        }
        let said = |key| annotations.get(key).filter(|text| !text.is_empty()).cloned();
        Some(Self {
            sandbox: said(SANDBOX_ID)?,
            name: said(SANDBOX_NAME),
            namespace: said(SANDBOX_NAMESPACE),
            container: said(CONTAINER_NAME),
            image: said(IMAGE_NAME).or_else(|| said(SANDBOX_IMAGE_NAME)),
        })
    }

    /// The same, from a bundle.
    pub(crate) fn of_bundle(namespace: &str, bundle: &Path) -> Option<Self> {
        // Nothing is read where nothing could be believed.
        if namespace != CRI {
            return None;
        }
        Self::of(namespace, &Spec::read(bundle).ok()?.annotations)
    }

    /// Whether the container is the pod's own sandbox.
    pub(super) fn is_sandbox(&self, id: &str) -> bool {
        self.sandbox == id
    }
}

/// What the kubelet asked for, as CRI keeps it beside the container's record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Request {
    /// The image's name, as the pod has it.
    pub(super) image: Option<String>,
    /// The image's id: CRI resolved the name when it created the container.
    pub(super) image_id: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Request {
    /// From a record in CRI's namespace.
    pub(super) fn of(record: &Container) -> Option<Self> {
        let extension = |key| record.extensions.get(key).map(|message| &message.value);
        let bytes = extension(CONTAINER_METADATA).or_else(|| extension(SANDBOX_METADATA))?;
        Self::parse(bytes)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Versioned {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Metadata {
            config: Config,
            #[serde(default)]
            image_ref: String,
        }
        /// `ContainerConfig` or `PodSandboxConfig` (cri-api, runtime/v1).
        #[derive(Deserialize)]
        struct Config {
            image: Option<Image>,
            labels: Option<BTreeMap<String, String>>,
            annotations: Option<BTreeMap<String, String>>,
        }
        #[derive(Deserialize)]
        struct Image {
            #[serde(default)]
            image: String,
            #[serde(default)]
            user_specified_image: String,
        }
        let Versioned { metadata: Metadata { config, image_ref } } =
            serde_json::from_slice(bytes).ok()?;
        // The kubelet resolves the name first, and then asks for the id.
        let asked = config.image.map(|image| [image.user_specified_image, image.image]);
        let image = asked.into_iter().flatten().find(|name| !name.is_empty() && !is_id(name));
        Some(Self {
            image,
            image_id: Some(image_ref).filter(|id| !id.is_empty()),
            labels: config.labels.unwrap_or_default(),
            annotations: config.annotations.unwrap_or_default(),
        })
    }
}

fn is_id(name: &str) -> bool {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations() -> BTreeMap<String, String> {
        [
            (SANDBOX_ID, "4f"),
            (SANDBOX_NAME, "web-0"),
            (SANDBOX_NAMESPACE, "prod"),
            (CONTAINER_NAME, "app"),
            (IMAGE_NAME, "docker.io/library/app:1"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn a_pod_is_believed_in_cris_namespace_alone() {
        let pod = Pod::of(CRI, &annotations()).unwrap();
        assert_eq!(pod.namespace.as_deref(), Some("prod"));
        assert_eq!((pod.name.as_deref(), pod.container.as_deref()), (Some("web-0"), Some("app")));
        for namespace in ["default", "moby", "k8s.io.x", "", "K8S.IO"] {
            assert_eq!(Pod::of(namespace, &annotations()), None, "{namespace}");
        }
        let mut alone = annotations();
        alone.remove(SANDBOX_ID);
        assert_eq!(Pod::of(CRI, &alone), None, "a namespace without a sandbox is no pod's");
    }

    #[test]
    fn the_name_that_the_pod_asked_for_is_told() {
        let id = format!("sha256:{}", "a".repeat(64));
        let parse = |image: &str| {
            let text = format!(
                r#"{{"Version":"v1","Metadata":{{"ID":"c","ImageRef":"{id}","Config":{{
                    "metadata":{{"name":"app"}},"image":{image},"labels":{{"a":"b"}}}}}}}}"#
            );
            Request::parse(text.as_bytes()).unwrap()
        };
        let both = parse(&format!(r#"{{"image":"{id}","user_specified_image":"app:1"}}"#));
        assert_eq!(both.image.as_deref(), Some("app:1"));
        assert_eq!(both.image_id.as_deref(), Some(id.as_str()));
        assert_eq!(both.labels.get("a").map(String::as_str), Some("b"));
        assert_eq!(parse(r#"{"image":"app:2"}"#).image.as_deref(), Some("app:2"));
        assert_eq!(parse(&format!(r#"{{"image":"{id}"}}"#)).image, None);
        assert_eq!(parse("null").image, None);
    }
}
