//! What namespaces tell of themselves.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `_IOR(0xb7, 5, __u64)` (linux/nsfs.h).
const NS_GET_MNTNS_ID: libc::c_ulong = 0x8008_b705;

/// `_IO(0xb7, 2)` (linux/nsfs.h).
const NS_GET_PARENT: libc::c_ulong = 0xb702;

/// The namespace that a pid or user namespace was made in.
///
/// # Errors
/// `EPERM` where that is none of ours to see: above our own, or above the first.
pub fn parent(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the request takes no argument.
    let fd = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_PARENT as _) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

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
    fn the_first_namespace_has_no_parent_that_is_told() {
        let own = File::open("/proc/self/ns/pid").unwrap();
        // In a nested one this climbs as far as we may see.
        let mut at = OwnedFd::from(own);
        let end = loop {
            match parent(at.as_fd()) {
                Ok(above) => at = above,
                Err(error) => break error,
            }
        };
        assert_eq!(end.raw_os_error(), Some(libc::EPERM));
    }

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
