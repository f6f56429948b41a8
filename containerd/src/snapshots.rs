//! Snapshots and how they are mounted.

use std::collections::BTreeMap;

use crate::{Client, Error, wire};

const STAT: &str = "/containerd.services.snapshots.v1.Snapshots/Stat";
const PREPARE: &str = "/containerd.services.snapshots.v1.Snapshots/Prepare";
const VIEW: &str = "/containerd.services.snapshots.v1.Snapshots/View";
const MOUNTS: &str = "/containerd.services.snapshots.v1.Snapshots/Mounts";
const REMOVE: &str = "/containerd.services.snapshots.v1.Snapshots/Remove";
const LIST: &str = "/containerd.services.snapshots.v1.Snapshots/List";

/// A mount as a snapshotter hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The file system's type, such as `overlay`.
    pub kind: String,
    /// The source.
    pub source: String,
    /// Options, such as `lowerdir=…`.
    pub options: Vec<String>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its key.
    pub name: String,
    /// What it stands on: for a container's, the chain id of the image's layers.
    pub parent: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Client {
    /// One snapshot.
    ///
    /// # Errors
    /// When there is none, or containerd does not tell.
    pub async fn snapshot(&self, snapshotter: &str, key: &str) -> Result<SnapshotInfo, Error> {
        let answer: wire::OneSnapshot = self.unary(STAT, key, named(snapshotter, key)).await?;
        answer.info.map(SnapshotInfo::from).ok_or_else(|| Error::Answer {
            call: crate::client::short(STAT),
            on: key.into(),
            problem: "there is no snapshot in it".into(),
        })
    }

    /// Makes a writable snapshot on a parent, and says how to mount it.
    ///
    /// # Errors
    /// When the key exists, the parent does not, or containerd refuses.
    pub async fn prepare_snapshot(
        &self,
        snapshotter: &str,
        key: &str,
        parent: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<Vec<Mount>, Error> {
        self.new_snapshot(PREPARE, snapshotter, key, parent, labels).await
    }

    /// Makes a read-only snapshot of what was committed as `parent`, and says how to mount it.
    ///
    /// # Errors
    /// When the key exists, the parent does not, or containerd refuses.
    pub async fn view_snapshot(
        &self,
        snapshotter: &str,
        key: &str,
        parent: &str,
    ) -> Result<Vec<Mount>, Error> {
        self.new_snapshot(VIEW, snapshotter, key, parent, BTreeMap::new()).await
    }

    async fn new_snapshot(
        &self,
        call: &'static str,
        snapshotter: &str,
        key: &str,
        parent: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<Vec<Mount>, Error> {
        let request = wire::NewSnapshot {
            snapshotter: snapshotter.into(),
            key: key.into(),
            parent: parent.into(),
            labels,
        };
        let answer: wire::Mounts = self.unary(call, key, request).await?;
        Ok(answer.mounts.into_iter().map(Mount::from).collect())
    }

    /// How to mount an active snapshot.
    ///
    /// # Errors
    /// When there is none, or containerd does not tell.
    pub async fn snapshot_mounts(&self, snapshotter: &str, key: &str) -> Result<Vec<Mount>, Error> {
        let answer: wire::Mounts = self.unary(MOUNTS, key, named(snapshotter, key)).await?;
        Ok(answer.mounts.into_iter().map(Mount::from).collect())
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// When there is none, something stands on it, or containerd refuses.
    pub async fn remove_snapshot(&self, snapshotter: &str, key: &str) -> Result<(), Error> {
        self.unary::<_, wire::Empty>(REMOVE, key, named(snapshotter, key)).await?;
        Ok(())
    }

    /// The snapshots that one of the filters matches; all of the namespace with no filter.
    ///
    /// # Errors
    /// When containerd does not tell.
    pub async fn snapshots(
        &self,
        snapshotter: &str,
        filters: &[&str],
    ) -> Result<Vec<SnapshotInfo>, Error> {
        let filters = filters.iter().map(|&filter| filter.into()).collect();
        let request = wire::ListSnapshots { snapshotter: snapshotter.into(), filters };
        let mut parts = self.stream::<_, wire::Snapshots>(LIST, snapshotter, request).await?;
        let mut all = Vec::new();
        loop {
            let part = async {
                parts.message().await.map_err(|status| self.failed(LIST, snapshotter, &status))
            };
            match self.in_time(LIST, snapshotter, part).await? {
                Some(part) => all.extend(part.info.into_iter().map(SnapshotInfo::from)),
                None => return Ok(all),
            }
        }
    }
}

fn named(snapshotter: &str, key: &str) -> wire::Snapshot {
    wire::Snapshot { snapshotter: snapshotter.into(), key: key.into() }
}

impl From<wire::SnapshotInfo> for SnapshotInfo {
    fn from(wire: wire::SnapshotInfo) -> Self {
        Self { name: wire.name, parent: wire.parent, labels: wire.labels }
    }
}

impl From<wire::Mount> for Mount {
    fn from(wire: wire::Mount) -> Self {
        Self { kind: wire.kind, source: wire.source, options: wire.options }
    }
}
