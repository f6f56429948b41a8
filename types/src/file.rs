//! How a file is told from every other state of itself.

/// What tells one state of one file from every other on a node: the *real* inode beneath
/// overlayfs, never the overlay's own, and its change time, which user space cannot set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The device as the kernel keeps it in `s_dev`: `major << 20 | minor`.
    pub dev: u32,
    /// The inode number.
    pub ino: u64,
    /// The change time, whole seconds since the epoch.
    pub ctime_sec: i64,
    /// The change time, nanoseconds.
    pub ctime_nsec: u32,
}

impl FileId {
    /// `s_dev` of a device number that `stat` gave as major and minor.
    #[must_use]
    pub const fn kernel_dev(major: u32, minor: u32) -> u32 {
        major << 20 | minor
    }
}
