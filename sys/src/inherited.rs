//! Descriptors that a process was born with.

use std::io;
use std::os::fd::RawFd;

/// Keeps every descriptor from `first` on out of the programs that this process will
/// execute: a parent that leaked one must not find it held open by a daemon.
///
/// # Errors
/// When the kernel is older than 5.11, which brought the flag.
pub fn keep_from_children(first: RawFd) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: no memory is passed, and CLOSE_RANGE_CLOEXEC closes nothing: every
    // descriptor stays valid for whoever owns it here.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_uint,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::process::Command;

    #[test]
    fn a_leaked_descriptor_does_not_reach_a_child() {
        let file = File::open("/dev/null").unwrap();
        // SAFETY: the descriptor is open, and dup's result is owned by nobody else.
        let leaked = unsafe { OwnedFd::from_raw_fd(libc::dup(file.as_raw_fd())) };
        let seen = || {
            let path = format!("/proc/self/fd/{}", leaked.as_raw_fd());
            Command::new("test").arg("-e").arg(path).status().unwrap().success()
        };
        assert!(seen());
        super::keep_from_children(3).unwrap();
        assert!(!seen());
    }
}
