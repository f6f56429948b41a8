//! What the containers of one image are copied from.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::grpc::{Client, Container, Named, OneContainer, OneSnapshot, Snapshot};
use crate::{Containerd, Image};

pub(super) const SNAPSHOTTER: &str = "overlayfs";

/// The record that a container of one image has, to be copied.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) image: Image,
    pub(super) container: Container,
    pub(super) spec: Value,
    pub(super) parent: String,
}

impl Template {
    /// Imports an image, and has `ctr` make a container of it once.
    pub(super) fn of(
        daemon: &Containerd,
        client: &mut Client,
        image: Image,
        id: &str,
    ) -> Result<Self> {
        daemon.import(&image)?;
        let create = ["containers", "create", "--runtime", crate::Runtime::Runc.name()];
        let create = [&create[..], &[image.name(), id, "none"]].concat();
        daemon.ctr(&create)?.ok()?;
        let named = Named { name: id.into() };
        let answer: OneContainer = client.call("containers.v1.Containers/Get", named)?;
        let container = answer.container.context("no container in containerd's answer")?;
        ensure!(
            container.snapshotter == SNAPSHOTTER,
            "the snapshotter is {}",
            container.snapshotter
        );
        let spec = container.spec.as_ref().context("the container has no spec")?;
        let spec = serde_json::from_slice(&spec.value)?;
        let snapshotter = SNAPSHOTTER.into();
        let stat =
            Snapshot { snapshotter, key: container.snapshot_key.clone(), parent: String::new() };
        let OneSnapshot { info } = client.call("snapshots.v1.Snapshots/Stat", stat)?;
        let parent = info.context("no snapshot in containerd's answer")?.parent;
        Ok(Self { image, container, spec, parent })
    }
}
