//! What `/proc/PID` tells of a process that may go meanwhile: its files, whole, and its places.
//! What the files hold is read by [`lacre_types::proc_pid`].

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::io::Errno;

/// A file of a process; `None` when the process has gone.
///
/// # Errors
/// When nobody can tell, as without a descriptor left.
pub(crate) fn read(pid: u32, name: &str) -> io::Result<Option<Vec<u8>>> {
    match fs::read(format!("/proc/{pid}/{name}")) {
        Ok(bytes) => Ok(Some(bytes)),
        // ESRCH: it went while it was read.
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) if why.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(why) => Err(why),
    }
}

/// A directory or a file, by device and inode.
pub(crate) type Place = (u64, u64);

/// Where a path leads to.
pub(crate) fn place(path: impl AsRef<Path>) -> Option<Place> {
    fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok()
}

/// The directory that is a process's root.
pub(crate) fn root(pid: u32) -> Option<Place> {
    place(format!("/proc/{pid}/root"))
}

/// The file that a process runs.
pub(crate) fn program(pid: u32) -> Option<Place> {
    place(format!("/proc/{pid}/exe"))
}

/// A process's namespace of that kind, by its inode number.
pub(crate) fn namespace(pid: u32, kind: &str) -> Option<u64> {
    place(format!("/proc/{pid}/ns/{kind}")).map(|(_, inode)| inode)
}
