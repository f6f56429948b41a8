//! By each origin and each snapshotter: the same baseline, and it holds.

use anyhow::{Result, ensure};
use lacre_integration::output::Output;
use lacre_integration::{Image, Snapshotter, Version};

use crate::field::{Field, image, merged_image};

/// What everybody's is compared with: the image by itself, in no daemon.
fn digest_of(field: &Field, image: &Image) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let (tar, out) = (folder.path().join("image.tar"), folder.path().join("baseline"));
    image.write(&tar)?;
    let (tar, out) = (tar.display().to_string(), out.display().to_string());
    let made =
        Output::of(&mut field.cli(&["baseline", "generate", "--json", "--oci", &tar, "-o", &out]))?;
    let json: serde_json::Value = serde_json::from_str(made.ok()?.lines().last().unwrap_or(""))?;
    Ok(json["digest"].as_str().unwrap_or_default().to_owned())
}

fn holds(version: Version, snapshotter: Snapshotter) -> Result<()> {
    let field = Field::new(version, snapshotter, "")?;
    let image = image()?;
    let expected = digest_of(&field, &image)?;
    field.daemon.import(&image)?;
    let content = field.is_guarded(&image, "content")?;
    ensure!(content.0 == expected && content.1 == "content", "{content:?}, not {expected}");
    let kept = field.is_guarded(&image, "kept")?;
    ensure!(kept == content, "{kept:?}");
    // What is not kept of the image is made of what it was unpacked to.
    field.discard(&image)?;
    field.forget()?;
    let unpacked = field.is_guarded(&image, "unpacked")?;
    ensure!(unpacked.0 == expected && unpacked.1 == "directories", "{unpacked:?}, not {expected}");
    let views =
        field.daemon.ctr(&["snapshots", "--snapshotter", snapshotter.name(), "ls"])?.ok()?;
    ensure!(!views.contains("lacre-view"), "a view is left: {views}");
    field.end(&[&image])?;
    field.daemon.check(|_| Ok(()))
}

#[test]
fn overlayfs_of_2_1() -> Result<()> {
    holds(Version::V2_1, Snapshotter::Overlayfs)
}

#[test]
fn overlayfs_of_1_7() -> Result<()> {
    holds(Version::V1_7, Snapshotter::Overlayfs)
}

#[test]
fn native_of_2_1() -> Result<()> {
    holds(Version::V2_1, Snapshotter::Native)
}

#[test]
fn native_of_1_7() -> Result<()> {
    holds(Version::V1_7, Snapshotter::Native)
}

#[test]
fn btrfs_of_2_1() -> Result<()> {
    holds(Version::V2_1, Snapshotter::Btrfs)
}

#[test]
fn erofs_of_2_1() -> Result<()> {
    holds(Version::V2_1, Snapshotter::Erofs)
}

/// On a loop device, whose views are loop devices too: that it is made of its content.
#[test]
fn blockfile_of_2_1() -> Result<()> {
    let field = Field::new(Version::V2_1, Snapshotter::Blockfile, "")?;
    let image = image()?;
    let expected = digest_of(&field, &image)?;
    field.daemon.import(&image)?;
    for id in ["first", "again"] {
        let content = field.is_guarded(&image, id)?;
        ensure!(content.0 == expected && content.1 == "content", "{content:?}, not {expected}");
    }
    field.end(&[&image])?;
    field.daemon.check(|_| Ok(()))
}

/// A directory that a layer does not name and that is a link beneath it hides the link on an
/// overlay, and is followed where layers are unpacked one over the other.
#[test]
fn a_directory_over_a_link_is_what_the_snapshotter_makes_of_it() -> Result<()> {
    let image = merged_image()?;
    for (snapshotter, path) in
        [(Snapshotter::Overlayfs, "/bin/added.sh"), (Snapshotter::Native, "/usr/bin/added.sh")]
    {
        let field = Field::new(Version::V2_1, snapshotter, "")?;
        field.daemon.import(&image)?;
        let sh = "/usr/bin/sh";
        let ran = field.run(&image, "merged", &[sh, "-c", path])?;
        let told = field.daemon.violations()?;
        ensure!(ran.code == 0 && told.is_empty(), "{snapshotter:?}: {ran:?} {told:#?}");
        field.discard(&image)?;
        let by_content = field.baseline_of("merged")?;
        field.forget()?;
        let ran = field.run(&image, "again", &[sh, "-c", path])?;
        ensure!(ran.code == 0, "{snapshotter:?}: {ran:?}");
        let by_directories = field.baseline_of("again")?;
        ensure!(by_content.0 == by_directories.0, "{by_content:?} {by_directories:?}");
        field.end(&[&image])?;
        field.daemon.check(|_| Ok(()))?;
    }
    Ok(())
}

/// An image without a layer has a baseline: that of nothing.
#[test]
fn an_image_of_no_layers_may_run_nothing() -> Result<()> {
    let busybox = lacre_integration::paths::cached("tools/bin/busybox")?;
    let host = tempfile::tempdir()?;
    std::fs::copy(busybox, host.path().join("busybox"))?;
    for snapshotter in [Snapshotter::Overlayfs, Snapshotter::Native] {
        let field = Field::new(Version::V2_1, snapshotter, "")?;
        let image = Image::new("lacre.test/none:1").entrypoint(&["/bb/busybox"]);
        field.daemon.import(&image)?;
        let mount = format!("type=bind,src={},dst=/bb,options=rbind:ro", host.path().display());
        let ran = field.run_with(&["--mount", &mount], &image, "none", &["/bb/busybox", "true"])?;
        let told = field.daemon.violations()?;
        ensure!(ran.code != 0, "{snapshotter:?}: {ran:?}");
        let kinds: Vec<_> = told.iter().map(|it| it["notificate"].as_str()).collect();
        ensure!(kinds.contains(&Some("ENTRY_NOT_FOUND")), "{snapshotter:?}: {told:#?} {ran:?}");
        ensure!(!kinds.contains(&Some("NO_WHITELIST")), "{snapshotter:?}: {told:#?}");
        field.daemon.check(|_| Ok(()))?;
    }
    Ok(())
}
