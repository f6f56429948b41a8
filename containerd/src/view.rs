//! A look at what a container's image was unpacked to.

use std::path::PathBuf;

use lacre_types::overlay;

use crate::{Client, Error, Mount};

/// A read-only snapshot that is made to look at what it stands on, and goes with its lease.
#[derive(Debug)]
pub struct View {
    client: Client,
    snapshotter: String,
    key: String,
    /// How it is mounted.
    pub mounts: Vec<Mount>,
}

impl Client {
    /// A view of what was committed as `parent`. `key` is no other snapshot's and no other
    /// lease's; what nobody removes ends at `expires` (RFC 3339).
    ///
    /// # Errors
    /// When there is no such snapshot, or containerd refuses.
    pub async fn view(
        &self,
        snapshotter: &str,
        parent: &str,
        key: &str,
        expires: &str,
    ) -> Result<View, Error> {
        self.create_lease(key, expires).await?;
        let made = self.under_lease(key).view_snapshot(snapshotter, key, parent).await;
        match made {
            Ok(mounts) => Ok(View {
                client: self.clone(),
                snapshotter: snapshotter.to_owned(),
                key: key.to_owned(),
                mounts,
            }),
            Err(error) => {
                // What can't be deleted now ends by itself.
                let _ = self.delete_lease(key).await;
                Err(error)
            }
        }
    }
}

impl View {
    /// Nobody needs it any more. What can't be removed now goes with its lease.
    pub async fn remove(self) {
        let _ = self.client.remove_snapshot(&self.snapshotter, &self.key).await;
        let _ = self.client.delete_lease(&self.key).await;
    }
}

impl Mount {
    /// The directories that it shows, topmost first, where it mounts no file system of its own.
    #[must_use]
    pub fn directories(&self) -> Option<Vec<PathBuf>> {
        match self.kind.as_str() {
            "bind" => Some(vec![PathBuf::from(&self.source)]),
            "overlay" => {
                let values = self.options.iter().filter_map(|it| it.strip_prefix("lowerdir="));
                Some(values.flat_map(|value| overlay::paths(value.as_bytes())).collect())
            }
            _ => None,
        }
    }
}
