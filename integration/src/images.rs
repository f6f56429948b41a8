//! Ready-made images.

use std::process::Command;

use anyhow::Result;

use crate::image::{Image, Layer};
use crate::output::Output;
use crate::paths::cached;

/// The name of [`busybox_image`].
pub const BUSYBOX: &str = "lacre.test/busybox:1";
/// The name of [`debian_image`].
pub const DEBIAN: &str = "lacre.test/debian:12";

/// A static busybox with a link for each of its applets: one layer, no library.
///
/// # Errors
/// When the set-up has not run.
pub fn busybox_image() -> Result<Image> {
    let busybox = cached("tools/bin/busybox")?;
    let applets = Output::of(Command::new(&busybox).arg("--list"))?.ok()?;
    let mut layer = Layer::new().dir("bin", 0o755).copy("bin/busybox", 0o755, busybox);
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        layer = layer.symlink(format!("bin/{applet}"), "busybox");
    }
    let layer = layer
        .dir("etc", 0o755)
        .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n")
        .file("etc/group", 0o644, "root:x:0:\n")
        .dir("root", 0o700)
        .dir("tmp", 0o1777)
        .dir("usr", 0o755)
        .dir("usr/bin", 0o755)
        .symlink("usr/bin/env", "/bin/busybox");
    Ok(Image::new(BUSYBOX).layer(layer).entrypoint(&["/bin/sh"]))
}

/// A small Debian: dynamic loader, libc and a shell; perl above; python above that.
///
/// # Errors
/// When the set-up has not run.
pub fn debian_image() -> Result<Image> {
    let mut image = Image::new(DEBIAN).entrypoint(&["/bin/bash"]);
    for layer in ["base", "perl", "python"] {
        image = image.layer(Layer::new().tree(&cached(&format!("debian/{layer}"))?)?);
    }
    Ok(image)
}

/// What keeps a pod's namespaces open.
///
/// # Errors
/// When the set-up has not run.
pub fn pause_image() -> Result<Image> {
    let layer = Layer::new().copy("busybox", 0o755, cached("tools/bin/busybox")?);
    let image = Image::new("lacre.test/pause:1").layer(layer);
    Ok(image.entrypoint(&["/busybox", "sleep", "1000000"]))
}
