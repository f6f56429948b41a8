//! lacre's own events in containerd's stream.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use protobuf::well_known_types::any;
use slog::{Logger, warn};
use tokio::sync::mpsc;

use crate::messages::{Envelope, ForwardRequest, Message, protobuf};
use crate::ttrpc::{Call, Client, Metadata};

/// Events that wait for containerd, while it is restarted. The records hold every
/// violation; the stream is for who looks on. When it is full the new ones are dropped,
/// and counted.
const QUEUE: usize = 256;
/// How long containerd has to take one.
const LIMIT: Duration = Duration::from_secs(5);
/// How long to wait before the second try, and at most before the later ones.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// An event that containerd refuses this often is one that it will not take.
const REFUSALS_MAX: u32 = 3;

/// Where events are handed in. Never waits.
#[derive(Debug, Clone)]
pub struct Events {
    queue: mpsc::Sender<Vec<u8>>,
    namespace: Arc<str>,
    dropped: Arc<AtomicU64>,
}

impl Events {
    /// Hands events of `namespace` to containerd at its ttrpc socket, from now until the
    /// last handle is dropped. Without a socket, they are dropped.
    #[must_use]
    pub fn to_containerd(socket: Option<PathBuf>, namespace: &str, log: Logger) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let dropped = Arc::<AtomicU64>::default();
        if let Some(socket) = socket {
            let metadata = vec![("containerd-namespace-ttrpc".to_owned(), namespace.to_owned())];
            tokio::spawn(deliver(socket, metadata, waiting, Arc::clone(&dropped), log));
        }
        Self { queue, namespace: namespace.into(), dropped }
    }

    /// Publishes an event. `topic` is such as `/lacre/violation`, `name` that of the event's
    /// type: containerd's clients show an event only if it is one that they know.
    pub fn publish(&self, topic: &str, name: &str, event: &impl Message) {
        let sent = self
            .envelope(topic, name, event)
            .is_ok_and(|envelope| self.queue.try_send(envelope).is_ok());
        if !sent {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn envelope(&self, topic: &str, name: &str, event: &impl Message) -> protobuf::Result<Vec<u8>> {
        let event = any::Any {
            type_url: name.to_owned(),
            value: event.write_to_bytes()?,
            ..any::Any::default()
        };
        let envelope = Envelope {
            timestamp: Some(SystemTime::now().into()).into(),
            namespace: self.namespace.to_string(),
            topic: topic.to_owned(),
            event: Some(event).into(),
            ..Envelope::default()
        };
        let request =
            ForwardRequest { envelope: Some(envelope).into(), ..ForwardRequest::default() };
        request.write_to_bytes()
    }

    /// How many were dropped; the log says it too.
    #[cfg(test)]
    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

async fn deliver(
    socket: PathBuf,
    metadata: Vec<Metadata>,
    mut waiting: mpsc::Receiver<Vec<u8>>,
    dropped: Arc<AtomicU64>,
    log: Logger,
) {
    let (mut client, mut told): (Option<Client>, u64) = (None, 0);
    while let Some(payload) = waiting.recv().await {
        let (mut pause, mut refusals) = (PAUSE.0, 0);
        loop {
            match once(&socket, &metadata, &mut client, &payload).await {
                Ok(()) => {
                    // When it takes them again: once for all that it missed.
                    let lost = dropped.load(Ordering::Relaxed);
                    if lost > std::mem::replace(&mut told, lost) {
                        warn!(log, "containerd missed events; the records have them";
                            "dropped" => lost);
                    }
                    break;
                }
                Err(error) => {
                    refusals += u32::from(error.refused);
                    if refusals == REFUSALS_MAX {
                        warn!(log, "containerd does not take an event"; "error" => error.message);
                        break;
                    }
                }
            }
            // Not all shims of a node come back to a restarted containerd in one moment.
            let jitter = pause.mul_f64(f64::from(std::process::id() % 100) / 200.0);
            tokio::time::sleep(pause + jitter).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}

struct Failure {
    refused: bool,
    message: String,
}

async fn once(
    socket: &std::path::Path,
    metadata: &[Metadata],
    held: &mut Option<Client>,
    payload: &[u8],
) -> Result<(), Failure> {
    let client = match held.take().filter(|client| !client.is_closed()) {
        Some(client) => client,
        None => Client::connect(socket, metadata.to_vec())
            .await
            .map_err(|error| Failure { refused: false, message: error.to_string() })?,
    };
    let call =
        Call { service: "containerd.services.events.ttrpc.v1.Events", method: "Forward", payload };
    let result = client.call(call, Some(LIMIT)).await;
    *held = Some(client);
    result
        .map(drop)
        .map_err(|error| Failure { refused: error.status().is_some(), message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::TaskPaused;
    use crate::ttrpc::{FLAG_NONE, FrameReader, Header, Kind, Request, response, write_frame};
    use tokio::net::UnixListener;

    /// Takes one event, and answers it.
    async fn take(listener: &UnixListener) -> Vec<u8> {
        let (mut from, mut to) = listener.accept().await.unwrap().0.into_split();
        let mut reader = FrameReader::new(&mut from);
        let header = reader.header().await.unwrap().unwrap();
        let mut frame = Vec::new();
        reader.payload(header, &mut frame).await.unwrap();
        let header = Header { length: 0, kind: Kind::Response, flags: FLAG_NONE, ..header };
        write_frame(&mut to, header, &response::success(b"")).await.unwrap();
        Request::decode(&frame).unwrap().payload.to_vec()
    }

    #[tokio::test]
    async fn events_reach_a_containerd_that_was_away() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("c.ttrpc");
        let log = Logger::root(slog::Discard, slog::o!());
        let events = Events::to_containerd(Some(socket.clone()), "k8s.io", log);
        let event = TaskPaused { container_id: "web".to_owned(), ..TaskPaused::default() };
        events.publish("/lacre/violation", "t", &event);
        let listener = UnixListener::bind(&socket).unwrap();
        let first = take(&listener).await;
        drop(listener);
        std::fs::remove_file(&socket).unwrap();
        events.publish("/lacre/second", "t", &event);
        let listener = UnixListener::bind(&socket).unwrap();
        let second = take(&listener).await;

        let read =
            |bytes: &[u8]| ForwardRequest::parse_from_bytes(bytes).unwrap().envelope.unwrap();
        let (first, second) = (read(&first), read(&second));
        assert_eq!((&*first.namespace, &*first.topic), ("k8s.io", "/lacre/violation"));
        assert_eq!(first.event.type_url, "t");
        assert_eq!(TaskPaused::parse_from_bytes(&first.event.value).unwrap(), event);
        assert!(first.timestamp.seconds > 0);
        assert_eq!(second.topic, "/lacre/second");
        assert_eq!(events.dropped(), 0);
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts() {
        let log = Logger::root(slog::Discard, slog::o!());
        let socket = Some("/nonexistent/socket".into());
        let events = Events::to_containerd(socket, "n", log);
        for _ in 0..QUEUE + 7 {
            events.publish("/t", "t", &TaskPaused::default());
        }
        assert_eq!(events.dropped(), 7);
    }
}
