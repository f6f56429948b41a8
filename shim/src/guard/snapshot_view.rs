//! What a container's snapshot stands on, seen beside it: read-only, without what the container
//! writes, and mounted nowhere that others could see.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lacre_containerd::{Client, Mount, View};
use lacre_types::{chain, rfc3339};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use rustix::rand::{GetRandomFlags, getrandom};

/// How long the lease stands if nobody is left to drop it: the largest images take minutes.
const LEASE: Duration = Duration::from_secs(3600);

/// Directories that are held open, topmost first: of a mount that is nowhere they are the only
/// way to it.
#[derive(Debug)]
pub(super) struct Directories(Vec<OwnedFd>);

impl Directories {
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let path = |dir: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        self.0.iter().map(path).collect()
    }
}

/// A view of what was committed as `parent`.
pub(super) async fn view(client: &Client, snapshotter: &str, parent: &str) -> Result<View, String> {
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty())
        .map_err(|error| format!("drawing a name for a snapshot: {error}"))?;
    let key = format!("lacre-view-{:016x}", u64::from_ne_bytes(random));
    let expires = rfc3339(SystemTime::now() + LEASE);
    client.view(snapshotter, parent, &key, &expires).await.map_err(|error| chain(&error))
}

/// The directories of a view.
pub(super) fn directories(view: &View) -> Result<Directories, String> {
    let mount = view.mounts.last().ok_or("its snapshotter hands over no mount")?;
    let failed = |error| format!("opening {} ({}): {error}", mount.source, mount.kind);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &PathBuf| openat(CWD, path, flags, Mode::empty()).map_err(failed);
    if let Some(directories) = mount.directories() {
        return Ok(Directories(directories.iter().map(open).collect::<Result<_, _>>()?));
    }
    let root = detached(mount).map_err(failed)?;
    // The mount itself is no directory that can be read.
    let root = openat(&root, Path::new("."), flags, Mode::empty()).map_err(failed)?;
    Ok(Directories(vec![root]))
}

/// Mounts it read-only, on no place.
fn detached(Mount { kind, source, options }: &Mount) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", source.as_str())?;
    for option in options {
        match (option.split_once('='), option.as_str()) {
            (Some((name, value)), _) => fsconfig_set_string(&context, name, value)?,
            // It is read-only whatever they say, and these are the mount's and not the file
            // system's.
            (None, "ro" | "rw" | "nodev" | "nosuid" | "noexec" | "noatime" | "relatime") => {}
            (None, option) => fsconfig_set_flag(&context, option)?,
        }
    }
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
