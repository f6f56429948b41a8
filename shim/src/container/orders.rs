//! Orders for a guard, from root: a socket beside the one that containerd uses, with a life
//! of its own, since that one goes with the inner shim.
//!
//! A line is an order, and its answer a line: `end GENERATION` ends a container and is
//! answered `ended` when no process of it is left, its sources are disarmed, and all that
//! they saw is judged. `keep` has the guard note down anew what it is and has, and is answered
//! `kept`, or why it can't be.
//!
//! `tell`, `tell GENERATION` and `release JSON` are answered with a line of JSON
//! ([`super::telling`]); they have places of their own, so that nobody who looks keeps one from
//! being ended. A guard of an older build answers them as no order.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use slog::{Logger, warn};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::generation::Generation;
use super::telling::{Released, Releaser, Telling};
use crate::guard::{Guard, Operator};
use crate::node::guard_state::Keep;

/// Those who may give orders at a time: one `delete` for each container of a large pod. The
/// next waits until one has its answer.
const ORDERS: usize = 64;
/// Those who may look or release at a time; more are told that it is busy.
const LOOKS: usize = 4;
/// An order is shorter: the longest has a reason of 1 KiB, of which a byte may become six.
const LINE_MAX: u64 = 8 << 10;
/// An answer is shorter: the longest has a policy of 3 MiB.
const ANSWER_MAX: u64 = 8 << 20;
/// How long one may take to say what it wants.
const SAYING: Duration = Duration::from_secs(2);

const END: &str = "end ";
const ENDED: &str = "ended";
const KEEP: &str = "keep";
const KEPT: &str = "kept";
const TELL: &str = "tell";
const RELEASE: &str = "release ";
const BUSY: &str = "busy: others are being answered";

/// How long to wait before a guard is asked again that has let go of the connection.
const AGAIN: Duration = Duration::from_millis(20);

/// Takes orders until it is dropped.
pub(crate) async fn serve(listener: UnixListener, guard: Arc<dyn Guard>, keep: Keep, log: Logger) {
    let (room, looks) = (Arc::new(Semaphore::new(ORDERS)), Arc::new(Semaphore::new(LOOKS)));
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
        let (guard, keep, looks) = (Arc::clone(&guard), Arc::clone(&keep), Arc::clone(&looks));
        tokio::spawn(async move {
            // Who has gone needs no answer.
            let _ = answer(stream, guard, &keep, &looks).await;
            drop(permit);
        });
    }
}

async fn answer(
    stream: UnixStream,
    guard: Arc<dyn Guard>,
    keep: &Keep,
    looks: &Semaphore,
) -> io::Result<()> {
    // The socket is 0600, and a descriptor may have been handed on.
    let peer = stream.peer_cred()?;
    if peer.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (from, mut to) = stream.into_split();
    let mut line = String::new();
    let mut from = tokio::io::BufReader::new(from.take(LINE_MAX));
    timeout(SAYING, from.read_line(&mut line)).await??;
    let line = line.trim_end();
    if let Some(query) = Query::of(line) {
        let said = match looks.try_acquire() {
            Ok(_place) => query.answer(guard, &peer).await,
            Err(_) => BUSY.to_owned(),
        };
        // Who does not read it keeps nobody else from asking.
        return timeout(SAYING, to.write_all(format!("{said}\n").as_bytes())).await?;
    }
    let generation = line.strip_prefix(END).map(|word| word.to_owned().try_into());
    let kept;
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
            kept = keep().map_or_else(|why| why.replace('\n', " "), |()| KEPT.to_owned());
            &kept
        }
        _ => "not an order: end GENERATION, keep",
    };
    to.write_all(format!("{said}\n").as_bytes()).await
}

/// What is answered with JSON.
enum Query {
    Tell(Option<Generation>),
    Release(Generation, String),
}

impl Query {
    fn of(line: &str) -> Option<Self> {
        if line == TELL {
            return Some(Self::Tell(None));
        }
        if let Some(releaser) = line.strip_prefix(RELEASE) {
            let Releaser { generation, reason } = serde_json::from_str(releaser).ok()?;
            return Some(Self::Release(generation.try_into().ok()?, reason));
        }
        let generation = line.strip_prefix(TELL)?.strip_prefix(' ')?.to_owned();
        Some(Self::Tell(Some(generation.try_into().ok()?)))
    }

    /// Off this thread, by which containerd's calls go.
    async fn answer(self, guard: Arc<dyn Guard>, peer: &UCred) -> String {
        let answer = match self {
            Self::Tell(only) => {
                let told = spawn_blocking(move || {
                    serde_json::to_string(&guard.tell(only.as_ref())).unwrap_or_default()
                });
                return told.await.unwrap_or_default();
            }
            Self::Release(generation, reason) => {
                let login = peer.pid().and_then(|pid| login(&pid.to_string()));
                let by = Operator { uid: peer.uid(), login, reason };
                // What was begun is done, whether who asked is there still or not.
                let done = tokio::spawn(async move { guard.release(&generation, by).await });
                done.await
            }
        };
        match answer {
            Ok(Ok(released)) => serde_json::to_string(&released).unwrap_or_default(),
            Ok(Err(refusal)) => refusal.to_string(),
            Err(_) => "a fault of lacre; the log says which".to_owned(),
        }
    }
}

