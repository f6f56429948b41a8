//! A snapshot that somebody has edited behind containerd's back.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use anyhow::{Result, ensure};
use lacre_integration::{Snapshotter, Version};

use crate::field::{Field, image};

/// One file before anything was known of the image, another afterwards.
fn is_told(version: Version, snapshotter: Snapshotter) -> Result<()> {
    let field = Field::new(version, snapshotter, "")?;
    let image = image()?;
    field.daemon.import(&image)?;
    let append = |file: &str| -> Result<()> {
        for path in field.unpacked(file)? {
            let mode = fs::metadata(&path)?.permissions();
            OpenOptions::new().append(true).open(&path)?.write_all(b"\n")?;
            fs::set_permissions(&path, mode)?;
        }
        Ok(())
    };
    append("opt/busybox")?;
    let ran = field.run(&image, "early", &["/opt/busybox", "true"])?;
    ensure!(ran.code != 0, "{ran:?}");
    // What is the image's own runs, in the same snapshot.
    let ran = field.run(&image, "own", &["sh", "-c", "/opt/own.sh"])?;
    ensure!(ran.code == 0, "{ran:?} {:#?}", field.daemon.violations()?);
    append("bin/busybox")?;
    let ran = field.run(&image, "late", &["/bin/busybox", "true"])?;
    ensure!(ran.code != 0, "{ran:?}");
    let told = field.daemon.violations()?;
    for path in ["/opt/busybox", "/bin/busybox"] {
        let of_it: Vec<_> = told.iter().filter(|it| it["path"] == path).collect();
        ensure!(!of_it.is_empty(), "{path}: {told:#?}");
        ensure!(of_it.iter().all(|it| it["notificate"] == "INVALID_HASH"), "{path}: {told:#?}");
    }
    field.daemon.check(|_| Ok(()))
}

#[test]
fn it_is_an_invalid_hash_on_overlayfs() -> Result<()> {
    is_told(Version::V2_1, Snapshotter::Overlayfs)
}

#[test]
fn it_is_an_invalid_hash_on_overlayfs_of_1_7() -> Result<()> {
    is_told(Version::V1_7, Snapshotter::Overlayfs)
}

#[test]
fn it_is_an_invalid_hash_on_native() -> Result<()> {
    is_told(Version::V2_1, Snapshotter::Native)
}
