//! Orders for a guard, from root: a socket beside the one that containerd uses, with a life
//! of its own, since that one goes with the inner shim.
//!
//! A line is an order, and its answer a line: `end GENERATION` ends a container and is
//! answered `ended` when no process of it is left, its sources are disarmed, and all that
//! they saw is judged. `keep` has the guard note down anew what it is and has, and is answered
//! `kept`.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, warn};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::generation::Generation;
use crate::guard::Guard;

/// Those who may give orders at a time: one `delete` for each container of a large pod. The
/// next waits until one has its answer.
const ORDERS: usize = 64;
/// An order is shorter.
const LINE_MAX: u64 = 128;
/// How long one may take to say what it wants.
const SAYING: Duration = Duration::from_secs(2);

const END: &str = "end ";
const ENDED: &str = "ended";
const KEEP: &str = "keep";
const KEPT: &str = "kept";

/// Notes down what a guard is and has; whether that is done.
pub(crate) type Keep = Arc<dyn Fn() -> bool + Send + Sync>;

/// Takes orders until it is dropped.
pub(crate) async fn serve(listener: UnixListener, guard: Arc<dyn Guard>, keep: Keep, log: Logger) {
    let room = Arc::new(Semaphore::new(ORDERS));
    loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(log, "accepting an order"; "error" => error.to_string());
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (guard, keep) = (Arc::clone(&guard), Arc::clone(&keep));
        tokio::spawn(async move {
            // Who has gone needs no answer.
            let _ = answer(stream, guard, &keep).await;
            drop(permit);
        });
    }
}

async fn answer(stream: UnixStream, guard: Arc<dyn Guard>, keep: &Keep) -> io::Result<()> {
    // The socket is 0600, and a descriptor may have been handed on.
    if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (from, mut to) = stream.into_split();
    let mut line = String::new();
    let mut from = tokio::io::BufReader::new(from.take(LINE_MAX));
    timeout(SAYING, from.read_line(&mut line)).await??;
    let line = line.trim_end();
    let generation = line.strip_prefix(END).map(|word| word.to_owned().try_into());
    let said = match generation {
        Some(Ok(generation)) => {
            let ends = tokio::spawn(async move { guard.end(&generation).await });
            let mut more = [0];
            tokio::select! {
                ended = ends => ended.map_or("it can't be ended", |()| ENDED),
                // Who is killed while he waits makes room for the next. What he asked for is
                // done all the same.
                _ = from.read(&mut more) => return Ok(()),
            }
        }
        None if line == KEEP => {
            if keep() {
                KEPT
            } else {
                "it can't be kept"
            }
        }
        _ => "not an order: end GENERATION, keep",
    };
    to.write_all(format!("{said}\n").as_bytes()).await
}

/// Has the guard at `control` end a container, and waits no longer than so. Whether it has.
pub(crate) fn end(control: &Path, generation: &Generation, limit: Duration) -> bool {
    order(control, &format!("{END}{generation}"), limit).is_ok_and(|said| said == ENDED)
}

/// Has the guard at `control` note down what it is and has. Whether it has.
pub(crate) fn keep(control: &Path, limit: Duration) -> bool {
    order(control, KEEP, limit).is_ok_and(|said| said == KEPT)
}

fn order(control: &Path, order: &str, limit: Duration) -> io::Result<String> {
    let mut stream = BlockingStream::connect(control)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(format!("{order}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::NoGuard;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn an_order_is_answered_and_nonsense_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let log = Logger::root(slog::Discard, slog::o!());
        let (kept, keeps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
        let keep: Keep = Arc::new({
            let (kept, keeps) = (Arc::clone(&kept), Arc::clone(&keeps));
            move || {
                kept.store(true, Ordering::Relaxed);
                keeps.load(Ordering::Relaxed)
            }
        });
        tokio::spawn(serve(listener, Arc::new(NoGuard::for_tests()), keep, log));
        let generation = Generation::draw().unwrap();
        let socket = path.clone();
        let limit = Duration::from_secs(10);
        let ended = tokio::task::spawn_blocking(move || end(&socket, &generation, limit));
        assert!(ended.await.unwrap());
        let socket = path.clone();
        let asked = tokio::task::spawn_blocking(move || super::keep(&socket, limit));
        assert!(asked.await.unwrap() && kept.load(Ordering::Relaxed));
        keeps.store(false, Ordering::Relaxed);
        let socket = path.clone();
        let asked = tokio::task::spawn_blocking(move || super::keep(&socket, limit));
        assert!(!asked.await.unwrap(), "who can't does not say that it has");
        for nonsense in ["end ../../x\n", "\n", "begin\n", &"end ".repeat(1000)] {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            // It may be refused before it has said all of it.
            let _ = stream.write_all(nonsense.as_bytes()).await;
            let mut said = String::new();
            let _ = stream.read_to_string(&mut said).await;
            assert!(!said.contains(ENDED), "{nonsense:?}: {said}");
        }
        let nobody = dir.path().join("nobody");
        assert!(!end(&nobody, &Generation::draw().unwrap(), limit));
    }
}
