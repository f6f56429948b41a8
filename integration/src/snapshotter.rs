//! containerd's snapshotters, and what each needs.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};

use crate::output::Output;
use crate::paths::cached;
use crate::sandbox::Node;

/// Who gives containers their roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshotter {
    /// An overlay of a directory for each layer.
    Overlayfs,
    /// A copy of all beneath, in a directory.
    Native,
    /// A snapshot of a subvolume.
    Btrfs,
    /// A copy of a file that holds a file system, on a loop device.
    Blockfile,
    /// An overlay of an EROFS for each layer.
    Erofs,
}

/// Of the files that hold file systems, in MiB; they are sparse.
const SIZE: u64 = 512;

impl Snapshotter {
    /// As containerd names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overlayfs => "overlayfs",
            Self::Native => "native",
            Self::Btrfs => "btrfs",
            Self::Blockfile => "blockfile",
            Self::Erofs => "erofs",
        }
    }

    pub(crate) fn plugin(self) -> String {
        format!("io.containerd.snapshotter.v1.{}", self.name())
    }

    pub(crate) fn settings(self, folder: &Path) -> String {
        match self {
            Self::Blockfile => format!(
                "[plugins.\"io.containerd.snapshotter.v1.blockfile\"]\n\
                 root_path = \"{f}/blockfile\"\nscratch_file = \"{f}/scratch\"\n\
                 fs_type = \"ext4\"\nmount_options = []\nrecreate_scratch = false\n",
                f = folder.display()
            ),
            _ => String::new(),
        }
    }

    /// Makes the file system that it needs, in the node's mount namespace.
    pub(crate) fn prepare(self, node: &Node) -> Result<()> {
        let folder = node.folder();
        let empty = |name: &str| {
            let path = folder.join(name);
            File::create(&path)?.set_len(SIZE << 20)?;
            Ok::<_, anyhow::Error>(path)
        };
        match self {
            Self::Overlayfs | Self::Native | Self::Erofs => Ok(()),
            Self::Blockfile => {
                let scratch = empty("scratch")?;
                let make = ["-q", "-F", "-m", "0", "-O", "^has_journal"];
                Output::of(node.command("mkfs.ext4").args(make).arg(scratch))?.ok().map(drop)
            }
            Self::Btrfs => {
                let image = empty("btrfs")?;
                let make = cached("filesystems/sbin/mkfs.btrfs")?;
                Output::of(node.command(make).arg("-q").arg(&image))?.ok()?;
                let at = folder.join("root").join(self.plugin());
                fs::create_dir_all(&at)?;
                let mount =
                    node.command("mount").args(["-o", "loop"]).arg(&image).arg(&at).output();
                anyhow::ensure!(
                    mount.context("mounting btrfs")?.status.success(),
                    "mounting btrfs"
                );
                Ok(())
            }
        }
    }
}
