//! A baseline of the lower directory, and a judge that goes by it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use lacre_measure::{Answer, CodeDirectories, Judge, Known, KnownFile, Listing, Loss, Outcome};
use lacre_types::{CanonicalPath, Content, Digest, FileId, Measurement, Mode, Source};
use sha2::Digest as _;

pub struct Baseline {
    mode: Mode,
    files: BTreeMap<CanonicalPath, KnownFile>,
    /// Listed, but never hashed on this node.
    unhashed: BTreeMap<CanonicalPath, (u64, Digest)>,
    /// Where what an interpreter opens is code.
    code: Option<CanonicalPath>,
    seen: Mutex<Vec<(Measurement, Outcome)>>,
    read: Mutex<Vec<CanonicalPath>>,
    lost: Mutex<Vec<Loss>>,
    news: Condvar,
}

pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::sha256(sha2::Sha256::digest(bytes).into())
}

pub fn path(path: &str) -> CanonicalPath {
    CanonicalPath::new(path).unwrap()
}

impl Baseline {
    /// Every ELF file and script below a directory.
    pub fn of(lower: &Path, mode: Mode) -> Self {
        let mut files = BTreeMap::new();
        walk(lower, lower, &mut files);
        Self {
            mode,
            files,
            unhashed: BTreeMap::new(),
            code: None,
            seen: Mutex::default(),
            read: Mutex::default(),
            lost: Mutex::default(),
            news: Condvar::new(),
        }
    }

    pub fn list(mut self, name: &str, size: u64, digest: Digest) -> Self {
        self.files.remove(&path(name));
        self.unhashed.insert(path(name), (size, digest));
        self
    }

    /// Declares a directory to hold code.
    pub fn declare(mut self, directory: &str) -> Self {
        self.code = Some(path(directory));
        self
    }

    /// Whether it was told that an interpreter read that.
    pub fn was_read(&self, name: &str) -> bool {
        self.read.lock().unwrap().contains(&path(name))
    }

    fn expected(&self, path: &CanonicalPath) -> Option<Digest> {
        let known = self.files.get(path).map(|known| known.digest);
        known.or_else(|| self.unhashed.get(path).map(|(_, digest)| *digest))
    }

    fn allows(&self, measurement: &Measurement) -> bool {
        let expected = measurement.path.as_ref().and_then(|path| self.expected(path));
        expected.is_some() && expected.as_ref() == measurement.digest()
    }

    pub fn all(&self) -> Vec<(Measurement, Outcome)> {
        self.seen.lock().unwrap().clone()
    }

    pub fn lost_any(&self) -> Vec<Loss> {
        self.lost.lock().unwrap().clone()
    }

    /// Waits for what was seen of a path; panics after ten seconds.
    pub fn wait(&self, name: &str) -> (Measurement, Outcome) {
        self.wait_for(name, |m, _| m.path == Some(path(name)))
    }

    pub fn wait_for(
        &self,
        what: &str,
        is: impl Fn(&Measurement, Outcome) -> bool,
    ) -> (Measurement, Outcome) {
        let until = Instant::now() + Duration::from_secs(10);
        let mut seen = self.seen.lock().unwrap();
        loop {
            if let Some(found) = seen.iter().rev().find(|(m, o)| is(m, *o)) {
                return found.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} was not seen; what was: {seen:#?}");
            seen = self.news.wait_timeout(seen, left).unwrap().0;
        }
    }
}

fn walk(root: &Path, dir: &Path, files: &mut BTreeMap<CanonicalPath, KnownFile>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&entry).unwrap();
        if meta.is_dir() {
            walk(root, &entry, files);
        } else if meta.is_file() {
            let bytes = std::fs::read(&entry).unwrap();
            if !bytes.starts_with(b"\x7fELF") && !bytes.starts_with(b"#!") {
                continue;
            }
            let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
            let id = FileId {
                dev: FileId::kernel_dev(major, minor),
                ino: meta.ino(),
                ctime_sec: meta.ctime(),
                ctime_nsec: meta.ctime_nsec().try_into().unwrap(),
            };
            let name = format!("/{}", entry.strip_prefix(root).unwrap().display());
            files.insert(path(&name), KnownFile { id, size: meta.size(), digest: sha256(&bytes) });
        }
    }
}

impl Judge for Baseline {
    fn judge(&self, measurement: &Measurement) -> Answer {
        match self.mode {
            Mode::Enforce if !self.allows(measurement) => Answer::Deny,
            _ => Answer::Allow,
        }
    }

    fn settled(&self, measurement: &Measurement) -> bool {
        self.allows(measurement)
    }

    fn code_directories(&self) -> CodeDirectories {
        let paths: Vec<_> = self.code.iter().cloned().collect();
        CodeDirectories { any: !paths.is_empty(), paths }
    }

    fn is_declared_code(&self, path: &CanonicalPath) -> bool {
        self.code.as_ref().is_some_and(|code| {
            path.as_bytes().strip_prefix(code.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
        })
    }

    fn read(&self, measurement: Measurement, _: Outcome) {
        self.read.lock().unwrap().extend(measurement.path);
    }

    fn seen(&self, measurement: Measurement, outcome: Outcome) {
        self.seen.lock().unwrap().push((measurement, outcome));
        self.news.notify_all();
    }

    fn lost(&self, source: Source, loss: Loss) {
        assert_eq!(source, Source::Fanotify);
        self.lost.lock().unwrap().push(loss);
    }
}

impl Known for Baseline {
    fn by_path(&self, path: &CanonicalPath) -> Option<KnownFile> {
        self.files.get(path).cloned()
    }

    fn listed(&self, path: &CanonicalPath) -> Listing {
        let known = self.files.get(path).map(|known| known.size);
        let size = known.or_else(|| self.unhashed.get(path).map(|(size, _)| *size));
        size.map_or(Listing::No, |size| Listing::Yes(Some(size)))
    }

    fn by_inode(&self, dev: u32, ino: u64) -> Option<(CanonicalPath, KnownFile)> {
        let mut files = self.files.iter();
        let (path, file) = files.find(|(_, file)| file.id.dev == dev && file.id.ino == ino)?;
        Some((path.clone(), file.clone()))
    }

    fn named(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Vec<(Vec<u8>, FileId)> {
        let named = self
            .files
            .iter()
            .map(|(path, file)| (lacre_types::base_name(path.as_bytes()).to_vec(), file.id));
        named.filter(|(name, _)| wanted(name)).collect()
    }

    fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_> {
        Box::new(self.files.values().map(|known| known.id))
    }
}

/// The digest that was read, or what stands for it.
pub fn content_is(measurement: &Measurement, bytes: &[u8]) -> bool {
    measurement.content == Content::Digest(sha256(bytes))
}

pub type Shared = Arc<Baseline>;
