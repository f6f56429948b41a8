//! The guest's root file system: made once, never written to.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};

use super::disk::{self, PROGRAMS};
use super::wire::hex;
use crate::images::{busybox_image, debian_image};
use crate::output::Output;
use crate::paths::{binaries, cache, cached};
use crate::{Containerd, Version};

/// The containerd namespace that the images are in.
pub(crate) const NAMESPACE: &str = "lacre";
/// The versions of containerd in it.
pub(crate) const VERSIONS: [Version; 2] = [Version::V1_6, Version::V2_1];
/// Where in it each version has its programs, as `/opt/1.6`.
pub(crate) const PROGRAMS_OF_VERSIONS: &str = "/opt";
/// Where in it each version has its state, as `/node/1.6`.
pub(crate) const NODES: &str = "/node";

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const INIT: &str = include_str!("../../vm/init.sh");
const IMA_POLICY: &str = include_str!("../../vm/ima-policy");
/// What is made below changes with these.
const RECIPE: [&str; 4] =
    [INIT, IMA_POLICY, include_str!("rootfs.rs"), include_str!("../images.rs")];

/// The image, which is made if it is not there.
///
/// # Errors
/// When it cannot be made.
pub fn prepare() -> Result<PathBuf> {
    let folder = cache().join("vm");
    fs::create_dir_all(&folder)?;
    let programs = programs()?;
    let libraries = libraries(programs.iter().map(|(_, from)| from.clone()).chain(own_programs()))?;
    let image = folder.join(format!("root-{}.ext4", key(&programs, &libraries)?));
    let lock = fs::File::create(folder.join(".root-lock"))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .context("locking the cache of root file systems")?;
    if !image.exists() {
        make(&image, &programs, &libraries)
            .with_context(|| format!("making the guest's root file system, {}", image.display()))?;
        forget_old(&folder, &image);
    }
    Ok(image)
}

/// Removes the images of a week ago; one that another checkout still uses is made again.
fn forget_old(folder: &Path, image: &Path) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let made = path.metadata().and_then(|meta| meta.modified());
        let old = made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > WEEK));
        if old && path != image && name.starts_with("root-") {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Where in the guest, and what of the cache.
fn programs() -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut programs = vec![
        ("/opt/runc/runc".into(), cached("tools/usr/sbin/runc")?),
        ("/bin/busybox".into(), cached("tools/bin/busybox")?),
    ];
    for version in VERSIONS {
        let (from, to) = (version.root()?.join("usr/bin"), Path::new(PROGRAMS_OF_VERSIONS));
        for name in ["containerd", "containerd-shim-runc-v2", "ctr"] {
            programs.push((to.join(version.name()).join(name), from.join(name)));
        }
    }
    Ok(programs)
}

fn own_programs() -> impl Iterator<Item = PathBuf> {
    PROGRAMS.into_iter().map(|name| binaries().join(name))
}

/// The shared libraries of `programs`, the dynamic loader included.
fn libraries(programs: impl Iterator<Item = PathBuf>) -> Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for program in programs {
        let said = Output::of(Command::new("ldd").arg(&program))?;
        if said.code != 0 && (said.stdout.clone() + &said.stderr).contains("not a dynamic") {
            continue;
        }
        let said = said.ok().with_context(|| format!("the libraries of {}", program.display()))?;
        // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or the path alone.
        all.extend(said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    // What libtss2 loads by name when it is told of a device.
    let loader = all.iter().find(|path| path.ends_with("libtss2-tctildr.so.0"));
    let device = loader.map(|path| path.with_file_name("libtss2-tcti-device.so.0"));
    all.extend(device);
    Ok(all)
}

fn key(programs: &[(PathBuf, PathBuf)], libraries: &BTreeSet<PathBuf>) -> Result<String> {
    let mut hash = Sha256::new();
    for part in RECIPE {
        hash.update(part);
    }
    for layer in ["base", "perl", "python"] {
        hash.update(fs::read(cached(&format!("debian/{layer}/.versions"))?)?);
    }
    for file in programs.iter().map(|(_, from)| from).chain(libraries) {
        let meta = file.metadata().with_context(|| format!("reading {}", file.display()))?;
        hash.update(format!("{} {} {}\n", file.display(), meta.size(), meta.mtime()));
    }
    Ok(hex(&hash.finalize()[..8]))
}

fn make(
    image: &Path,
    programs: &[(PathBuf, PathBuf)],
    libraries: &BTreeSet<PathBuf>,
) -> Result<()> {
    let work = tempfile::tempdir_in(image.parent().context("no parent")?)?;
    let tree = work.path().join("tree");
    let at = |path: &Path| tree.join(path.strip_prefix("/").unwrap_or(path));
    let folders = [
        "bin",
        "dev",
        "etc/ima",
        "etc/lacre",
        "lacre",
        "proc",
        "root",
        "run",
        "sbin",
        "sys",
        "tmp",
    ];
    for folder in folders {
        fs::create_dir_all(tree.join(folder))?;
    }
    let same = libraries.iter().map(|library| (library, library));
    for (to, from) in programs.iter().map(|(to, from)| (to, from)).chain(same) {
        let to = at(to);
        fs::create_dir_all(to.parent().context("no parent")?)?;
        fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
    }
    let applets = Output::of(Command::new(cached("tools/bin/busybox")?).arg("--list"))?.ok()?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", tree.join("bin").join(applet))?;
    }
    fs::write(tree.join("sbin/init"), INIT)?;
    fs::set_permissions(tree.join("sbin/init"), fs::Permissions::from_mode(0o755))?;
    fs::write(tree.join("etc/ima/policy"), IMA_POLICY)?;
    fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(tree.join("etc/group"), "root:x:0:\n")?;
    for version in VERSIONS {
        let node = at(&Path::new(NODES).join(version.name()));
        fs::create_dir_all(&node)?;
        import(version, &node)?;
    }
    let part = work.path().join("image");
    disk::make(&tree, &part, 1 << 30)?;
    Ok(fs::rename(part, image)?)
}

/// Has a containerd import and unpack the images, which would take the guest long, and takes
/// what it then knows.
fn import(version: Version, node: &Path) -> Result<()> {
    let mut daemon = Containerd::start(version)?;
    for image in [busybox_image()?, debian_image()?] {
        daemon.import_in(NAMESPACE, &image)?;
    }
    daemon.down(Signal::SIGTERM)?;
    let root = daemon.node().folder().join("root");
    Output::of(Command::new("cp").arg("-a").arg(root).arg(node))?.ok().map(drop)
}
