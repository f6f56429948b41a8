//! When a file of the cache was last of use.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A file's last use is noted no more often than this.
const NOTED: Duration = Duration::from_secs(24 * 3600);

/// The modification time is the last use, about.
pub(crate) fn note_use(path: &Path) {
    let now = SystemTime::now();
    let Ok(file) = File::open(path) else { return };
    let noted = file.metadata().and_then(|meta| meta.modified());
    if noted.is_ok_and(|noted| now.duration_since(noted).is_ok_and(|age| age > NOTED)) {
        // A use that can't be noted costs a scan in a month.
        let _ = file.set_modified(now);
    }
}
