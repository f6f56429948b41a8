//! A container's root, for as long as this is held: also when its last process has ended, and
//! what it did is still to be told.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::held_process::Held;

/// The root of a container's first process, and the mounts beneath it: a mount namespace goes
/// with the last who holds it, and takes every mount in it away.
#[derive(Debug)]
pub(crate) struct ContainerRoot {
    path: PathBuf,
    _root: OwnedFd,
    _namespace: OwnedFd,
}

impl ContainerRoot {
    /// That of a process which has not ended.
    ///
    /// # Errors
    /// When it has, or the kernel gives no descriptor.
    pub(crate) fn of(init: &Held) -> io::Result<Self> {
        let open = |name: &str, flags| {
            let flags = flags | OFlags::CLOEXEC;
            Ok::<_, io::Error>(rustix::fs::openat(CWD, init.proc(name), flags, Mode::empty())?)
        };
        let namespace = open("ns/mnt", OFlags::RDONLY)?;
        let root = open("root", OFlags::PATH | OFlags::DIRECTORY)?;
        if !init.lives() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has ended"));
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        Ok(Self { path, _root: root, _namespace: namespace })
    }

    /// A way to it, in this process.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use std::process::Command;

    /// With what is mounted in it, which would be gone with its mount namespace.
    #[test]
    fn a_root_outlives_its_last_process() {
        let script = "mount -t tmpfs none /mnt && echo here >/mnt/file && exec sleep 100";
        let mut init = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .spawn()
            .unwrap();
        let held = Held::open(init.id()).unwrap();
        while std::fs::metadata(held.proc("root/mnt/file")).is_err() {
            std::thread::yield_now();
        }
        let root = ContainerRoot::of(&held).unwrap();
        init.kill().unwrap();
        init.wait().unwrap();
        assert!(files::open_in(&held.proc("root"), b"/mnt/file").is_err());
        assert!(files::open_in(root.path(), b"/mnt/file").is_ok());
        assert!(ContainerRoot::of(&held).is_err());
    }
}
