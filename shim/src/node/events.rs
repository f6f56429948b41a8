//! lacre's own events in containerd's stream.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use slog::{Logger, warn};
use tokio::sync::mpsc;

use crate::messages::Any;
use crate::ttrpc::{Call, Client, Metadata};
use crate::wire::{put_bytes, put_text, put_uint};

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

    /// Publishes an event. `topic` is such as `/lacre/violation`; containerd's clients show
    /// an event only if its type is one that they know.
    pub fn publish(&self, topic: &str, event: &Any) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.queue.try_send(envelope(now, &self.namespace, topic, event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were dropped; the log says it too.
    #[cfg(test)]
    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// `ForwardRequest` with its `Envelope` (containerd, api/types/event.proto).
fn envelope(time: Duration, namespace: &str, topic: &str, event: &Any) -> Vec<u8> {
    let mut timestamp = Vec::new();
    put_uint(&mut timestamp, 1, time.as_secs());
    put_uint(&mut timestamp, 2, u64::from(time.subsec_nanos()));
    let mut envelope = Vec::new();
    put_bytes(&mut envelope, 1, &timestamp);
    put_text(&mut envelope, 2, namespace);
    put_text(&mut envelope, 3, topic);
    put_bytes(&mut envelope, 4, &event.encode());
    let mut request = Vec::with_capacity(envelope.len() + 8);
    put_bytes(&mut request, 1, &envelope);
    request
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
    use crate::ttrpc::{FLAG_NONE, FrameReader, Header, Kind, Request, response, write_frame};
    use crate::wire::fields;
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
        let event = Any { type_url: "t".to_owned(), value: vec![1] };
        events.publish("/lacre/violation", &event);
        let listener = UnixListener::bind(&socket).unwrap();
        let first = take(&listener).await;
        drop(listener);
        std::fs::remove_file(&socket).unwrap();
        events.publish("/lacre/second", &event);
        let listener = UnixListener::bind(&socket).unwrap();
        let second = take(&listener).await;

        let envelope = fields(&first).next().unwrap().unwrap().bytes().unwrap();
        let texts: Vec<_> =
            fields(envelope).map(Result::unwrap).skip(1).map(|f| f.bytes().unwrap()).collect();
        assert_eq!(texts, [&b"k8s.io"[..], b"/lacre/violation", &event.encode()]);
        assert!(second.windows(6).any(|w| w == b"second"));
        assert_eq!(events.dropped(), 0);
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts() {
        let log = Logger::root(slog::Discard, slog::o!());
        let socket = Some("/nonexistent/socket".into());
        let events = Events::to_containerd(socket, "n", log);
        for _ in 0..QUEUE + 7 {
            events.publish("/t", &Any::default());
        }
        assert_eq!(events.dropped(), 7);
    }
}
