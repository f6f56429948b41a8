//! Descriptors that a process was born with.

use std::fs;
use std::io;
use std::os::fd::RawFd;

/// The descriptors that the parent left open, besides the standard streams. They are told by
/// lacking the close-on-exec flag, which whatever is opened here has.
#[derive(Debug, Default)]
pub struct Inherited(Vec<RawFd>);

impl Inherited {
    /// Finds them, and keeps them out of the programs that this process will execute: a
    /// parent that leaked one must not find it held open by a daemon.
    ///
    /// # Errors
    /// When `/proc` does not show them, or the kernel refuses.
    pub fn find() -> io::Result<Self> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc/self/fd")? {
            let number: Option<RawFd> = entry?.file_name().to_str().and_then(|n| n.parse().ok());
            let Some(fd) = number.filter(|fd| *fd > 2) else { continue };
            // SAFETY: no memory is passed; a number that is no descriptor is an error.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            if flags < 0 {
                return Err(io::Error::last_os_error());
            }
            if flags & libc::FD_CLOEXEC == 0 {
                // SAFETY: as above; the flag changes nothing for who has the descriptor.
                if unsafe { libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
                    return Err(io::Error::last_os_error());
                }
                found.push(fd);
            }
        }
        Ok(Self(found))
    }

    /// Closes them.
    pub fn close(self) {
        for fd in self.0 {
            // SAFETY: nobody here opened it, and what was inherited has no owner here.
            unsafe { libc::close(fd) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::process::Command;

    #[test]
    fn a_leaked_descriptor_does_not_reach_a_child_and_can_be_closed() {
        let file = File::open("/dev/null").unwrap();
        // SAFETY: the descriptor is open.
        let leaked = unsafe { libc::dup(file.as_raw_fd()) };
        let path = format!("/proc/self/fd/{leaked}");
        let seen = || Command::new("test").arg("-e").arg(&path).status().unwrap().success();
        assert!(seen());
        let inherited = Inherited::find().unwrap();
        assert!(!seen());
        assert!(fs::exists(&path).unwrap());
        inherited.close();
        assert!(!fs::exists(&path).unwrap());
        assert!(fs::exists(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap());
    }
}
