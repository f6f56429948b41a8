//! One directory: open it as what was listed, and tell what is in it.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fgetxattr, openat2, readlinkat};
use rustix::io::Errno;

use super::scan::{Inode, Scan, inode};
use crate::error::Error;
use crate::layer::Node;

/// What stands under a name.
pub(super) enum Seen {
    File,
    Dir(Inode),
    Node(Node),
    Nothing,
}

impl Scan<'_> {
    /// `None` when something is mounted there.
    pub(super) fn open_dir(
        &self,
        root: &OwnedFd,
        path: &[u8],
        listed: Option<Inode>,
    ) -> Result<Option<OwnedFd>, Error> {
        let relative = path.strip_prefix(b"/").unwrap_or(b".");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let fd = match openat2(root, relative, flags, Mode::empty(), resolve) {
            Ok(fd) => fd,
            Err(Errno::XDEV) => return Ok(None),
            Err(errno) => return Err(self.io("open the directory", path, errno)),
        };
        if let Some(listed) = listed {
            let stat = self.stat(&fd, c"", path)?;
            if inode(&stat) != listed {
                return Err(Error::Changing { path: self.shown(path), tries: 1 });
            }
        }
        Ok(Some(fd))
    }

    pub(super) fn opaque(&self, dir: &OwnedFd, path: &[u8]) -> Result<bool, Error> {
        let mut value = [0; 1];
        match fgetxattr(dir, c"trusted.overlay.redirect", &mut [0u8; 0][..]) {
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Ok(_) => return Err(Error::Redirect { path: self.shown(path) }),
            Err(errno) => return Err(self.io("read overlayfs's attributes of", path, errno)),
        }
        match fgetxattr(dir, c"trusted.overlay.opaque", &mut value[..]) {
            // `x` marks a directory that holds whiteouts as attributes, and hides nothing.
            Ok(len) => Ok(len == 1 && value == *b"y"),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
            Err(errno) => Err(self.io("read overlayfs's attributes of", path, errno)),
        }
    }

    pub(super) fn file_type(
        &self,
        dir: &OwnedFd,
        path: &[u8],
        name: &CStr,
        told: FileType,
    ) -> Result<Seen, Error> {
        Ok(match told {
            FileType::RegularFile => Seen::File,
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new())
                    .map_err(|e| self.io("read the symbolic link", path, e))?;
                Seen::Node(Node::Symlink(target.into_bytes().into()))
            }
            FileType::Fifo | FileType::Socket | FileType::BlockDevice => Seen::Node(Node::Other),
            FileType::Directory => Seen::Dir(inode(&self.stat(dir, name, path)?)),
            FileType::CharacterDevice => match self.stat(dir, name, path) {
                Ok(stat) if (stat.stx_rdev_major, stat.stx_rdev_minor) == (0, 0) => {
                    Seen::Node(Node::Whiteout)
                }
                Ok(_) => Seen::Node(Node::Other),
                // A mounted overlay lists a whiteout of its lowest layer, and denies it.
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    Seen::Nothing
                }
                Err(error) => return Err(error),
            },
            FileType::Unknown => {
                let told = FileType::from_raw_mode(self.stat(dir, name, path)?.stx_mode.into());
                if told == FileType::Unknown {
                    return Ok(Seen::Node(Node::Other));
                }
                return self.file_type(dir, path, name, told);
            }
        })
    }
}
