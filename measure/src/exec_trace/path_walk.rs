//! A path, followed as a process follows it that is not ours.
//!
//! The kernel follows a path for who asks: `self` of /proc would be us, and what is there for
//! the process would not be there. So each part is followed by itself, and what means the
//! asker is the process's.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags};
use rustix::io::{Errno, Result};

use crate::held_process::Held;

/// `PROC_SUPER_MAGIC` (linux/magic.h) and `PROC_ROOT_INO` (linux/proc_fs.h).
const PROC: (u64, u64) = (0x9fa0, 1);

/// As many links as the kernel follows in one path (`MAXSYMLINKS`).
const LINKS: usize = 40;

/// More parts than a path has of which the kernel takes 4,096 bytes, with what links add.
const PARTS: usize = 1 << 16;

/// Where a process stands.
pub(super) struct Walk<'a> {
    root: OwnedFd,
    process: Option<&'a Held>,
}

impl<'a> Walk<'a> {
    /// From the root of a process, a directory, or of its container's where nothing is known of
    /// it but that `self` was it.
    pub(super) const fn new(root: OwnedFd, process: Option<&'a Held>) -> Self {
        Self { root, process }
    }

    /// Opens what an absolute path leads to, links followed, also those of /proc.
    ///
    /// # Errors
    /// `ESRCH` where it leads by way of a process that has ended.
    pub(super) fn open(&self, path: &[u8]) -> Result<OwnedFd> {
        let mut at = self.root.try_clone().map_err(|_| Errno::MFILE)?;
        let mut parts: Vec<Vec<u8>> = parts_of(path).collect();
        let (mut links, mut steps) = (0, 0);
        while let Some(part) = parts.pop() {
            steps += 1;
            if steps > PARTS {
                return Err(Errno::NAMETOOLONG);
            }
            if part == b".." {
                if !same(at.as_fd(), self.root.as_fd())? {
                    at = below(at.as_fd(), b"..", OFlags::DIRECTORY)?;
                }
                continue;
            }
            let in_proc = is_in_proc(at.as_fd())?;
            if in_proc == Some(PROC.1) && matches!(&part[..], b"self" | b"thread-self") {
                at = match self.own_folder(at.as_fd()) {
                    // It has ended since, and its root is held.
                    Err(Errno::SRCH) if self.process.is_some() && next_is_root(&parts) => {
                        parts.pop();
                        self.root.try_clone().map_err(|_| Errno::MFILE)?
                    }
                    found => found?,
                };
                continue;
            }
            let found = below(at.as_fd(), &part, OFlags::NOFOLLOW)?;
            if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != FileType::Symlink {
                at = found;
                continue;
            }
            links += 1;
            if links > LINKS {
                return Err(Errno::LOOP);
            }
            match in_proc {
                // A link that leads there without a name; the folder says whose it is.
                Some(folder) if folder != PROC.1 => {
                    at = below(at.as_fd(), &part, OFlags::empty())?;
                }
                _ => {
                    let to = rustix::fs::readlinkat(&found, c"", Vec::new())?.into_bytes();
                    if to.starts_with(b"/") {
                        at = self.root.try_clone().map_err(|_| Errno::MFILE)?;
                    }
                    parts.extend(parts_of(&to));
                }
            }
        }
        Ok(at)
    }

    /// The process's own folder of that /proc, under the number that it has there.
    fn own_folder(&self, proc: BorrowedFd<'_>) -> Result<OwnedFd> {
        let process = self.process.ok_or(Errno::SRCH)?;
        let numbers = process.numbers().ok_or(Errno::SRCH)?;
        let folder = numbers.iter().rev().find_map(|number| {
            let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
            let folder = below(proc, number.to_string().as_bytes(), flags).ok()?;
            process.is_at(folder.as_fd()).then_some(folder)
        });
        folder.filter(|_| process.lives()).ok_or(Errno::SRCH)
    }
}

/// The parts of a path, the first last.
fn parts_of(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && part != b".");
    parts.rev().map(<[u8]>::to_vec)
}

fn next_is_root(parts: &[Vec<u8>]) -> bool {
    parts.last().is_some_and(|next| next == b"root")
}

