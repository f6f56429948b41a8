//! A clean snapshot for a container, on the same image.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use lacre_containerd::{Change, Client, Container, Error};
use lacre_types::rfc3339;

use crate::backoff::{COUNT, LAST, now};
use crate::helper::retry::{persist, there};

/// How long the lease stands if nobody is left to drop it: ten calls' patience.
const LEASE: Duration = Duration::from_secs(600);

/// A snapshot that no record names yet. Until one does, a lease keeps it from containerd's
/// garbage collector.
struct Fresh<'a> {
    client: &'a Client,
    key: String,
    lease: String,
}

/// Swaps the container's snapshot for a new one on the same parent, and tells its key;
/// `None` when the container is gone.
pub(crate) async fn renew(
    client: &Client,
    record: &Container,
    count: u32,
) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let Container { id, snapshotter, snapshot_key: old, .. } = record;
    if old.is_empty() || snapshotter.is_empty() {
        return Err("killed; containerd keeps no snapshot of it, so it has no clean one".into());
    }
    let info = persist(|| async { there(client.snapshot(snapshotter, old).await) }).await?;
    let Some(info) = info else { return Ok(None) };
    if info.parent.is_empty() {
        return Err("killed; its snapshot stands on no image, so there is no clean one".into());
    }
    let key = format!("{id}-lacre-{count}-{}", now());
    let fresh = Fresh::prepare(client, snapshotter, key, &info.parent, info.labels).await?;
    let change = Change {
        snapshot_key: Some(fresh.key.clone()),
        labels: BTreeMap::from([
            (COUNT.to_owned(), count.to_string()),
            (LAST.to_owned(), now().to_string()),
        ]),
        without: Vec::new(),
    };
    let updated =
        persist(|| async { there(client.update_container(id, change.clone()).await) }).await;
    // One of the two is nobody's now. Where that is not known, the lease's end decides.
    let useless = match &updated {
        Ok(Some(_)) => old,
        Ok(None) => &fresh.key,
        Err(_) => return Ok(updated.map(|_| None)?),
    };
    persist(|| async { there(client.remove_snapshot(snapshotter, useless).await) }).await?;
    let key = fresh.release().await?;
    Ok(updated?.map(|_| key))
}

impl<'a> Fresh<'a> {
    async fn prepare(
        client: &'a Client,
        snapshotter: &str,
        key: String,
        parent: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let lease = format!("lacre-{key}");
        let fresh = Self { client, key, lease };
        let expires = rfc3339(SystemTime::now() + LEASE);
        ours(persist(|| client.create_lease(&fresh.lease, &expires)).await)?;
        let labels: BTreeMap<_, _> =
            labels.into_iter().filter(|(name, _)| !name.starts_with("containerd.io/gc.")).collect();
        let leased = client.under_lease(&fresh.lease);
        let prepare = || leased.prepare_snapshot(snapshotter, &fresh.key, parent, labels.clone());
        match ours(persist(prepare).await.map(drop)) {
            Ok(()) => Ok(fresh),
            Err(error) => {
                // What can't be dropped now ends by itself.
                let _ = fresh.release().await;
                Err(error)
            }
        }
    }

    /// Drops the lease: what no record names by now, containerd collects.
    async fn release(self) -> Result<String, Error> {
        persist(|| async { there(self.client.delete_lease(&self.lease).await) }).await?;
        Ok(self.key)
    }
}

/// There already: ours, whose answer was lost.
fn ours(answer: Result<(), Error>) -> Result<(), Error> {
    match answer {
        Err(error) if error.already_exists() => Ok(()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;
    use lacre_integration::images::busybox_image;
    use lacre_integration::{Containerd, Version};

    /// containerd answers a synchronous removal when it has collected its garbage.
    fn collect_garbage(daemon: &Containerd, image: &str) -> Result<()> {
        daemon.ctr(&["images", "tag", "--force", image, "lacre.test/gone:1"])?.ok()?;
        daemon.ctr(&["images", "rm", "--sync", "lacre.test/gone:1"])?.ok().map(drop)
    }

    fn survives(version: Version) -> Result<()> {
        let daemon = Containerd::start(version)?;
        let image = busybox_image()?;
        daemon.import(&image)?;
        daemon.ctr(&["containers", "create", image.name(), "one", "sleep", "1000"])?.ok()?;
        let address = daemon.socket().display().to_string();
        let client = Client::new(&address, daemon.namespace());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let record = client.container("one").await?;
            let parent = client.snapshot(&record.snapshotter, "one").await?.parent;
            let there = |key: &'static str| {
                let (client, snapshotter) = (&client, record.snapshotter.clone());
                async move {
                    match client.snapshot(&snapshotter, key).await {
                        Ok(_) => anyhow::Ok(true),
                        Err(error) if error.is_not_found() => Ok(false),
                        Err(error) => Err(error.into()),
                    }
                }
            };
            let prepare = |key: &str| {
                let (key, labels) = (key.to_owned(), BTreeMap::new());
                Fresh::prepare(&client, &record.snapshotter, key, &parent, labels)
            };
            // The control: without a lease it is garbage.
            let labels = BTreeMap::new();
            client.prepare_snapshot(&record.snapshotter, "bare", &parent, labels).await?;
            let fresh = prepare("fresh").await?;
            collect_garbage(&daemon, image.name())?;
            assert!(!there("bare").await?, "the collector ran");
            assert!(there("fresh").await?, "the lease held");
            let again = prepare("fresh").await;
            assert!(again.is_ok(), "as if the first answer had been lost");

            assert_eq!(fresh.release().await?, "fresh");
            collect_garbage(&daemon, image.name())?;
            assert!(!there("fresh").await?, "nobody named it");

            // One that cannot be made holds no lease either.
            let labels = BTreeMap::new();
            let wrong = Fresh::prepare(&client, &record.snapshotter, "x".into(), "no", labels);
            assert!(wrong.await.is_err());
            assert_eq!(daemon.ctr(&["leases", "ls", "-q"])?.ok()?, "");

            // And what a record names stays, once the lease is dropped.
            let key = renew(&client, &record, 1).await.map_err(|e| anyhow::anyhow!("{e}"))?;
            collect_garbage(&daemon, image.name())?;
            let named = client.container("one").await?.snapshot_key;
            assert_eq!(key.as_ref(), Some(&named));
            client.snapshot(&record.snapshotter, &named).await?;
            assert!(!there("one").await?, "the old one is gone");
            anyhow::Ok(())
        })
    }

    #[test]
    fn a_fresh_snapshot_outlives_the_collector_of_1_6() -> Result<()> {
        survives(Version::V1_6)
    }

    #[test]
    fn a_fresh_snapshot_outlives_the_collector_of_1_7() -> Result<()> {
        survives(Version::V1_7)
    }

    #[test]
    fn a_fresh_snapshot_outlives_the_collector_of_2_1() -> Result<()> {
        survives(Version::V2_1)
    }
}
