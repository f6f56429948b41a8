//! The bytes of a baseline are the image's alone: whoever makes it, on whatever machine and in
//! whatever order, makes the same.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::{Op, Pack};
use lacre_baseline::{
    Baseline, NoProgress, Options, Platform, Reference, Stacking, Store, from_content_store,
    from_lower, from_oci, from_rootfs,
};

/// What names the baseline of [`layers`], on every machine and with every release that says
/// version 1 and these rules of what is code.
const DIGEST: &str = "sha256:00a3b26de2ff9d5c63c1cdceff0f2e1ec0666c8665ff31cef7836b53d0b4bef2";

/// Three layers that hide, replace and link, from the bottom up.
fn layers() -> [Vec<Op>; 3] {
    let file =
        |path: &str, content, executable| Op::File { path: path.into(), content, executable };
    let link = |path: &str, target: &str| Op::Symlink { path: path.into(), target: target.into() };
    [
        vec![
            file("usr/bin/tool", 3, true),
            file("usr/bin/run.sh", 1, true),
            file("usr/lib/old.py", 2, false),
            file("usr/lib/kept.py", 2, false),
            file("usr/share/data", 0, false),
            file("usr/share/Main.class", 5, false),
            link("bin", "usr/bin"),
            link("usr/bin/sh", "tool"),
            file("gone/a.sh", 1, true),
            file("hidden/b.sh", 1, true),
            Op::HardLink { path: "usr/bin/again".into(), target: "usr/bin/tool".into() },
        ],
        vec![
            Op::Whiteout { path: "gone".into() },
            file("usr/lib/old.py", 1, true),
            Op::Dir { path: "hidden".into(), opaque: true },
            file("hidden/c.sh", 2, true),
        ],
        vec![file("opt/app.jar", 6, false), link("opt/current", "app.jar"), file("a-.sh", 1, true)],
    ]
}

/// Made in the other order, so that no directory lists its names as before, at another time,
/// by another owner, and with other bits that say nothing of what runs.
fn disturbed(dir: &Path, ops: &[Op]) {
    let mut reversed: Vec<Op> =
        ops.iter().filter(|op| !matches!(op, Op::HardLink { .. })).rev().cloned().collect();
    // A copy is no other file than a link.
    for op in ops {
        let Op::HardLink { path, target } = op else { continue };
        let copied = ops.iter().find_map(|op| match op {
            Op::File { path: own, content, executable } if own == target => {
                Some(Op::File { path: path.clone(), content: *content, executable: *executable })
            }
            _ => None,
        });
        reversed.insert(0, copied.unwrap());
    }
    // What is there by then is as it is: a directory that hides comes before what is in it.
    reversed.sort_by_key(|op| !matches!(op, Op::Dir { .. }));
    common::materialise(dir, &reversed);
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let (kind, path) = entry.map(|it| (it.file_type().unwrap(), it.path())).unwrap();
            let _ = std::os::unix::fs::lchown(&path, Some(1234), Some(4321));
            if kind.is_dir() {
                todo.push(path);
            } else if kind.is_file() {
                let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
                File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
            }
        }
    }
}

