//! That lacre has frozen a container, for who would thaw it when the process that did has gone.

use std::io::Write as _;
use std::path::Path;

use lacre_sys::whole_file;

use crate::run_dir::{RunDirError, failed, folder, of_generation};

const FOLDER: &str = "paused";

/// Notes it down. `generation` is the container's
/// [`Container::generation`](crate::Container::generation).
pub(crate) fn put(run: &Path, generation: &str) -> Result<(), RunDirError> {
    folder(run, FOLDER)?;
    let path = of_generation(run, FOLDER, generation)?;
    whole_file::put(&path, 0o600, |file| file.write_all(b"{}")).map_err(failed("writing", &path))
}

/// Whether lacre has frozen that container, and nobody thawed it by lacre since.
pub(crate) fn is_marked(run: &Path, generation: &str) -> bool {
    of_generation(run, FOLDER, generation).is_ok_and(|path| path.exists())
}

/// Takes it back. None is none.
pub(crate) fn remove(run: &Path, generation: &str) -> Result<(), RunDirError> {
    let path = of_generation(run, FOLDER, generation)?;
    whole_file::remove(&path).map_err(failed("removing", &path))
}
