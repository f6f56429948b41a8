//! A node with a bpffs of its own, containers of real namespaces on real overlays, and a
//! judge that remembers.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test file uses its part, and a test fails where it must"
)]

pub mod container;
pub mod guarded;
pub mod place;
pub mod programs;
pub mod recorder;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lacre_measure::exec_trace::Options;
use lacre_measure::{Known, KnownFile, Listing};
use lacre_types::{CanonicalPath, Digest, FileId};
use rustix::mount::MountFlags;
use tempfile::TempDir;

pub use container::{Container, ran};
pub use place::copy;
pub use programs::compile;
pub use recorder::Recorder;

/// A limit for what must come, not a time to wait for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The folder of the pins, on a bpffs that goes with the test.
pub struct Node {
    dir: TempDir,
}

impl Node {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        rustix::mount::mount("bpf", dir.path(), "bpf", MountFlags::empty(), c"mode=700").unwrap();
        Self { dir }
    }

    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("lacre")
    }

    pub fn options(&self) -> Options {
        Options { folder: self.folder(), fetch: cfg!(target_arch = "x86_64"), ..Options::default() }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = lacre_measure::exec_trace::unpin_all(&self.folder());
        let _ = rustix::mount::unmount(self.dir.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

/// The image: what is in its lower directory, and which of it the baseline allows.
pub struct Image {
    pub dir: TempDir,
    pub allowed: HashMap<CanonicalPath, KnownFile>,
}

impl Image {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("lower");
        for folder in ["bin", "opt", "tmp", "proc", "dev/shm", "mnt"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        compile("t", &root.join("bin/t"), &[]);
        compile("evil.c", &root.join("opt/evil.so"), &["-shared", "-fPIC"]);
        copy(root.join("bin/t"), root.join("opt/evil"));
        copy("/bin/dash", root.join("bin/sh"));
        let mut allowed = vec!["/bin/t".to_owned(), "/bin/sh".to_owned()];
        // What both programs are linked with.
        let libraries = Command::new("ldd").arg("/bin/dash").output().unwrap().stdout;
        for word in String::from_utf8(libraries).unwrap().split_whitespace() {
            if let Some(below) = word.strip_prefix('/') {
                let to = root.join(below);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                copy(word, to);
                allowed.push(word.to_owned());
            }
        }
        let allowed = allowed
            .into_iter()
            .map(|path| (CanonicalPath::new(&path).unwrap(), known(&root.join(&path[1..]))))
            .collect();
        Self { dir, allowed }
    }

    pub fn lower(&self) -> PathBuf {
        self.dir.path().join("lower")
    }

    /// The helper, where the host sees it.
    pub fn helper(&self) -> PathBuf {
        self.lower().join("bin/t")
    }

    pub fn allow(&mut self, path: &str) {
        let file = known(&self.lower().join(&path[1..]));
        self.allowed.insert(CanonicalPath::new(path).unwrap(), file);
    }
}

pub fn known(path: &Path) -> KnownFile {
    let stat = fs::metadata(path).unwrap();
    KnownFile { id: id_of(path), size: stat.len(), digest: digest_of(path) }
}

pub fn id_of(path: &Path) -> FileId {
    let stat = fs::metadata(path).unwrap();
    FileId {
        dev: FileId::kernel_dev(rustix::fs::major(stat.dev()), rustix::fs::minor(stat.dev())),
        ino: stat.ino(),
        ctime_sec: stat.ctime(),
        ctime_nsec: stat.ctime_nsec() as u32,
    }
}

pub fn digest_of(path: &Path) -> Digest {
    use sha2::Digest as _;
    Digest::sha256(sha2::Sha256::digest(fs::read(path).unwrap()).into())
}

pub struct Files(pub HashMap<CanonicalPath, KnownFile>);

impl Known for Files {
    fn by_path(&self, path: &CanonicalPath) -> Option<KnownFile> {
        self.0.get(path).cloned()
    }

    fn listed(&self, path: &CanonicalPath) -> Listing {
        self.by_path(path).map_or(Listing::No, |file| Listing::Yes(Some(file.size)))
    }

    fn by_inode(&self, dev: u32, ino: u64) -> Option<(CanonicalPath, KnownFile)> {
        self.0
            .iter()
            .find(|(_, file)| file.id.dev == dev && file.id.ino == ino)
            .map(|(path, file)| (path.clone(), file.clone()))
    }

    fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_> {
        Box::new(self.0.values().map(|file| file.id))
    }
}
