//! A `delete` that is killed half-way is finished by another process.
//!
//! containerd gives `delete` five seconds (`timeout.shim.cleanup`), which on a machine
//! without time to spare may not do for killing a container. It kills `delete` then, forgets
//! the container, and keeps the bundle until it is restarted itself.

use std::env;
use std::fs::{self, File};
use std::io::{self, PipeWriter, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::arguments::{Args, FINISH};
use crate::commands::delete::{self, DeleteError};
use crate::container::bundle::{self, Bundle};
use crate::node::run_dir::Place;

/// When the second process starts: half of containerd's patience. Hardly any `delete` takes
/// so long.
const LATE: Duration = Duration::from_millis(2500);
/// What it is told when the first has come to its end, well or not.
const DONE: &[u8] = b"done";
const FAILED: &[u8] = b"failed";
/// How long containerd may take to remove the bundle of a `delete` that went well. It does
/// not where the answer came as its patience ended.
const TAKEN: Duration = Duration::from_secs(3);

/// Stands by while a `delete` works.
#[derive(Debug)]
pub struct Standby {
    done: SyncSender<&'static [u8]>,
    thread: io::Result<JoinHandle<()>>,
}

impl Standby {
    /// From now on.
    #[must_use]
    pub fn begin() -> Self {
        let (done, waiting) = sync_channel(1);
        let thread = thread::Builder::new().name("lacre-standby".into());
        Self { done, thread: thread.spawn(move || stand_by(&waiting)) }
    }

    /// containerd has its answer, that it went well or not.
    pub fn end(self, well: bool) {
        // Room for one, and nothing else is ever sent.
        let _ = self.done.try_send(if well { DONE } else { FAILED });
        if let Ok(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

fn stand_by(waiting: &Receiver<&[u8]>) {
    if !matches!(waiting.recv_timeout(LATE), Err(RecvTimeoutError::Timeout)) {
        return;
    }
    // Without it, a kill leaves what it has always left.
    let Ok(mut finisher) = spawn() else { return };
    if let Ok(how) = waiting.recv() {
        // Who can't be told does it once more, which changes nothing.
        let _ = finisher.write_all(how);
    }
}

fn spawn() -> io::Result<PipeWriter> {
    let (reader, writer) = io::pipe()?;
    Command::new("/proc/self/exe")
        .arg0(env::args_os().next().unwrap_or_default())
        .arg(FINISH)
        .args(env::args_os().skip(1))
        .stdin(reader)
        // containerd waits for whoever holds its pipes.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(writer)
}

/// Waits for the `delete` that started this process, and finishes it if it was killed.
///
/// # Errors
/// When it can't be finished either.
pub fn run(args: &Args) -> Result<(), DeleteError> {
    let bundle = delete::bundle_of(args)?;
    // Held, so that its number is not the next one's.
    let ours = File::open(&bundle).map_err(DeleteError::Bundle)?;
    // For when it is gone by then.
    let generation = bundle::generation(&bundle);
    let place = Bundle::read(&bundle).ok().flatten().and_then(|note| note.socket).map(Place::at);
    let mut said = Vec::new();
    io::stdin().read_to_end(&mut said).map_err(DeleteError::Bundle)?;
    let well = match said.as_slice() {
        FAILED => false,
        DONE => {
            // There is nobody who would tell that it is never removed.
            thread::sleep(TAKEN);
            true
        }
        _ if is_at(&ours, &bundle) => delete::run(args)?.status.success(),
        _ => {
            if let (Some(place), Some(generation)) = (place, generation) {
                delete::settle_rest(args, &place, generation);
            }
            false
        }
    };
    if well && is_at(&ours, &bundle) {
        bundle::remove(&bundle).map_err(DeleteError::Bundle)?;
    }
    Ok(())
}

/// Whether the bundle is still the same: containerd, restarted meanwhile, removes it and may
/// make another of this name.
fn is_at(bundle: &File, path: &Path) -> bool {
    let (Ok(held), Ok(found)) = (bundle.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}
