//! The server's own log: JSON lines on stderr.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use slog::{Drain as _, Logger, o};

/// A logger. The guard writes what waits when it is dropped. When stderr is too slow, lines
/// are dropped and their number is logged; the server never waits for it.
pub fn logger() -> (Logger, slog_async::AsyncGuard) {
    let json = slog_json::Json::new(std::io::stderr())
        .add_default_keys()
        .set_newlines(true)
        .build()
        .ignore_res();
    let (drain, guard) =
        slog_async::Async::new(Mutex::new(json).ignore_res()).chan_size(1024).build_with_guard();
    (Logger::root(drain.ignore_res(), o!("program" => "lacre-policyd")), guard)
}

/// Lets so many lines through in a second, and counts the others: a peer that fails its
/// handshake in a loop must not fill the disk.
#[derive(Debug)]
pub struct Limit {
    most: u32,
    inside: Mutex<(Instant, u32, u64)>,
}

impl Limit {
    /// At most so many lines a second.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { most, inside: Mutex::new((Instant::now(), 0, 0)) }
    }

    /// Whether this line may be written, and if so, how many were not since the last.
    pub fn pass(&self) -> Option<u64> {
        let mut inside = self.inside.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (since, lines, held) = &mut *inside;
        if since.elapsed() >= Duration::from_secs(1) {
            (*since, *lines) = (Instant::now(), 0);
        }
        if *lines >= self.most {
            *held += 1;
            return None;
        }
        *lines += 1;
        Some(std::mem::take(held))
    }
}
