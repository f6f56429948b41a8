//! What namespaces tell of themselves.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `_IOR(0xb7, 5, __u64)` (linux/nsfs.h).
const NS_GET_MNTNS_ID: libc::c_ulong = 0x8008_b705;

/// The number of a mount namespace that is never given to another, unlike its inode
/// number.
///
/// # Errors
/// Kernels before 6.11 do not tell (`ENOTTY`).
pub fn mount_namespace_id(namespace: BorrowedFd<'_>) -> io::Result<u64> {
    let mut id = 0_u64;
    // SAFETY: the request writes one u64, and `id` is one that outlives the call.
    let done = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_MNTNS_ID as _, &raw mut id) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(id) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn one_namespace_has_one_number_and_other_files_none() {
        let own = File::open("/proc/self/ns/mnt").unwrap();
        let first = mount_namespace_id(own.as_fd());
        if let Ok(first) = first {
            let again = File::open("/proc/thread-self/ns/mnt").unwrap();
            assert_eq!(mount_namespace_id(again.as_fd()).unwrap(), first);
            assert_ne!(first, 0);
        }
        assert!(mount_namespace_id(File::open("/dev/null").unwrap().as_fd()).is_err());
    }
}
