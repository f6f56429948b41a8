//! The cache of a node, and what a source asks of it.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacre_baseline::{
    Baseline, Error, Lookup, NoProgress, Options, Platform, Progress, Store, from_lower,
    open_or_build,
};
use lacre_types::{Algorithm, CanonicalPath, FileId, Kind, Known as _};

const LOADER: &[u8] = b"\x7fELF\x02\x01 an elf of sorts";

fn canonical(path: &str) -> CanonicalPath {
    CanonicalPath::new(path).unwrap()
}

fn id_of(path: &Path) -> FileId {
    let meta = fs::symlink_metadata(path).unwrap();
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    FileId {
        dev: FileId::kernel_dev(major, minor),
        ino: meta.ino(),
        ctime_sec: meta.ctime(),
        ctime_nsec: u32::try_from(meta.ctime_nsec()).unwrap(),
    }
}

/// Two layers of a usrmerged image; gives the lower directories, topmost first.
fn image(at: &Path) -> Vec<PathBuf> {
    let (bottom, top) = (at.join("bottom"), at.join("top"));
    common::write(&bottom.join("usr/bin/dash"), LOADER, 0o755);
    common::write(&bottom.join("usr/lib/libz.so.1.2"), b"\x7fELF\x02\x01 old", 0o644);
    common::write(&bottom.join("usr/share/doc"), b"plain", 0o644);
    std::os::unix::fs::symlink("usr/bin", bottom.join("bin")).unwrap();
    std::os::unix::fs::symlink("usr/lib", bottom.join("lib")).unwrap();
    std::os::unix::fs::symlink("dash", bottom.join("usr/bin/sh")).unwrap();
    std::os::unix::fs::symlink("../lib/./libz.so.1.2", bottom.join("usr/lib/libz.so.1")).unwrap();
    common::write(&top.join("usr/lib/libz.so.1.2"), b"\x7fELF\x02\x01 new", 0o644);
    common::write(&top.join("opt/run"), b"#!/bin/sh\n", 0o755);
    vec![top, bottom]
}

