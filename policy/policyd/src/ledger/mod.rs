//! What has arrived, once, on disk.
//!
//! Segments of JSON lines, append-only. A batch is written, then synced (`fdatasync`),
//! then acknowledged; batches that wait while a sync is under way share the next one.
//! Which number of which stream came last is read from the newest segment at the start,
//! and from nowhere else: a segment begins with a line for every stream known by then.

mod files;
pub(crate) mod lines;
mod table;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use lacre_proto::MAX_BATCH_BYTES;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use files::Files;
pub use files::{FilesError, Opened};
pub use lines::{Read, read};
pub use table::{Batch, Refusal, StreamId, Table};

/// Bytes of reports on their way to the disk, over all connections. More are refused with
/// "busy", and come again: 64 batches of the largest size.
const ROOM: usize = 64 * MAX_BATCH_BYTES;

/// Batches that wait for the disk; [`ROOM`] bounds them in bytes.
const JOBS: usize = 1024;

/// Batches that one sync serves.
const SHARE: usize = 64;

/// What is written of a batch.
#[derive(Debug)]
pub struct Report {
    /// Its stream, its numbers, and whose it is.
    pub batch: Batch,
    /// One whole line for each of its records.
    pub lines: Vec<Vec<u8>>,
}

/// The way to the thread that owns the files.
#[derive(Debug, Clone)]
pub struct Ledger {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    counts: Arc<Counts>,
}

/// What a ledger has taken in since the start, and knows now.
#[derive(Debug, Default)]
pub struct Counts {
    /// Records written.
    pub records: AtomicU64,
    /// Records that had been written before, and were not again.
    pub repeated: AtomicU64,
    /// Streams known.
    pub streams: AtomicU64,
}

enum Job {
    Report { report: Report, reply: Reply, _room: OwnedSemaphorePermit },
    Close { stream: StreamId, owner: Arc<str>, reply: Reply },
}

type Reply = oneshot::Sender<Result<u64, Refusal>>;

/// The thread that writes; it ends when every [`Ledger`] is gone, or with the disk's error.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<()>,
    /// Why it ended, if it could not go on.
    pub failed: oneshot::Receiver<std::io::Error>,
}

impl Writer {
    /// Waits for it to end.
    pub fn join(self) {
        let _ = self.thread.join();
    }
}

impl Ledger {
    /// Opens the ledger in that directory, or begins one; `segment` is the size of a file.
    ///
    /// # Errors
    /// When it is in use, cannot be read, or cannot be written.
    pub fn open(dir: &Path, segment: u64) -> Result<(Self, Writer, Opened), FilesError> {
        let (files, table, opened) = Files::open(dir, segment)?;
        let (jobs, queue) = mpsc::channel(JOBS);
        let (fail, failed) = oneshot::channel();
        let counts = Arc::new(Counts::default());
        counts.streams.store(table.len() as u64, Ordering::Relaxed);
        let counting = Arc::clone(&counts);
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                if let Err(error) = run(queue, files, table, &counting) {
                    let _ = fail.send(error);
                }
            })
            .map_err(FilesError::Thread)?;
        let room = Arc::new(Semaphore::new(ROOM));
        Ok((Self { jobs, room, counts }, Writer { thread, failed }, opened))
    }

    /// Writes a batch. Returns the number up to which that stream is on disk.
    ///
    /// # Errors
    /// When it is not taken; then nothing of it was written.
    pub async fn report(&self, report: Report) -> Result<u64, Refusal> {
        let bytes: usize = report.lines.iter().map(Vec::len).sum();
        let permits = u32::try_from(bytes.max(1)).map_err(|_| Refusal::Busy)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits);
        let room = room.map_err(|_| Refusal::Busy)?;
        self.ask(|reply| Job::Report { report, reply, _room: room }).await
    }

    /// Marks a stream as over.
    ///
    /// # Errors
    /// When it is another's, or the disk refuses.
    pub async fn close(&self, stream: StreamId, owner: Arc<str>) -> Result<(), Refusal> {
        self.ask(|reply| Job::Close { stream, owner, reply }).await.map(|_| ())
    }

    async fn ask(&self, job: impl FnOnce(Reply) -> Job) -> Result<u64, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(job(reply)).map_err(|_| Refusal::Busy)?;
        answer.await.unwrap_or(Err(Refusal::Disk))
    }

    /// What was taken in.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// Takes jobs, writes what is new of them at once, syncs, answers.
fn run(
    mut queue: mpsc::Receiver<Job>,
    mut files: Files,
    mut table: Table,
    counts: &Counts,
) -> std::io::Result<()> {
    let mut jobs = Vec::with_capacity(SHARE);
    while queue.blocking_recv_many(&mut jobs, SHARE) > 0 {
        let (mut bytes, mut undo, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            let (reply, answer) = match job {
                Job::Report { report, reply, _room } => {
                    (reply, take(&mut table, report, &mut bytes, &mut undo, counts))
                }
                Job::Close { stream, owner, reply } => {
                    let closed = table.close(stream, &owner).map(|change| {
                        if let Some(change) = change {
                            undo.push(change);
                            lines::closed(&mut bytes, stream, &owner);
                        }
                        0
                    });
                    (reply, closed)
                }
            };
            answers.push((reply, answer));
        }
        let written = if bytes.is_empty() { Ok(()) } else { files.append(&bytes) };
        if written.is_err() {
            undo.into_iter().rev().for_each(|change| table.undo(change));
        } else if !bytes.is_empty() {
            // After a failed sync nobody knows what is on disk, and a second one lies
            // (fsync(2)): end, and read the file anew.
            files.sync()?;
        }
        counts.streams.store(table.len() as u64, Ordering::Relaxed);
        for (reply, answer) in answers {
            let answer = if written.is_err() { answer.and(Err(Refusal::Disk)) } else { answer };
            let _ = reply.send(answer);
        }
        if files.is_full() {
            // Should it fail, the old one goes on growing.
            table.forget();
            let _ = files.next(&table);
        }
    }
    Ok(())
}

