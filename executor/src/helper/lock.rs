//! What keeps two helpers from working on one container.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::helper::request::Request;
use crate::run_dir::{RunDirError, failed, file_name, folder};

/// One helper at a time on one container.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits for it. Its holder's calls all have deadlines.
    pub(crate) fn take(request: &Request) -> Result<Self, RunDirError> {
        let name = file_name(&request.namespace, &request.container)?;
        let path = folder(&request.run, "locks")?.join(name);
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)
                .map_err(failed("opening", &path))?;
            let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive);
            locked.map_err(|error| failed("locking", &path)(error.into()))?;
            // The last holder may have removed it while we waited.
            let ours = file.metadata().map_err(failed("reading", &path))?.ino();
            if fs::metadata(&path).is_ok_and(|meta| meta.ino() == ours) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