fn below(at: BorrowedFd<'_>, part: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | flags;
    rustix::fs::openat(at, OsStr::from_bytes(part), flags, Mode::empty())
}

/// The number of a directory of /proc, if it is one.
pub(super) fn is_in_proc(at: BorrowedFd<'_>) -> Result<Option<u64>> {
    if rustix::fs::fstatfs(at)?.f_type as u64 != PROC.0 {
        return Ok(None);
    }
    Ok(Some(rustix::fs::fstat(at)?.st_ino))
}

/// Whether both are one directory, by the same mount.
fn same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool> {
    let of = |fd| {
        let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(fd, c"", flags, wanted)?;
        Ok::<_, Errno>((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino, stat.stx_mnt_id))
    };
    Ok(of(one)? == of(other)?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell in namespaces of its own, whose /proc has it as 1, and a root that ends in `/top`.
    struct Other(
        Child,
        #[expect(dead_code, reason = "there until it is dropped")] tempfile::TempDir,
    );

    impl Other {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let top = folder.path().join("top");
            for name in ["proc", "dir/deep"] {
                std::fs::create_dir_all(top.join(name)).unwrap();
            }
            std::fs::write(top.join("dir/file"), "its").unwrap();
            std::fs::write(folder.path().join("file"), "outside").unwrap();
            for (to, name) in [
                ("/proc/self/root/dir", "by-proc"),
                ("../../../dir/file", "dir/up"),
                ("deep/../file", "dir/over"),
                ("loop", "loop"),
                ("/proc/self/cwd/dir/file", "by-cwd"),
            ] {
                symlink(to, top.join(name)).unwrap();
            }
            let script = format!(
                "mount --bind {0} {0} && mount -t proc proc {0}/proc && cd {0} && exec 5<dir/file \
                 && pivot_root . dir/deep; echo; read never",
                top.display()
            );
            let mut child = Command::new("unshare")
                .args(["-mpf", "sh", "-c", &script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let out = child.stdout.take().unwrap();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
            Self(child, folder)
        }

        fn held(&self) -> Held {
            let pid = self.0.id();
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            Held::open(children.unwrap().trim().parse().unwrap()).unwrap()
        }

        /// What a path leads to, seen from `/top`.
        fn open(&self, process: Option<&Held>, path: &str) -> Result<String> {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let root = self.held().proc("root");
            let root = rustix::fs::open(root, flags, Mode::empty()).unwrap();
            let found = Walk::new(root, process).open(path.as_bytes())?;
            let held = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
            Ok(std::fs::read_to_string(held).unwrap())
        }
    }

    impl Drop for Other {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_path_leads_where_it_leads_the_process() {
        let other = Other::new();
        let held = other.held();
        for path in [
            "/dir/file",
            "//dir/./file",
            "/../dir/file",
            "/dir/deep/../file",
            "/dir/up",
            "/dir/over",
            "/proc/self/root/dir/file",
            "/proc/self/../self/root/dir/file",
            "/proc/thread-self/root/dir/file",
            "/proc/self/task/../../1/root/dir/file",
            "/proc/1/root/dir/file",
            "/proc/1/task/1/root/dir/file",
            "/proc/self/fd/5",
            "/proc/self/root/proc/self/fd/5",
            "/by-proc/file",
            "/by-cwd",
        ] {
            assert_eq!(other.open(Some(&held), path).as_deref(), Ok("its"), "{path}");
        }
        for (path, why) in [
            ("/loop", Errno::LOOP),
            ("/missing", Errno::NOENT),
            ("/dir/file/x", Errno::NOTDIR),
            ("/proc/self/root/missing", Errno::NOENT),
        ] {
            assert_eq!(other.open(Some(&held), path), Err(why), "{path}");
        }
    }

    /// `self` was somebody, and nobody can be asked any more.
    #[test]
    fn by_way_of_one_that_has_ended_nothing_is_found_and_nothing_is_missing() {
        let other = Other::new();
        for path in ["/proc/self/root/dir/file", "/by-proc/file", "/proc/self/missing"] {
            assert_eq!(other.open(None, path), Err(Errno::SRCH), "{path}");
        }
        assert_eq!(other.open(None, "/dir/file").as_deref(), Ok("its"));
    }
}
