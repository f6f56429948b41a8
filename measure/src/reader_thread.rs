//! A thread that reads what the kernel tells, until it is no longer wanted.

use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::os::fd::AsFd as _;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

/// In bytes. Nothing recurses; the largest buffers are on the heap.
const STACK: usize = 256 << 10;

/// How long a reader may go on after it was woken to end. Delete waits for it, containerd
/// waits five seconds for Delete, and how much is left to read is the container's choice.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// Looks out for the end while there is still something to read.
#[derive(Debug)]
pub(crate) struct End<'a> {
    woken: &'a PipeReader,
    grace: Duration,
    at: Option<Instant>,
}

impl<'a> End<'a> {
    pub(crate) const fn of(woken: &'a PipeReader, grace: Duration) -> Self {
        Self { woken, grace, at: None }
    }

    /// Whether the reader was woken, and its grace is over.
    pub(crate) fn is_here(&mut self) -> bool {
        if self.at.is_none() {
            let mut fds = [PollFd::from_borrowed_fd(self.woken.as_fd(), PollFlags::IN)];
            if poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
                self.at = Some(Instant::now() + self.grace);
            }
        }
        self.at.is_some_and(|at| Instant::now() >= at)
    }
}

/// The thread, for whoever started it. Dropping it ends the thread, and waits for that.
#[derive(Debug)]
pub(crate) struct Reader {
    wake: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts it. The pipe is readable after [`Self::wake`], and at its end once the thread
    /// is to end.
    pub(crate) fn start(
        name: &str,
        run: impl FnOnce(PipeReader) + Send + 'static,
    ) -> io::Result<Self> {
        let (woken, wake) = io::pipe()?;
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK)
            .spawn(move || run(woken))?;
        Ok(Self { wake: Some(wake), thread: Some(thread) })
    }

    /// Puts a byte into the pipe.
    pub(crate) fn wake(&self) -> io::Result<()> {
        self.wake.as_ref().map_or(Ok(()), |mut wake| wake.write_all(&[0]))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // It tells its own failures; a panic in the judge is the judge's to tell.
            let _ = thread.join();
        }
    }
}
