use std::collections::BTreeMap;

use lacre_types::Digest;
use serde::Deserialize;

use crate::{Client, Error};

/// Whose image a container has, as far as containerd knows. Docker tells it neither image
/// nor snapshot: then those are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The container's id.
    pub container: String,
    /// The image's name.
    pub image_name: Option<String>,
    /// The digest of the image's manifest or index; `None` also when the image was deleted
    /// from the store since.
    pub image_digest: Option<Digest>,
    /// The snapshotter that holds its root.
    pub snapshotter: Option<String>,
    /// The key of its snapshot.
    pub snapshot_key: Option<String>,
    /// The chain id that its snapshot stands on.
    pub parent: Option<Digest>,
    /// The container's labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations of its OCI spec.
    pub annotations: BTreeMap<String, String>,
    /// The runtime's name.
    pub runtime: String,
    /// The sandbox it belongs to.
    pub sandbox: Option<String>,
}

/// Where 1.6 and 1.7 name the sandbox.
const SANDBOX_ANNOTATION: &str = "io.kubernetes.cri.sandbox-id";

#[derive(Deserialize, Default)]
pub(crate) struct Spec {
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Client {
    /// Whose image a container has. Three calls at most; what is not there is `None`.
    ///
    /// # Errors
    /// When there is no such container, its spec can't be read, or containerd does not tell.
    pub async fn identity(&self, container: &str) -> Result<Identity, Error> {
        let record = self.container(container).await?;
        let annotations = if record.spec.is_empty() {
            BTreeMap::new()
        } else {
            let spec: Spec =
                serde_json::from_slice(&record.spec).map_err(|error| Error::Answer {
                    call: "Containers/Get",
                    on: container.into(),
                    problem: format!("its spec is not an OCI spec: {error}"),
                })?;
            spec.annotations
        };
        let image_digest = if record.image.is_empty() {
            None
        } else {
            there(self.image(&record.image).await)?.map(|image| image.target)
        };
        let parent = if record.snapshot_key.is_empty() || record.snapshotter.is_empty() {
            None
        } else {
            there(self.snapshot(&record.snapshotter, &record.snapshot_key).await)?
                .and_then(|snapshot| snapshot.parent.parse().ok())
        };
        let sandbox = some(record.sandbox).or_else(|| annotations.get(SANDBOX_ANNOTATION).cloned());
        Ok(Identity {
            container: record.id,
            image_name: some(record.image),
            image_digest,
            snapshotter: some(record.snapshotter),
            snapshot_key: some(record.snapshot_key),
            parent,
            labels: record.labels,
            annotations,
            runtime: record.runtime,
            sandbox,
        })
    }
}

fn there<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
