//! Which image a container of containerd's runs: resolved to its documents, and compared
//! with the snapshot that it stands on.

use lacre_containerd::{BlobCache, Client, Container, Error, ImageContent};
use lacre_types::{Digest, chain};

use super::pod::Request;
use crate::guard::lazy_content;

/// What the record's snapshot stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chain(Option<Digest>);

/// What a container's root was made from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Beneath {
    /// The manifest of the image whose layers the snapshot stands on.
    pub(crate) manifest: Option<Digest>,
    /// Who has the snapshot.
    pub(crate) snapshotter: String,
    /// The snapshot beneath it, which nobody writes to.
    pub(crate) parent: Option<String>,
    /// Why its files come over the network as they are read, by the snapshot's labels.
    pub(crate) lazy: Option<String>,
}

/// The image of a container, or why it is not known; and what its root was made from.
pub(super) async fn of_record(
    client: &Client,
    record: &Container,
    request: Option<&Request>,
    cache: &BlobCache,
) -> (Result<ImageContent, String>, Beneath) {
    let Container { snapshotter, snapshot_key: key, .. } = record;
    if key.is_empty() || snapshotter.is_empty() {
        let none = "containerd has no snapshot of it to compare an image with".to_owned();
        return (Err(none), Beneath::default());
    }
    let stands_on = async {
        let parent = client.snapshot(snapshotter, key).await.map_err(said)?.parent;
        let parent = Some(parent).filter(|parent| !parent.is_empty());
        let Some(parent) = parent else { return Ok((Ok(Chain(None)), None, None)) };
        let (chain, labels) = tokio::join!(
            chain_named(client, snapshotter, &parent),
            client.snapshot(snapshotter, &parent)
        );
        let lazy = lazy_content::by_labels(&labels.map_err(said)?.labels);
        Ok::<_, String>((chain, Some(parent), lazy))
    };
    let (target, stands_on) = tokio::join!(target(client, record, request), stands_on);
    let (chain, parent, lazy) = match stands_on {
        Ok(stands_on) => stands_on,
        Err(why) => return (Err(why), Beneath::default()),
    };
    let content = match (target, chain) {
        (Ok(target), Ok(chain)) => with_layers(client, &target, chain, cache).await,
        (Err(why), _) | (_, Err(why)) => Err(why),
    };
    let manifest = content.as_ref().ok().and_then(|content| content.manifest);
    let snapshotter = snapshotter.clone();
    (content, Beneath { manifest, snapshotter, parent, lazy })
}

/// The image beneath `target` that has these layers.
async fn with_layers(
    client: &Client,
    target: &Digest,
    Chain(chain): Chain,
    cache: &BlobCache,
) -> Result<ImageContent, String> {
    let content = client.image_content(target, chain, cache).await.map_err(said)?;
    content.ok_or_else(|| {
        format!("{target} is not what the container's snapshot was made from, or is not there")
    })
}

/// The digest to begin with: by the id that CRI had resolved when it created the container,
/// else by the name, if that was given to no image since then.
async fn target(
    client: &Client,
    record: &Container,
    request: Option<&Request>,
) -> Result<Digest, String> {
    if let Some(id) = request.and_then(|request| request.image_id.as_deref()) {
        // CRI has a record of the id too, whose target is the index or the manifest.
        return match client.image(id).await {
            Ok(image) => Ok(image.target),
            Err(error) if error.is_not_found() => {
                id.parse().map_err(|error| format!("CRI's id of its image: {}", chain(&error)))
            }
            Err(error) => Err(said(error)),
        };
    }
    if record.image.is_empty() {
        return Err("containerd has no image of it".to_owned());
    }
    let image = client.image(&record.image).await.map_err(said)?;
    match (image.updated_at, record.created_at) {
        (Some(given), Some(created)) if given <= created => Ok(image.target),
        _ => Err(format!(
            "the name {} was given to an image after the container was created",
            record.image
        )),
    }
}

/// What a snapshot stands on. Snapshotters name what they have unpacked by its chain id.
async fn chain_of(client: &Client, snapshotter: &str, key: &str) -> Result<Chain, String> {
    let parent = client.snapshot(snapshotter, key).await.map_err(said)?.parent;
    if parent.is_empty() {
        return Ok(Chain(None));
    }
    chain_named(client, snapshotter, &parent).await
}

/// What a committed snapshot holds.
async fn chain_named(client: &Client, snapshotter: &str, parent: &str) -> Result<Chain, String> {
    if let Ok(chain) = parent.parse() {
        return Ok(Chain(Some(chain)));
    }
    // For a user namespace clients stand it on a copy with other owners, which is called by
    // the chain id and the mapping (containerd, `WithRemappedSnapshot`).
    let original = parent.split_once('-').map(|(original, _)| original);
    let Some(Ok(original)) = original.map(str::parse::<Digest>) else {
        return Err(format!("its snapshot stands on {parent}, which is no image's"));
    };
    let below = client.snapshot(snapshotter, parent).await.map_err(said)?.parent;
    if below.parse() == Ok(original) {
        Ok(Chain(Some(original)))
    } else {
        Err(format!("its snapshot stands on {parent}, which is no copy of {original}"))
    }
}

/// An image that Docker keeps in containerd's store: its snapshot is called by the container,
/// and stands on a layer for Docker's own files (moby, daemon/containerd).
pub(super) async fn of_docker(
    client: &Client,
    cache: &BlobCache,
    target: &Digest,
    snapshotter: &str,
    id: &str,
) -> Result<ImageContent, String> {
    let below = format!("{id}-init");
    let (own, chain) =
        tokio::join!(client.snapshot(snapshotter, id), chain_of(client, snapshotter, &below));
    let parent = own.map_err(said)?.parent;
    if parent != below {
        return Err(format!("its snapshot stands on {parent}, and not on {below}"));
    }
    with_layers(client, target, chain?, cache).await
}

#[allow(clippy::needless_pass_by_value, reason = "it is used as a function")]
fn said(error: Error) -> String {
    chain(&error)
}