/// A file system of its own, whose inodes, block sizes and times are others.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", at, "tmpfs", flags, None).unwrap();
        Self(at.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

fn threads(count: usize) -> Options {
    Options { threads: NonZeroUsize::new(count), ..Options::default() }
}

/// The layers' directories, topmost first.
fn directories(at: &Path, make: impl Fn(&Path, &[Op])) -> Vec<PathBuf> {
    let layers = layers();
    let dirs = (0..layers.len()).map(|index| at.join(index.to_string()));
    let mut dirs: Vec<_> = dirs.zip(&layers).inspect(|(dir, ops)| make(dir, ops)).collect();
    dirs.reverse();
    dirs.into_iter().map(|(dir, _)| dir).collect()
}

#[test]
fn the_same_layers_give_the_same_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let lower = directories(&temp.path().join("plain"), common::materialise);
    let first = from_lower(&lower, &threads(1), &NoProgress).unwrap();
    first.verify().unwrap();
    let same = |what: &str, other: &Baseline| {
        assert_eq!(other.digest(), first.digest(), "{what}");
        assert_eq!(other.canonical_bytes(), first.canonical_bytes(), "{what}");
    };

    // Another order of work.
    for count in [2, 3, 16] {
        same("threads", &from_lower(&lower, &threads(count), &NoProgress).unwrap());
    }
    // Another machine: order of names, times, owners, file system.
    let tmpfs = Tmpfs::mount(&temp.path().join("tmpfs"));
    let elsewhere = directories(&tmpfs.0, disturbed);
    same("another machine", &from_lower(&elsewhere, &threads(2), &NoProgress).unwrap());

    // By a cache that has none, some or all of the layers, in whatever order they came.
    let store = Store::open(&temp.path().join("state")).unwrap();
    let (options, no) = (Options::default(), &NoProgress);
    for some in [&lower[2..], &lower[..1], &lower[1..]] {
        store.image(some, None, &options, no).unwrap();
    }
    for _ in 0..2 {
        same("a cache", &store.image(&lower, None, &options, no).unwrap().baseline);
    }

    // As tars, packed in whatever way, by each origin.
    for packs in [[Pack::Plain, Pack::Gzip, Pack::Zstd], [Pack::Zstd, Pack::Plain, Pack::Gzip]] {
        let oci = tempfile::tempdir().unwrap();
        let tars = lower.iter().rev().map(|dir| common::tar_of(dir)).zip(packs);
        let tars: Vec<_> = tars.collect();
        let manifest = common::layout(oci.path(), &tars).parse().unwrap();
        let image = Reference::default();
        same("a layout", &from_oci(oci.path(), &image, None, &threads(1), no).unwrap());
        let platform = Platform::default();
        for stacking in [Stacking::Overlaid, Stacking::Unpacked] {
            for cache in [None, Some(&store)] {
                let options = Options { stacking, ..threads(3) };
                let made =
                    from_content_store(oci.path(), &manifest, &platform, cache, &options, no);
                same("a content store", &made.unwrap());
            }
            let options = Options { stacking, ..Options::default() };
            let kept = store.content(oci.path(), &manifest, &platform, &options, no).unwrap();
            same("a content store", &kept);
            let again = store.kept_content(&manifest, &platform, &options);
            same("what is kept", &again.unwrap());
        }
    }

    // As one tree.
    let at = temp.path().join("merged");
    let mount = common::Overlay::mount(&at, &lower);
    same("a mounted overlay", &from_rootfs(&at, &options, no).unwrap());
    let scanned = store.scanned_root(&at, &options, no).unwrap().as_they_are();
    same("a container's root", &scanned.baseline);
    drop(mount);

    assert_eq!(first.digest().to_string(), DIGEST, "another than on other machines");
}

/// Whatever a container's root came to hold, only what its image has may run.
#[test]
fn a_root_tells_inodes_and_not_what_may_run() {
    use lacre_types::Known as _;
    let temp = tempfile::tempdir().unwrap();
    let lower = directories(&temp.path().join("plain"), common::materialise);
    let allowed = std::sync::Arc::new(from_lower(&lower, &threads(1), &NoProgress).unwrap());
    let root = temp.path().join("root");
    common::materialise(&root, &layers()[0]);
    common::write(&root.join("usr/bin/dropped"), b"\x7fELF\x02\x01 dropped", 0o755);
    let store = Store::open(&temp.path().join("state")).unwrap();
    let scanned = store.scanned_root(&root, &threads(1), &NoProgress).unwrap();
    let image = scanned.allowing(std::sync::Arc::clone(&allowed));
    assert_eq!(image.baseline.digest(), allowed.digest());
    let ino =
        |path: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(root.join(path)).unwrap());
    let known: Vec<u64> = image.index.allowed().map(|id| id.ino).collect();
    assert!(known.contains(&ino("usr/bin/tool")) && !known.contains(&ino("usr/bin/dropped")));
    // Nothing of it stays: another container's root may come to have its inode and times.
    for part in ["layers", "images"] {
        assert_eq!(fs::read_dir(temp.path().join("state").join(part)).unwrap().count(), 0);
    }
}
