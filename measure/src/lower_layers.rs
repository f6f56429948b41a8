//! What the lower directories of an overlay show by themselves, beneath whatever a container
//! has changed.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, getxattr, openat};
use rustix::io::Errno;

/// What hides what is of the same name in the layers further down (overlayfs.rst), as the kernel's
/// own mounts have it and as those of a user namespace do.
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];
/// What has a directory's content, or a file's, come from elsewhere. No image has any.
const ELSEWHERE: [&str; 4] = [
    "trusted.overlay.redirect",
    "user.overlay.redirect",
    "trusted.overlay.metacopy",
    "user.overlay.metacopy",
];

/// What a layer says of a name.
enum Said {
    Nothing,
    File(OwnedFd),
    /// No layer below has a say: something else is there, or was taken away.
    Hidden,
}

/// The regular file of that path, by `O_PATH`; `layers` are topmost first.
pub(crate) fn file(layers: &[PathBuf], path: &[u8]) -> Option<OwnedFd> {
    for layer in layers {
        match said(layer, path) {
            Ok(Said::Nothing) => {}
            Ok(Said::File(file)) => return Some(file),
            Ok(Said::Hidden) | Err(_) => return None,
        }
    }
    None
}

fn said(layer: &PathBuf, path: &[u8]) -> rustix::io::Result<Said> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(CWD, layer, flags | OFlags::DIRECTORY, Mode::empty())?;
    let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
    let mut hides = false;
    while let Some(name) = names.next() {
        at = match openat(&at, OsStr::from_bytes(name), flags, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(if hides { Said::Hidden } else { Said::Nothing }),
            Err(errno) => return Err(errno),
        };
        let kind = FileType::from_raw_mode(fstat(&at)?.st_mode);
        if has_any(&at, &ELSEWHERE)? {
            return Ok(Said::Hidden);
        }
        match (kind, names.peek()) {
            (FileType::Directory, Some(_)) => hides |= has_any(&at, &OPAQUE)?,
            (FileType::RegularFile, None) => return Ok(Said::File(at)),
            _ => return Ok(Said::Hidden),
        }
    }
    Ok(Said::Hidden)
}

fn has_any(file: impl AsFd, names: &[&str]) -> rustix::io::Result<bool> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    for name in names {
        match getxattr(&path, *name, &mut [0_u8; 0][..]) {
            Ok(_) => return Ok(true),
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    use rustix::fs::{XattrFlags, mknodat, setxattr};

    fn has(layers: &[PathBuf], path: &str) -> Option<String> {
        let file = file(layers, path.as_bytes())?;
        Some(fs::read_to_string(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap())
    }

    fn whiteout(path: &Path) {
        mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }

    /// As an overlay over them does, mounted beside.
    #[test]
    fn the_layers_show_what_an_overlay_over_them_shows() {
        let dir = tempfile::tempdir().unwrap();
        let layers = ["top", "mid", "low"].map(|name| dir.path().join(name)).to_vec();
        let [top, mid, low] = [0, 1, 2].map(|at: usize| layers[at].clone());
        for layer in &layers {
            for folder in ["plain", "gone", "opaque/deep", "file", "link"] {
                fs::create_dir_all(layer.join(folder)).unwrap();
                fs::write(layer.join(folder).join("low-only"), "x").unwrap();
                fs::write(layer.join(folder).join("all"), layer.to_str().unwrap()).unwrap();
            }
            fs::write(layer.join("opaque/deep/x"), layer.to_str().unwrap()).unwrap();
        }
        for layer in [&top, &mid] {
            for folder in ["plain", "gone", "opaque", "file", "link"] {
                let _ = fs::remove_file(layer.join(folder).join("low-only"));
            }
        }
        for folder in ["gone", "file", "link"] {
            fs::remove_dir_all(top.join(folder)).unwrap();
        }
        whiteout(&top.join("gone"));
        fs::write(top.join("file"), "").unwrap();
        std::os::unix::fs::symlink("plain", top.join("link")).unwrap();
        fs::remove_file(top.join("plain/all")).unwrap();
        whiteout(&mid.join("plain/all2"));
        fs::write(low.join("plain/all2"), "x").unwrap();
        fs::remove_dir_all(top.join("opaque/deep")).unwrap();
        setxattr(mid.join("opaque"), OPAQUE[0], b"y", XattrFlags::empty()).unwrap();
        fs::write(low.join("opaque/deep/low"), "x").unwrap();
        let merged = dir.path().join("merged");
        fs::create_dir(&merged).unwrap();
        let options = format!("lowerdir={}:{}:{}", top.display(), mid.display(), low.display());
        let options = std::ffi::CString::new(options).unwrap();
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("o", &merged, "overlay", none, &*options).unwrap();
        let mut shown = 0;
        for folder in ["plain", "gone", "opaque", "opaque/deep", "file", "nowhere"] {
            for name in ["all", "all2", "low-only", "x", "low"] {
                let path = format!("/{folder}/{name}");
                let want = fs::read_to_string(merged.join(&path[1..])).ok();
                shown += usize::from(want.is_some());
                assert_eq!(has(&layers, &path), want, "{path}");
            }
        }
        let detach = rustix::mount::UnmountFlags::DETACH;
        rustix::mount::unmount(&merged, detach).unwrap();
        assert_eq!(shown, 5);
        // A link is no way to a file.
        assert_eq!(has(&layers, "/link/all"), None);
        assert_eq!(has(&layers, "/plain"), None);
        assert_eq!(has(&layers, ""), None);
    }
}
