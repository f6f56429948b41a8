//! A thread that reads what the kernel tells, until it is no longer wanted.

use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::thread::JoinHandle;

/// In bytes. Nothing recurses; the largest buffers are on the heap.
const STACK: usize = 256 << 10;

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
