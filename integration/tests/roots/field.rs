//! A daemon with one snapshotter, and images of a few layers.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lacre_integration::image::{Image, Layer};
use lacre_integration::images::busybox_image;
use lacre_integration::output::Output;
use lacre_integration::paths::{binaries, cached};
use lacre_integration::{Containerd, Runtime, Snapshotter, Version};
use serde_json::Value;

/// What did not come with the image.
pub(crate) const DROP: &str = "cp /bin/busybox /tmp/busybox && /tmp/busybox true";
/// What did.
pub(crate) const OWN: &str = "/opt/own.sh && /opt/busybox true";

pub(crate) struct Field {
    pub(crate) daemon: Containerd,
    pub(crate) snapshotter: Snapshotter,
}

/// Layers that add, hide and replace.
pub(crate) fn image() -> Result<Image> {
    let busybox = cached("tools/bin/busybox")?;
    let second = Layer::new()
        .dir("opt", 0o755)
        .file("opt/own.sh", 0o755, "#!/bin/sh\ntrue\n")
        .file("opt/gone.sh", 0o755, "#!/bin/sh\ntrue\n")
        .copy("opt/busybox", 0o755, busybox);
    let third = Layer::new().whiteout("opt/gone.sh").symlink("opt/again.sh", "own.sh");
    Ok(busybox_image()?.named("lacre.test/roots:1").layer(second).layer(third))
}

/// A layer that has something in a directory which it does not name, and which is a link beneath.
pub(crate) fn merged_image() -> Result<Image> {
    let busybox = cached("tools/bin/busybox")?;
    let bottom = Layer::new()
        .dir("usr", 0o755)
        .dir("usr/bin", 0o755)
        .copy("usr/bin/busybox", 0o755, &busybox)
        .symlink("usr/bin/sh", "busybox")
        .symlink("bin", "usr/bin")
        .dir("tmp", 0o1777);
    let top = Layer::new().file("bin/added.sh", 0o755, "#!/usr/bin/sh\ntrue\n");
    let image = Image::new("lacre.test/merged:1").layer(bottom).layer(top);
    Ok(image.entrypoint(&["/usr/bin/busybox"]))
}

impl Field {
    pub(crate) fn new(version: Version, snapshotter: Snapshotter, lacre: &str) -> Result<Self> {
        let daemon = Containerd::builder(version)
            .lacre(&format!("mode: enforce\n{lacre}"))
            .snapshotter(snapshotter)
            .start()?;
        Ok(Self { daemon, snapshotter })
    }

    /// Runs a container to its end.
    pub(crate) fn run(&self, image: &Image, id: &str, arguments: &[&str]) -> Result<Output> {
        self.run_with(&[], image, id, arguments)
    }

    pub(crate) fn run_with(
        &self,
        options: &[&str],
        image: &Image,
        id: &str,
        arguments: &[&str],
    ) -> Result<Output> {
        let mut all = vec!["--rm", "--snapshotter", self.snapshotter.name()];
        all.extend(options);
        Output::of(&mut self.daemon.run_command(Runtime::Lacre, &all, image, id, arguments))
    }

    /// What a container's own runs, what was dropped into it does not, and that is told; gives
    /// the baseline that it was judged by, and what that was made of.
    pub(crate) fn is_guarded(&self, image: &Image, id: &str) -> Result<(String, String)> {
        let before = self.daemon.violations()?.len();
        let own = self.run(image, &format!("{id}-own"), &["sh", "-c", OWN])?;
        ensure!(own.code == 0, "its own: {own:?} {:#?}", self.daemon.violations()?);
        let violations = self.daemon.violations()?;
        ensure!(violations.len() == before, "of its own: {violations:#?}");
        let dropped = self.run(image, &format!("{id}-dropped"), &["sh", "-c", DROP])?;
        ensure!(dropped.code != 0, "dropped: {dropped:?}");
        let told = self.daemon.violations()?;
        let of =
            |it: &&Value| it["path"] == "/tmp/busybox" && it["notificate"] == "ENTRY_NOT_FOUND";
        ensure!(told[before..].iter().any(|it| of(&it)), "{told:#?}");
        self.baseline_of(&format!("{id}-own"))
    }

    /// By the log.
    pub(crate) fn baseline_of(&self, id: &str) -> Result<(String, String)> {
        let log = self.daemon.log();
        let line = log.lines().rfind(|it| it.contains("has a baseline") && it.contains(id));
        let line = line.with_context(|| format!("no baseline of {id} in the log:\n{log}"))?;
        let after = |word: &str| {
            let rest = line.split(word).nth(1).context("no such word")?;
            let rest = rest.trim_start_matches(['\\', '"', ':', '=']);
            Ok::<_, anyhow::Error>(
                rest.split(['\\', '"', ' ', ',']).next().unwrap_or("").to_owned(),
            )
        };
        Ok((
            after("baseline\":").or_else(|_| after("baseline="))?,
            after("of\":").or_else(|_| after("of="))?,
        ))
    }

    /// As containerd does where it is told to discard what it has unpacked.
    pub(crate) fn discard(&self, image: &Image) -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        let written = image.write(file.path())?;
        let manifest = self.daemon.ctr(&["content", "get", &written.manifest])?.ok()?;
        let manifest: Value = serde_json::from_str(&manifest)?;
        for layer in manifest["layers"].as_array().context("no layers")? {
            let digest = layer["digest"].as_str().context("no digest")?;
            self.daemon.ctr(&["content", "rm", digest])?.ok()?;
            // It is on the disk until containerd collects it, when it likes.
            let blobs = "root/io.containerd.content.v1.content/blobs";
            let blob = self.daemon.node().folder().join(blobs).join(digest.replace(':', "/"));
            if blob.exists() {
                fs::remove_file(blob)?;
            }
        }
        Ok(())
    }

    /// Nothing is kept of what was made.
    pub(crate) fn forget(&self) -> Result<()> {
        Ok(fs::remove_dir_all(self.baselines())?)
    }

    pub(crate) fn baselines(&self) -> PathBuf {
        self.daemon.node().folder().join("lacre/state/baselines")
    }

    /// This file, in each snapshot that has it: of some there are copies, and others' are not
    /// collected yet.
    pub(crate) fn unpacked(&self, file: &str) -> Result<Vec<PathBuf>> {
        let root = self.daemon.node().folder().join("root");
        let plugin = format!("io.containerd.snapshotter.v1.{}", self.snapshotter.name());
        let mut found = Vec::new();
        for entry in fs::read_dir(root.join(plugin).join("snapshots"))? {
            let path = entry?.path();
            let places = [path.join("fs").join(file), path.join(file)];
            found.extend(places.into_iter().filter(|it| it.exists()));
        }
        ensure!(!found.is_empty(), "nobody has {file}");
        Ok(found)
    }

    pub(crate) fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = self.daemon.command(binaries().join("lacre"));
        command.args(arguments);
        command
    }

    /// Its image, and what was mounted for that.
    pub(crate) fn end(&self, images: &[&Image]) -> Result<()> {
        for image in images {
            self.daemon.ctr(&["images", "rm", "--sync", image.name()])?.ok()?;
        }
        Ok(())
    }
}
