//! Images as they come to a node, told by containerd's stream of events.

use std::future::Future;
use std::pin::Pin;

use prost::Message as _;

use crate::{Client, Error, wire};

const SUBSCRIBE: &str = "/containerd.services.events.v1.Events/Subscribe";

/// What has come to be on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageEvent {
    /// A name was given to an image; whether its layers are unpacked it does not say.
    Named {
        /// containerd's namespace.
        namespace: String,
        /// The image's name.
        image: String,
    },
    /// Layers were unpacked.
    Unpacked {
        /// containerd's namespace.
        namespace: String,
        /// Which snapshotter has them.
        snapshotter: String,
        /// What it calls them: for an image's layers their chain id.
        snapshot: String,
    },
}

/// What comes to be of images, in all namespaces. An event of the moment before the first was
/// waited for may be missed.
pub struct ImageEvents {
    client: Client,
    envelopes: Envelopes,
}

type Answer = Result<tonic::Streaming<wire::Envelope>, Error>;

enum Envelopes {
    /// The answer begins with the first.
    ToCome(Pin<Box<dyn Future<Output = Answer> + Send>>),
    Coming(Box<tonic::Streaming<wire::Envelope>>),
}

impl std::fmt::Debug for ImageEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageEvents").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Client {
    /// Follows what comes to be of images, in all namespaces.
    #[must_use]
    pub fn image_events(&self) -> ImageEvents {
        let client = self.clone();
        let filters = vec![r#"topic~="^/(images/(create|update)|snapshot/commit)$""#.to_owned()];
        let subscribe =
            async move { client.subscribe(SUBSCRIBE, "images", wire::Filters { filters }).await };
        ImageEvents { client: self.clone(), envelopes: Envelopes::ToCome(Box::pin(subscribe)) }
    }
}

impl ImageEvents {
    /// The next; `None` when containerd ends. It may be given up, and waited for again.
    ///
    /// # Errors
    /// When containerd takes no subscription, or breaks off.
    pub async fn next(&mut self) -> Result<Option<ImageEvent>, Error> {
        loop {
            let envelope = match &mut self.envelopes {
                Envelopes::ToCome(answer) => {
                    self.envelopes = Envelopes::Coming(Box::new(answer.await?));
                    continue;
                }
                Envelopes::Coming(envelopes) => envelopes.message().await,
            };
            let failed = |status| self.client.failed(SUBSCRIBE, "images", &status);
            let Some(envelope) = envelope.map_err(failed)? else { return Ok(None) };
            if let Some(event) = read(envelope) {
                return Ok(Some(event));
            }
        }
    }
}

/// One that can't be read is none: it names nothing that could be done.
fn read(envelope: wire::Envelope) -> Option<ImageEvent> {
    let wire::Envelope { namespace, topic, event } = envelope;
    let value = event?.value;
    match topic.as_str() {
        "/images/create" | "/images/update" => {
            let image = wire::ImageEvent::decode(&*value).ok()?.name;
            Some(ImageEvent::Named { namespace, image })
        }
        "/snapshot/commit" => {
            let committed = wire::SnapshotCommitted::decode(&*value).ok()?;
            let wire::SnapshotCommitted { name: snapshot, snapshotter } = committed;
            Some(ImageEvent::Unpacked { namespace, snapshotter, snapshot })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(topic: &str, event: &impl prost::Message) -> Option<ImageEvent> {
        let event = Some(wire::Any { type_url: String::new(), value: event.encode_to_vec() });
        read(wire::Envelope { namespace: "n".into(), topic: topic.into(), event })
    }

    #[test]
    fn an_image_and_its_layers_are_told_of() {
        let namespace = || "n".to_owned();
        let named = ImageEvent::Named { namespace: namespace(), image: "i".into() };
        let event = wire::ImageEvent { name: "i".into() };
        assert_eq!(of("/images/create", &event), Some(named.clone()));
        assert_eq!(of("/images/update", &event), Some(named));
        assert_eq!(of("/images/delete", &event), None);
        let event = wire::SnapshotCommitted { name: "sha256:1".into(), snapshotter: "s".into() };
        let unpacked = ImageEvent::Unpacked {
            namespace: namespace(),
            snapshotter: "s".into(),
            snapshot: "sha256:1".into(),
        };
        assert_eq!(of("/snapshot/commit", &event), Some(unpacked));
    }
}
