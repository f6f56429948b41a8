//! A small file that is there whole or not at all (`O_TMPFILE` and linkat, open(2)).
//!
//! Its writer may be killed at any moment. What it has not finished then has no name, so that
//! nothing is left of it; or it is the newer of two whole versions, beside the older one, and
//! goes with that.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, linkat};
use rustix::io::Errno;

/// How often a name is tried for that others, who write the same file, have each time: each of
/// them has it for two system calls.
const TRIES: usize = 64;

/// Puts a file with what `fill` writes in the place of what is at `path`, with permissions
/// `mode`. A reader sees the one or the other.
///
/// # Errors
/// Those of `fill`, of open(2), linkat(2) and rename(2): then what was there is there still.
pub fn put(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut options = OpenOptions::new();
    options.write(true).mode(mode).custom_flags(OFlags::TMPFILE.bits().cast_signed());
    let mut file = match options.open(folder) {
        Ok(file) => file,
        Err(error) if no_unnamed_files(&error) => return put_named(path, mode, fill),
        Err(error) => return Err(error),
    };
    fill(&mut file)?;
    // linkat(2): an unnamed file gets a name by its descriptor's link in /proc.
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    let name = |path: &Path| linkat(CWD, &unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW);
    match name(path) {
        // No link replaces what is there; a rename does.
        Err(Errno::EXIST) => {}
        other => return Ok(other?),
    }
    let newer = newer(path);
    for _ in 0..TRIES {
        let waits = name(&newer);
        // Where another writer's waits there, who was killed or is just now at it, that one is
        // whole too: it goes first.
        match fs::rename(&newer, path) {
            // Another writer has done so with ours, or with its own.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        match waits {
            Err(Errno::EXIST) => {}
            other => return Ok(other?),
        }
    }
    Err(io::Error::other("others keep writing it"))
}

/// Removes it, with what a writer that was killed has left beside it. There may be none.
///
/// # Errors
/// When it can't be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    // The newer one first: who is killed between the two leaves what is found.
    unlink(&newer(path)).and(unlink(path))
}

/// On a file system that has no unnamed files.
fn put_named(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let newer = newer(path);
    // Of one that was killed. Of two who write at the same time one fails.
    unlink(&newer)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&newer)?;
    let filled = fill(&mut file).and_then(|()| fs::rename(&newer, path));
    filled.inspect_err(|_| {
        let _ = unlink(&newer);
    })
}

/// open(2): a kernel, or a file system, that does not know them.
fn no_unnamed_files(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::OPNOTSUPP, Errno::ISDIR].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// Where a version waits to take the place of the one before.
fn newer(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    fn write(path: &Path, text: &str) {
        put(path, 0o600, |file| file.write_all(text.as_bytes())).unwrap();
    }

    #[test]
    fn what_a_writer_has_not_finished_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        for (before, after) in [(&[][..], "1"), (&["one"][..], "2")] {
            let cut = put(&path, 0o600, |file| {
                file.write_all(b"half")?;
                assert_eq!(names(dir.path()), before, "killed here, it leaves what was there");
                Err(io::Error::other("the disk is full"))
            });
            cut.unwrap_err();
            assert_eq!(names(dir.path()), before);
            write(&path, after);
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
            assert_eq!(names(dir.path()), ["one"]);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn one_that_waited_for_its_place_goes_with_what_it_would_have_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        write(&path, "1");
        fs::write(newer(&path), "of one who was killed").unwrap();
        write(&path, "2");
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), names(dir.path()).len()),
            ("2", 1)
        );
        fs::write(newer(&path), "of one who was killed").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn many_write_one_file_with_and_without_unnamed_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        std::thread::scope(|scope| {
            for writer in 0..8_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..200 {
                        let bytes = [writer; 4096];
                        put(path, 0o600, |file| file.write_all(&bytes)).unwrap();
                        let seen = fs::read(path).unwrap();
                        assert!(seen.len() == 4096 && seen.iter().all(|byte| *byte == seen[0]));
                    }
                });
            }
        });
        assert_eq!(names(dir.path()), ["one"]);
        put_named(&path, 0o640, |file| file.write_all(b"named")).unwrap();
        assert_eq!(
            (fs::read(&path).unwrap().as_slice(), names(dir.path()).len()),
            (&b"named"[..], 1)
        );
        put_named(&path, 0o640, |_| Err(io::Error::other("the disk is full"))).unwrap_err();
        assert_eq!(names(dir.path()), ["one"]);
    }

    #[test]
    fn a_link_is_replaced_and_never_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (dir.path().join("one"), dir.path().join("elsewhere"));
        fs::write(&elsewhere, "0").unwrap();
        symlink(&elsewhere, &path).unwrap();
        write(&path, "1");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "0");
    }
}