/// A file system of its own, gone when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", at, "tmpfs", flags, None).unwrap();
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Its device number and inode are the next one's, and who makes the image sets the times.
#[test]
fn the_root_of_a_file_system_has_no_name_in_the_cache() {
    let temp = tempfile::tempdir().unwrap();
    let (at, state) = (temp.path().join("erofs"), temp.path().join("state"));
    for content in [&b"#!/bin/sh\necho 1\n"[..], b"#!/bin/sh\necho 2\n"] {
        let mounted = Mounted::tmpfs(&at);
        common::write(&at.join("x.sh"), content, 0o755);
        let lower = [at.clone()];
        let (baseline, index) =
            open_or_build(&lower, &state, &Options::default(), &NoProgress).unwrap();
        assert_eq!(baseline.get(0).unwrap().sha256().to_string(), common::sha256(content));
        assert_eq!(index.allowed().count(), 0, "a script is in no inode's list");
        drop(mounted);
    }
    for part in ["layers", "images"] {
        assert_eq!(fs::read_dir(state.join(part)).unwrap().count(), 0, "{part}");
    }
    let left = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Counts what is hashed.
#[derive(Default)]
struct Hashed(std::sync::atomic::AtomicU64);

impl Progress for Hashed {
    fn hashed(&self, bytes: u64) {
        self.0.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Hashed {
    fn take(&self) -> u64 {
        self.0.swap(0, std::sync::atomic::Ordering::Relaxed)
    }
}

#[test]
fn lookups_follow_the_images_links() {
    let temp = tempfile::tempdir().unwrap();
    let lower = image(temp.path());
    let baseline = from_lower(&lower, &Options::default(), &NoProgress).unwrap();
    let found = |path: &str| match baseline.entry(&canonical(path)) {
        Lookup::Found(entry) => String::from_utf8(entry.path.to_vec()).unwrap(),
        Lookup::Missing => "-".to_owned(),
    };
    assert_eq!(found("/usr/bin/dash"), "/usr/bin/dash");
    assert_eq!(found("/bin/sh"), "/usr/bin/dash", "two links");
    assert_eq!(found("//lib/libz.so.1"), "/usr/lib/libz.so.1.2", ".. after a link");
    assert_eq!(found("/usr/share/doc"), "-", "plain data");
    assert_eq!(found("/bin/bash"), "-", "the host's /bin is not asked");
    assert_eq!(found("/"), "-");
}

#[test]
fn a_loop_of_links_ends() {
    let temp = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("b", temp.path().join("a")).unwrap();
    std::os::unix::fs::symlink("a/x", temp.path().join("b")).unwrap();
    let dirs = [temp.path().to_owned()];
    let baseline = from_lower(&dirs, &Options::default(), &NoProgress).unwrap();
    assert_eq!(baseline.entry(&canonical("/a/sh")), Lookup::Missing);
}

#[test]
fn the_index_knows_the_real_inodes() {
    let temp = tempfile::tempdir().unwrap();
    let lower = image(temp.path());
    fs::hard_link(lower[1].join("usr/bin/dash"), lower[1].join("usr/bin/second")).unwrap();
    let state = temp.path().join("state");
    let (baseline, index) =
        open_or_build(&lower, &state, &Options::default(), &NoProgress).unwrap();

    let dash = id_of(&lower[1].join("usr/bin/dash"));
    let known = index.by_path(&canonical("/bin/sh")).unwrap();
    assert_eq!((known.id, known.size), (dash, LOADER.len() as u64));
    let (path, by_inode) = index.by_inode(dash.dev, dash.ino).unwrap();
    assert_eq!((path, by_inode), (canonical("/usr/bin/dash"), known));
    let libz = id_of(&lower[0].join("usr/lib/libz.so.1.2"));
    assert_eq!(index.by_path(&canonical("/lib/libz.so.1")).unwrap().id, libz);
    let hidden = id_of(&lower[1].join("usr/lib/libz.so.1.2"));
    assert_eq!(index.by_inode(hidden.dev, hidden.ino), None, "the upper one hides it");

    let mut allowed: Vec<_> = index.allowed().collect();
    allowed.sort_unstable();
    let mut expected = vec![dash, dash, libz];
    expected.sort_unstable();
    assert_eq!(allowed, expected, "every name of an ELF file, no script");
    let mut names = index.named(&|name| name != b"second" && !name.starts_with(b"lib"));
    names.sort_unstable();
    assert_eq!(names, [(b"dash".to_vec(), dash), (b"sh".to_vec(), dash)], "links too");
    let Lookup::Found(script) = baseline.entry(&canonical("/opt/run")) else { panic!() };
    assert_eq!(script.kind, Kind::Script);
}

#[test]
fn a_tampered_snapshot_is_not_allowed_by_the_images_content() {
    let temp = tempfile::tempdir().unwrap();
    let lower = image(temp.path());
    let layers: Vec<_> =
        lower.iter().rev().map(|dir| (common::tar_of(dir), common::Pack::Gzip)).collect();
    let content = temp.path().join("content");
    let manifest = common::layout(&content, &layers).parse().unwrap();
    fs::write(lower[1].join("usr/bin/dash"), b"\x7fELF\x02\x01 an elf of sin.").unwrap();

    let store = Store::open(&temp.path().join("state")).unwrap();
    let options = Options::default();
    let honest =
        store.content(&content, &manifest, &Platform::default(), &options, &NoProgress).unwrap();
    let image = store.image(&lower, Some(Arc::clone(&honest)), &options, &NoProgress).unwrap();
    assert_eq!(image.baseline.digest(), honest.digest());
    let libz = id_of(&lower[0].join("usr/lib/libz.so.1.2"));
    assert_eq!(image.index.allowed().collect::<Vec<_>>(), [libz], "the shell is not allowed");
    let Lookup::Found(entry) = image.baseline.entry(&canonical("/bin/sh")) else { panic!() };
    let known = image.index.by_path(&canonical("/bin/sh")).unwrap();
    assert_ne!(entry.sha256(), known.digest, "which makes it INVALID_HASH");
}

#[test]
fn what_is_cached_is_not_hashed_again_and_what_changed_is() {
    let temp = tempfile::tempdir().unwrap();
    let lower = image(temp.path());
    let state = temp.path().join("state");
    let options = Options::default();
    let hashed = Hashed::default();
    let (first, _) = open_or_build(&lower, &state, &options, &hashed).unwrap();
    assert!(hashed.take() > 0);
    let (again, _) = open_or_build(&lower, &state, &options, &hashed).unwrap();
    assert_eq!(hashed.take(), 0, "the image is cached");
    assert_eq!(again.digest(), first.digest());
    let (one, _) = open_or_build(&lower[1..], &state, &options, &hashed).unwrap();
    assert_eq!(hashed.take(), 0, "the layer is cached");
    assert_ne!(one.digest(), first.digest());

    let with_sha1 = Options {
        algorithms: lacre_baseline::Algorithms::with([Algorithm::Sha1]),
        ..Options::default()
    };
    let (more, _) = open_or_build(&lower, &state, &with_sha1, &hashed).unwrap();
    assert!(hashed.take() > 0, "other digests are another layer");
    let Lookup::Found(entry) = more.entry(&canonical("/bin/sh")) else { panic!() };
    assert!(entry.digest(Algorithm::Sha1).is_some());
    assert!(entry.digest(Algorithm::Sha512).is_none());

    common::write(&lower[0].join("new.sh"), b"", 0o644);
    let (changed, _) = open_or_build(&lower, &state, &options, &hashed).unwrap();
    assert_eq!(changed.len(), first.len() + 1, "the directory itself changed");
}

#[test]
fn a_broken_cache_is_made_again() {
    let temp = tempfile::tempdir().unwrap();
    let lower = image(temp.path());
    let state = temp.path().join("state");
    let options = Options::default();
    let (first, _) = open_or_build(&lower, &state, &options, &NoProgress).unwrap();
    let bytes = first.as_bytes().to_vec();
    for damage in [&b""[..], b"LACREBAS", &bytes[..bytes.len() / 2], &[0; 500]] {
        for part in ["layers", "images"] {
            for file in fs::read_dir(state.join(part)).unwrap() {
                // By rename, as everything there is replaced: the old one is still mapped.
                let path = file.unwrap().path();
                let new = path.with_extension("new");
                fs::write(&new, damage).unwrap();
                fs::rename(&new, &path).unwrap();
            }
        }
        let (again, index) = open_or_build(&lower, &state, &options, &NoProgress).unwrap();
        assert_eq!(again.as_bytes(), bytes);
        assert!(index.by_path(&canonical("/bin/sh")).is_some());
    }
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let lower = image(temp.path());
    let file = temp.path().join("image.baseline");
    let baseline = from_lower(&lower, &Options::default(), &NoProgress).unwrap();
    baseline.write(&file).unwrap();
    assert_eq!(Baseline::open(&file).unwrap().digest(), baseline.digest());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(Baseline::open(&file), Err(Error::Untrusted { mode: 0o666, .. })));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
    assert!(matches!(Baseline::open(&file), Err(Error::Untrusted { uid: 65534, .. })));

    let state = temp.path().join("state");
    Store::open(&state).unwrap();
    fs::set_permissions(state.join("images"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Store::open(&state), Err(Error::Untrusted { .. })));
}

#[test]
fn builders_at_the_same_time_agree() {
    let temp = tempfile::tempdir().unwrap();
    let lower = image(temp.path());
    let state = temp.path().join("state");
    let hashed = Hashed::default();
    let digests: Vec<_> = std::thread::scope(|scope| {
        let build = || open_or_build(&lower, &state, &Options::default(), &hashed).unwrap().0;
        let all: Vec<_> = (0..8).map(|_| scope.spawn(build)).collect();
        all.into_iter().map(|one| one.join().unwrap().digest()).collect()
    });
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    let once: usize = [LOADER.len(), 10, 10, 10].iter().sum();
    assert_eq!(hashed.take(), once as u64, "each layer is hashed once");
}

/// Every Create opens one: no more of a start than 5 ms, of 100,000 files that were scanned before.
#[test]
fn a_large_image_opens_in_less_than_5_ms() {
    const FILES: usize = 100_000;
    let temp = tempfile::tempdir().unwrap();
    let lower = [temp.path().join("fs")];
    for dir in 0..FILES / 1000 {
        let dir = lower[0].join(format!("usr/lib/python3/dist-packages/package{dir}"));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..1000 {
            fs::write(dir.join(format!("module{file}.py")), []).unwrap();
        }
    }
    let state = temp.path().join("state");
    let options = Options::default();
    let started = Instant::now();
    open_or_build(&lower, &state, &options, &NoProgress).unwrap();
    let cold = started.elapsed();
    let path = canonical("/usr/lib/python3/dist-packages/package77/module123.py");
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let started = Instant::now();
        let (baseline, index) = open_or_build(&lower, &state, &options, &NoProgress).unwrap();
        assert!(matches!(baseline.entry(&path), Lookup::Found(_)));
        assert!(index.by_path(&path).is_some());
        best = best.min(started.elapsed());
        assert_eq!(baseline.len(), FILES);
    }
    println!("100,000 files: cold {cold:?}, cached {best:?}");
    assert!(best < Duration::from_millis(5), "{best:?}");
}