fn take(
    table: &mut Table,
    report: Report,
    bytes: &mut Vec<u8>,
    undo: &mut Vec<table::Change>,
    counts: &Counts,
) -> Result<u64, Refusal> {
    let taken = table.take(&report.batch)?;
    if let Some((from, to)) = taken.missing {
        lines::missing(bytes, &report.batch, from, to);
    }
    for line in report.lines.iter().skip(taken.skip) {
        bytes.extend_from_slice(line);
    }
    let fresh = report.lines.len().saturating_sub(taken.skip) as u64;
    counts.records.fetch_add(fresh, Ordering::Relaxed);
    counts.repeated.fetch_add(report.lines.len() as u64 - fresh, Ordering::Relaxed);
    undo.extend(taken.change);
    Ok(taken.acknowledged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(stream: StreamId, owner: &str, numbers: std::ops::Range<u64>, oldest: u64) -> Report {
        let batch = Batch {
            stream,
            owner: owner.into(),
            first: numbers.start,
            oldest,
            count: numbers.end - numbers.start,
        };
        let from = lines::From { node: "n", trust: None };
        let lines = numbers.map(|number| lines::record(&batch, number, from, b"{}")).collect();
        Report { batch, lines }
    }

    fn numbers(dir: &Path, stream: StreamId) -> Vec<u64> {
        let mut files: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|e| e == "jsonl"));
        files.sort();
        let mut all = Vec::new();
        for file in files {
            for line in std::fs::read_to_string(file).unwrap().lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                if line["stream"] == stream.to_string() && line["seq"].is_u64() {
                    all.push(line["seq"].as_u64().unwrap());
                }
            }
        }
        all
    }

    #[tokio::test]
    async fn a_number_is_written_once_over_restarts_and_segments() {
        let dir = tempfile::tempdir().unwrap();
        let stream: StreamId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        let mut next = 1;
        for round in 0..6 {
            let (ledger, writer, opened) = Ledger::open(dir.path(), 2_000).unwrap();
            assert_eq!(opened.streams, usize::from(round > 0));
            for _ in 0..20 {
                let from = if next > 3 { next - 3 } else { next };
                let acknowledged =
                    ledger.report(report(stream, "uid:0", from..next + 4, 1)).await.unwrap();
                assert_eq!(acknowledged, next + 3);
                next += 4;
            }
            let other = ledger.report(report(stream, "uid:1", next..next + 1, 1)).await;
            assert_eq!(other, Err(Refusal::NotYours));
            drop(ledger);
            writer.join();
        }
        assert_eq!(numbers(dir.path(), stream), (1..next).collect::<Vec<_>>());
        assert!(std::fs::read_dir(dir.path()).unwrap().count() > 10);
    }

    #[tokio::test]
    async fn half_a_line_at_the_end_is_cut_off_and_what_was_in_it_comes_again() {
        let dir = tempfile::tempdir().unwrap();
        let stream: StreamId = "00000000000000000000000000000001".parse().unwrap();
        let (ledger, writer, _) = Ledger::open(dir.path(), 1 << 20).unwrap();
        ledger.report(report(stream, "a", 1..4, 1)).await.unwrap();
        assert!(matches!(Ledger::open(dir.path(), 1), Err(FilesError::InUse(_))));
        drop(ledger);
        writer.join();
        let file = dir.path().join("reports-000001.jsonl");
        let text = std::fs::read(&file).unwrap();
        std::fs::write(&file, &text[..text.len() - 10]).unwrap();
        let (ledger, writer, opened) = Ledger::open(dir.path(), 1 << 20).unwrap();
        assert!(opened.cut > 10);
        assert_eq!(ledger.report(report(stream, "a", 4..5, 1)).await, Ok(2), "3 is not there");
        assert_eq!(ledger.report(report(stream, "a", 3..5, 1)).await, Ok(4));
        drop(ledger);
        writer.join();
        assert_eq!(numbers(dir.path(), stream), [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_full_disk_refuses_and_takes_the_same_numbers_later() {
        let dir = tempfile::tempdir().unwrap();
        let mount = |program: &str, args: &[&str]| {
            let status = std::process::Command::new(program).args(args).arg(dir.path()).status();
            assert!(status.unwrap().success(), "{program} needs root");
        };
        mount("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs"]);
        let stream: StreamId = "00000000000000000000000000000002".parse().unwrap();
        let (ledger, writer, _) = Ledger::open(&dir.path().join("state"), 1 << 20).unwrap();
        assert_eq!(ledger.report(report(stream, "a", 1..3, 1)).await, Ok(2));
        let ballast = dir.path().join("ballast");
        while std::fs::write(&ballast, vec![0; 64 << 10]).is_ok() {}
        assert_eq!(ledger.report(report(stream, "a", 3..200, 1)).await, Err(Refusal::Disk));
        assert_eq!(ledger.report(report(stream, "a", 200..200, 1)).await, Ok(2), "rolled back");
        std::fs::remove_file(&ballast).unwrap();
        assert_eq!(ledger.report(report(stream, "a", 3..60, 1)).await, Ok(59));
        drop(ledger);
        writer.join();
        let written = numbers(&dir.path().join("state"), stream);
        mount("umount", &["-l"]);
        assert_eq!(written, (1..60).collect::<Vec<_>>());
    }
}
