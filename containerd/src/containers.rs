use std::collections::BTreeMap;

use crate::{Client, Error, wire};

const GET: &str = "/containerd.services.containers.v1.Containers/Get";
const LIST: &str = "/containerd.services.containers.v1.Containers/List";
const UPDATE: &str = "/containerd.services.containers.v1.Containers/Update";
const DELETE: &str = "/containerd.services.containers.v1.Containers/Delete";

/// A container's record. What containerd does not know is empty: dockerd hands over
/// neither image nor snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The image's name.
    pub image: String,
    /// The runtime's name, such as `io.containerd.lacre.v1`.
    pub runtime: String,
    /// The snapshotter that holds its root.
    pub snapshotter: String,
    /// The key of its snapshot.
    pub snapshot_key: String,
    /// The sandbox that it belongs to (2.x; older daemons say it in a label only).
    pub sandbox: String,
    /// The OCI spec, JSON.
    pub spec: Vec<u8>,
}

/// What to change in a container's record; the rest stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The snapshot's key.
    pub snapshot_key: Option<String>,
    /// Labels to set. Other labels stay.
    pub labels: BTreeMap<String, String>,
    /// Labels to take away.
    pub without: Vec<String>,
}

impl Client {
    /// A container's record.
    ///
    /// # Errors
    /// When there is none, or containerd does not tell.
    pub async fn container(&self, id: &str) -> Result<Container, Error> {
        let answer: wire::OneContainer =
            self.unary(GET, id, wire::Named { name: id.into() }).await?;
        answer.container.map(Container::from).ok_or_else(|| no_container(GET, id))
    }

    /// The containers that one of the filters matches (containerd's filter syntax); all of
    /// the namespace with no filter.
    ///
    /// # Errors
    /// When containerd does not tell.
    pub async fn containers(&self, filters: &[&str]) -> Result<Vec<Container>, Error> {
        let filters = filters.iter().map(|&filter| filter.into()).collect();
        let answer: wire::Containers =
            self.unary(LIST, self.namespace(), wire::Filters { filters }).await?;
        Ok(answer.containers.into_iter().map(Container::from).collect())
    }

    /// Changes a container's record.
    ///
    /// # Errors
    /// When there is none, or containerd refuses.
    pub async fn update_container(&self, id: &str, change: Change) -> Result<Container, Error> {
        let mut container = wire::Container { id: id.into(), ..Default::default() };
        let mut paths = Vec::new();
        if let Some(key) = change.snapshot_key {
            container.snapshot_key = key;
            // Not `snapshot_key`: containerd's own spelling (metadata/containers.go).
            paths.push("snapshotkey".into());
        }
        if change.without.is_empty() {
            paths.extend(change.labels.keys().map(|key| format!("labels.{key}")));
            container.labels = change.labels;
        } else {
            // A mask can't take a label away; all of them are written anew.
            container.labels = self.container(id).await?.labels;
            container.labels.extend(change.labels);
            container.labels.retain(|key, _| !change.without.contains(key));
            paths.push("labels".into());
        }
        let request = wire::UpdateContainer {
            container: Some(container),
            mask: Some(wire::FieldMask { paths }),
        };
        let answer: wire::OneContainer = self.unary(UPDATE, id, request).await?;
        answer.container.map(Container::from).ok_or_else(|| no_container(UPDATE, id))
    }

    /// Deletes a container's record; its task must be gone.
    ///
    /// # Errors
    /// When there is none, or containerd refuses.
    pub async fn delete_container(&self, id: &str) -> Result<(), Error> {
        self.unary::<_, wire::Empty>(DELETE, id, wire::Named { name: id.into() }).await?;
        Ok(())
    }
}

fn no_container(call: &'static str, id: &str) -> Error {
    Error::Answer {
        call: crate::client::short(call),
        on: id.into(),
        problem: "there is no container in it".into(),
    }
}

impl From<wire::Container> for Container {
    fn from(wire: wire::Container) -> Self {
        Self {
            id: wire.id,
            labels: wire.labels,
            image: wire.image,
            runtime: wire.runtime.unwrap_or_default().name,
            snapshotter: wire.snapshotter,
            snapshot_key: wire.snapshot_key,
            sandbox: wire.sandbox,
            spec: wire.spec.unwrap_or_default().value,
        }
    }
}