/// As whom the one behind a process has logged in; none where the kernel does not keep it, or it
/// was nobody (`-1`).
pub(crate) fn login(pid: &str) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?;
    text.trim().parse().ok().filter(|uid| *uid != u32::MAX)
}

/// What the guard at `control` tells of all its containers, or of one; `None`: it is of an older
/// build, which tells nothing.
///
/// # Errors
/// When it does not answer within that time.
pub(crate) fn tell(
    control: &Path,
    only: Option<&Generation>,
    limit: Duration,
) -> io::Result<Option<Telling>> {
    let asked = only.map_or(TELL.to_owned(), |generation| format!("{TELL} {generation}"));
    let said = order(control, &asked, limit)?;
    if said == BUSY {
        return Err(io::Error::other(BUSY));
    }
    Ok(serde_json::from_str(&said).ok())
}

/// Has the guard at `control` release a container; its own words where it does not.
///
/// # Errors
/// When it does not answer within that time.
pub(crate) fn release(
    control: &Path,
    releaser: &Releaser,
    limit: Duration,
) -> io::Result<Result<Released, String>> {
    let asked = serde_json::to_string(releaser)?;
    let said = order(control, &format!("{RELEASE}{asked}"), limit)?;
    Ok(serde_json::from_str(&said).map_err(|_| said))
}

/// What a guard has said to the order that containers end.
#[derive(Debug)]
pub(crate) struct Ends {
    /// Whether each has.
    pub(crate) ended: Vec<bool>,
    /// Whether it has said anything: it lives, whatever keeps them from ending.
    pub(crate) answers: bool,
}

/// Has the guard at `control` end containers, all at the same time, and waits no longer than so
/// for all of them.
pub(crate) fn end_all(control: &Path, all: &[&Generation], limit: Duration) -> Ends {
    let until = Instant::now() + limit;
    let ask = |order: String| Answer::to(control, &order, limit).unwrap_or_default();
    let mut answers: Vec<_> = all.iter().map(|one| ask(format!("{END}{one}"))).collect();
    // It is answered whatever becomes of them.
    answers.push(ask(TELL.to_owned()));
    let waits = |answers: &[Answer]| answers[..all.len()].iter().any(|it| it.stream.is_some());
    while waits(&answers) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || !Answer::hear(&mut answers, left) {
            break;
        }
    }
    let has_ended = |answer: &Answer| answer.said == format!("{ENDED}\n").as_bytes();
    Ends {
        ended: answers[..all.len()].iter().map(has_ended).collect(),
        answers: answers.iter().any(|answer| !answer.said.is_empty()),
    }
}

/// An answer, as far as it has come.
#[derive(Debug, Default)]
struct Answer {
    /// Until it has come, or never will.
    stream: Option<BlockingStream>,
    said: Vec<u8>,
}

impl Answer {
    fn to(control: &Path, order: &str, limit: Duration) -> io::Result<Self> {
        let mut stream = BlockingStream::connect(control)?;
        stream.set_write_timeout(Some(limit))?;
        stream.write_all(format!("{order}\n").as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream: Some(stream), said: Vec::new() })
    }

    /// Waits for some of them; whether it can go on.
    fn hear(answers: &mut [Self], limit: Duration) -> bool {
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let open = answers.iter().filter_map(|answer| answer.stream.as_ref());
        let mut fds: Vec<_> = open.map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
        answers.iter_mut().for_each(Self::take);
        true
    }

    /// Takes what there is of it.
    fn take(&mut self) {
        let mut part = [0; 4096];
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut part) {
                Ok(len) if len > 0 && self.said.len() as u64 <= ANSWER_MAX => {
                    self.said.extend_from_slice(&part[..len]);
                    if part[..len].contains(&b'\n') {
                        self.stream = None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => self.stream = None,
            }
        }
    }
}

/// What has come of asking a guard to note down what it is and has.
#[derive(Debug)]
pub(crate) enum Kept {
    /// It has.
    Done,
    /// It lives, and can't: why, in its own words.
    Refused(String),
    /// It gives no answer.
    Silent,
}

/// Has the guard at `control` note down what it is and has. One that lets go of the connection is
/// asked again: it has said nothing.
pub(crate) fn keep(control: &Path, limit: Duration) -> Kept {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Kept::Silent;
        }
        match order(control, KEEP, left) {
            Ok(said) if said == KEPT => return Kept::Done,
            Ok(said) => return Kept::Refused(said),
            Err(lost) if matches!(lost.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) => {
                std::thread::sleep(AGAIN.min(left));
            }
            Err(_) => return Kept::Silent,
        }
    }
}

fn order(control: &Path, order: &str, limit: Duration) -> io::Result<String> {
    let mut stream = BlockingStream::connect(control)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(format!("{order}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_MAX)).read_line(&mut line)?;
    if line.pop() != Some('\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "half an answer, or none"));
    }
    Ok(line)
}

#[cfg(test)]
mod tests;
