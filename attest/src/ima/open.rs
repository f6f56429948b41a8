//! Opening a list of a kernel that lets one program at a time have it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long whoever exports a list may have it for himself: a copy of a million lines.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries: nobody tells that it is free again.
const TRY: Duration = Duration::from_millis(20);

/// Opens a list that a kernel shows. One that can delete lines (`CONFIG_IMA_STAGING`) refuses with
/// `EBUSY` while another program is about to.
///
/// # Errors
/// When it can't be opened, or another program has kept it for too long.
pub fn open(path: &Path) -> io::Result<File> {
    let until = Instant::now() + PATIENCE;
    loop {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                if Instant::now() >= until {
                    let held = format!("another program has had it for {PATIENCE:?}: {error}");
                    return Err(io::Error::new(error.kind(), held));
                }
                sleep(TRY);
            }
            opened => return opened,
        }
    }
}
