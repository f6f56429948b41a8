//! What containerd says of itself: version, namespaces, where its content lies.

use std::path::PathBuf;

use crate::{Client, Error, wire};

const VERSION: &str = "/containerd.services.version.v1.Version/Version";
const NAMESPACES: &str = "/containerd.services.namespaces.v1.Namespaces/List";
const PLUGINS: &str = "/containerd.services.introspection.v1.Introspection/Plugins";

/// Which containerd it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Such as `1.6.20~ds1`.
    pub version: String,
    /// The commit or package.
    pub revision: String,
}

impl Client {
    /// Which containerd it is.
    ///
    /// # Errors
    /// When containerd does not tell.
    pub async fn version(&self) -> Result<Version, Error> {
        let answer: wire::Version = self.unary(VERSION, "", wire::Empty {}).await?;
        Ok(Version { version: answer.version, revision: answer.revision })
    }

    /// The names of all namespaces.
    ///
    /// # Errors
    /// When containerd does not tell.
    pub async fn namespaces(&self) -> Result<Vec<String>, Error> {
        let answer: wire::Namespaces = self.unary(NAMESPACES, "", wire::Empty {}).await?;
        Ok(answer.namespaces.into_iter().map(|namespace| namespace.name).collect())
    }

    /// The folder of the content store, on this node's disk.
    ///
    /// # Errors
    /// When containerd does not tell, or keeps its content elsewhere.
    pub async fn content_root(&self) -> Result<PathBuf, Error> {
        self.plugin_root("io.containerd.content.v1", "content").await
    }

    /// The folder of a snapshotter, on this node's disk.
    ///
    /// # Errors
    /// When containerd does not tell, or the snapshotter is not one of its own.
    pub async fn snapshotter_root(&self, snapshotter: &str) -> Result<PathBuf, Error> {
        self.plugin_root("io.containerd.snapshotter.v1", snapshotter).await
    }

    async fn plugin_root(&self, kind: &str, id: &str) -> Result<PathBuf, Error> {
        let name = format!("{kind}.{id}");
        let filters = vec![format!("type=={kind},id=={id}")];
        let answer: wire::Plugins = self.unary(PLUGINS, &name, wire::Filters { filters }).await?;
        answer
            .plugins
            .into_iter()
            .filter(|plugin| plugin.kind == kind && plugin.id == id)
            .find_map(|mut plugin| plugin.exports.remove("root"))
            .map(PathBuf::from)
            .ok_or_else(|| Error::Answer {
                call: crate::client::short(PLUGINS),
                on: name,
                problem: "the plugin exports no root".into(),
            })
    }
}
