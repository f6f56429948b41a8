//! Directories.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use lacre_baseline::{Error, Limits, NoProgress, Options, from_lower, from_rootfs};

use crate::{common, paths};

#[test]
fn too_many_entries_are_stopped() {
    let temp = tempfile::tempdir().unwrap();
    for index in 0..20 {
        fs::write(temp.path().join(index.to_string()), []).unwrap();
    }
    let limits = Limits { entries: 10, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let error = from_rootfs(temp.path(), &options, &NoProgress).unwrap_err();
    assert!(matches!(error, Error::TooManyEntries { limit: 10, .. }), "{error}");
}

#[test]
fn a_directory_full_of_traps_is_read_in_peace() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("fs");
    common::materialise(&dir, &[common::Op::Fifo { path: "fifo.sh".into() }]);
    std::os::unix::fs::symlink("/etc", dir.join("out")).unwrap();
    std::os::unix::fs::symlink("loop", dir.join("loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket.sh")).unwrap();
    let zero = rustix::fs::makedev(1, 5);
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("zero.sh"), kind, mode, zero).unwrap();
    common::write(&dir.join(OsStr::from_bytes(b"\xff\n.sh")), b"", 0o644);
    // 10 GB that takes no room, and is not code: only its beginning is read.
    fs::File::create(dir.join("sparse")).unwrap().set_len(10 << 30).unwrap();
    let mut deep = dir.clone();
    for _ in 0..200 {
        deep.push("deep");
    }
    common::write(&deep.join("x.py"), b"", 0o644);
    let baseline = from_rootfs(&dir, &Options::default(), &NoProgress).unwrap();
    let found = paths(&baseline);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].ends_with("deep/x.py"));
    assert_eq!(found[1], "/\\xff\\n.sh");
    let links: Vec<_> = baseline.links().map(|link| link.unwrap().path).collect();
    assert_eq!(links, [b"/loop", &b"/out"[..]]);
}

#[test]
fn what_is_mounted_is_left_out() {
    let temp = tempfile::tempdir().unwrap();
    let (lower, root) = (temp.path().join("lower"), temp.path().join("root"));
    let empty = temp.path().join("empty");
    common::write(&lower.join("foreign.sh"), b"", 0o644);
    common::write(&root.join("own.sh"), b"", 0o644);
    fs::create_dir(&empty).unwrap();
    let mount = common::Overlay::mount(&root.join("mnt"), &[lower, empty]);
    let baseline = from_rootfs(&root, &Options::default(), &NoProgress).unwrap();
    drop(mount);
    assert_eq!(paths(&baseline), ["/own.sh"]);
}

#[test]
fn a_directory_with_a_redirect_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let moved = temp.path().join("moved");
    fs::create_dir(&moved).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&moved, "trusted.overlay.redirect", b"/was", flags).unwrap();
    let dirs = [temp.path().to_owned()];
    let error = from_lower(&dirs, &Options::default(), &NoProgress).unwrap_err();
    assert!(matches!(&error, Error::Redirect { path } if *path == moved), "{error}");
}

#[test]
fn whiteouts_as_attributes_hide_too() {
    let temp = tempfile::tempdir().unwrap();
    let (bottom, top) = (temp.path().join("bottom"), temp.path().join("top"));
    common::write(&bottom.join("d/a.sh"), b"", 0o644);
    common::write(&bottom.join("d/b.sh"), b"", 0o644);
    common::write(&top.join("d/a.sh"), b"", 0o644);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(top.join("d"), "trusted.overlay.opaque", b"x", flags).unwrap();
    rustix::fs::setxattr(top.join("d/a.sh"), "trusted.overlay.whiteout", b"", flags).unwrap();
    let baseline = from_lower(&[top, bottom], &Options::default(), &NoProgress).unwrap();
    assert_eq!(paths(&baseline), ["/d/b.sh"]);
}

#[test]
fn a_file_that_never_holds_still_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("busy.sh");
    fs::write(&path, vec![b'#'; 64 << 20]).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::File::options().write(true).open(&path).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all(b"x").unwrap();
            }
        });
        let got = from_rootfs(temp.path(), &Options::default(), &NoProgress);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        got.unwrap_err()
    });
    assert!(matches!(&error, Error::Changing { path: told, tries: 4 } if *told == path), "{error}");
}
