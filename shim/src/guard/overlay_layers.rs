//! The directories beneath a container's root file system.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lacre_types::{mountinfo, overlay};

/// An overlay's directories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Layers {
    /// What the container may write to.
    pub(crate) upper: Option<PathBuf>,
    /// What came with the image, topmost first.
    pub(crate) lower: Vec<PathBuf>,
}

impl Layers {
    /// From the options of an overlay mount, each `name=value` (Linux,
    /// Documentation/filesystems/overlayfs.rst). Relative paths are relative to `home`.
    pub(crate) fn from_options<'a>(
        options: impl Iterator<Item = &'a [u8]>,
        home: &Path,
    ) -> Option<Self> {
        let mut layers = Self::default();
        for option in options {
            let Some(at) = option.iter().position(|byte| *byte == b'=') else { continue };
            let (name, value) = (&option[..at], &option[at + 1..]);
            match name {
                b"upperdir" => layers.upper = Some(home.join(overlay::path(value))),
                b"lowerdir" => layers.lower.extend(overlay::paths(value).map(|dir| home.join(dir))),
                b"lowerdir+" => layers.lower.push(home.join(overlay::path(value))),
                _ => {}
            }
        }
        (!layers.lower.is_empty()).then_some(layers)
    }

    /// From the mount at `root` in `/proc/PID/mountinfo`, when that is an overlay.
    pub(crate) fn from_mountinfo(table: &[u8], root: &Path) -> Option<Self> {
        // Docker mounts an image of many layers with paths relative to its own folder,
        // HOME/ID/merged.
        let home = root.ancestors().nth(2).unwrap_or(root);
        let at = root.as_os_str().as_bytes();
        // The last is the topmost of several at one place.
        let mount = mountinfo::lines(table).flatten().filter(|mount| mount.point == at).last()?;
        if mount.kind != b"overlay" {
            return None;
        }
        Self::from_options(mount.options.iter().map(Vec::as_slice), home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(upper: &str, lower: &[&str]) -> Layers {
        Layers { upper: Some(upper.into()), lower: lower.iter().map(PathBuf::from).collect() }
    }

    #[test]
    fn the_mount_that_containerd_hands_over() {
        let options =
            ["index=off", "workdir=/r/9/work", "upperdir=/r/9/fs", "lowerdir=/r/8/fs:/r/7/fs"];
        let found = Layers::from_options(options.iter().map(|o| o.as_bytes()), Path::new("/"));
        assert_eq!(found, Some(layers("/r/9/fs", &["/r/8/fs", "/r/7/fs"])));
    }

    #[test]
    fn an_escaped_colon_is_part_of_a_path() {
        let options: [&[u8]; 1] = [br"lowerdir=/a\:b:/c"];
        let found = Layers::from_options(options.into_iter(), Path::new("/")).unwrap();
        assert_eq!(found.lower, [PathBuf::from("/a:b"), PathBuf::from("/c")]);
    }

    #[test]
    fn docker_mounts_relative_to_its_folder() {
        let info = b"30 1 0:20 / /d/overlay2/ab/merged rw - overlay overlay \
            rw,lowerdir=l/X:l/Y,upperdir=ab/diff,workdir=ab/work\n";
        let found = Layers::from_mountinfo(info, Path::new("/d/overlay2/ab/merged"));
        assert_eq!(
            found,
            Some(layers("/d/overlay2/ab/diff", &["/d/overlay2/l/X", "/d/overlay2/l/Y"]))
        );
    }

    #[test]
    fn layers_added_one_by_one_and_paths_with_spaces() {
        let info = b"30 1 0:20 / /a\\040b rw shared:7 - overlay o rw,lowerdir+=/x,lowerdir+=/y,upperdir=/u\n";
        assert_eq!(
            Layers::from_mountinfo(info, Path::new("/a b")),
            Some(layers("/u", &["/x", "/y"]))
        );
    }

    #[test]
    fn a_comma_in_a_path_begins_no_option() {
        let info = b"30 1 0:20 / /m rw - overlay o rw,lowerdir=/a\\054b:/c,upperdir=/u\\054lowerdir\\075/x\n";
        assert_eq!(
            Layers::from_mountinfo(info, Path::new("/m")),
            Some(layers("/u,lowerdir=/x", &["/a,b", "/c"]))
        );
        // As 6.18 shows what mount(2) was given: the overlay's own backslash is kept.
        let info = b"93 88 0:41 / /t/d/m rw,relatime - overlay overlay rw,\
            lowerdir=a\\134\\054b:c\\040d:h#h,upperdir=u\\134\\054lowerdir=x,workdir=w,uuid=on\n";
        assert_eq!(
            Layers::from_mountinfo(info, Path::new("/t/d/m")),
            Some(layers("/t/u,lowerdir=x", &["/t/a,b", "/t/c d", "/t/h#h"]))
        );
    }

    #[test]
    fn another_file_system_has_no_layers() {
        let info = b"30 1 8:1 /x /root rw - ext4 /dev/vda rw\n";
        assert_eq!(Layers::from_mountinfo(info, Path::new("/root")), None);
        assert_eq!(Layers::from_mountinfo(b"", Path::new("/root")), None);
    }
}
