//! The records of containers: read, made anew, labelled, deleted.

use std::collections::BTreeMap;

use crate::{Client, Error, wire};

const CREATE: &str = "/containerd.services.containers.v1.Containers/Create";
const GET: &str = "/containerd.services.containers.v1.Containers/Get";
const LIST: &str = "/containerd.services.containers.v1.Containers/List";
const UPDATE: &str = "/containerd.services.containers.v1.Containers/Update";
const DELETE: &str = "/containerd.services.containers.v1.Containers/Delete";

/// The type of a specification (containerd's `typeurl` of `specs.Spec`).
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

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
    /// The runtime's options, as whoever made the container gave them.
    pub runtime_options: Option<Message>,
    /// When the record was made, by containerd's clock.
    pub created_at: Option<Moment>,
    /// What a client keeps there for itself: CRI what the kubelet asked for, as JSON.
    pub extensions: BTreeMap<String, Message>,
}

/// A message of any type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The name of its type.
    pub type_url: String,
    /// The message.
    pub value: Vec<u8>,
}

/// A time: seconds after 1970, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    seconds: i64,
    nanos: i32,
}

impl From<wire::Any> for Message {
    fn from(wire::Any { type_url, value }: wire::Any) -> Self {
        Self { type_url, value }
    }
}

impl From<wire::Timestamp> for Moment {
    fn from(wire::Timestamp { seconds, nanos }: wire::Timestamp) -> Self {
        Self { seconds, nanos }
    }
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

    /// Makes a container's record, with this id, runtime and specification, and these labels;
    /// nothing else of `container` is written.
    ///
    /// # Errors
    /// When there is one of this id, or containerd refuses.
    pub async fn create_container(&self, container: &Container) -> Result<(), Error> {
        let Container { id, labels, runtime, spec, .. } = container.clone();
        let container = wire::Container {
            id: id.clone(),
            labels,
            runtime: Some(wire::Runtime { name: runtime, options: None }),
            spec: Some(wire::Any { type_url: SPEC.into(), value: spec }),
            ..Default::default()
        };
        let request = wire::OneContainer { container: Some(container) };
        self.unary::<_, wire::OneContainer>(CREATE, &id, request).await?;
        Ok(())
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
        let runtime = wire.runtime.unwrap_or_default();
        let extensions = wire.extensions.into_iter();
        Self {
            id: wire.id,
            labels: wire.labels,
            image: wire.image,
            runtime: runtime.name,
            snapshotter: wire.snapshotter,
            snapshot_key: wire.snapshot_key,
            sandbox: wire.sandbox,
            spec: wire.spec.unwrap_or_default().value,
            runtime_options: runtime.options.map(Message::from),
            created_at: wire.created_at.map(Moment::from),
            extensions: extensions.map(|(name, any)| (name, any.into())).collect(),
        }
    }
}
