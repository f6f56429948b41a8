//! The cache of a node: layers as they were scanned, baselines and node indices as they
//! are mapped.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lacre_types::Digest;
use lacre_types::code::{LANGUAGES, Language};
use rustix::fs::{AtFlags, FlockOperation, StatxFlags, flock, statx};
use rustix::io::Errno;

use crate::baseline::{Baseline, open_trusted, write_atomically};
use crate::error::Error;
use crate::hash::sha256;
use crate::image::{Image, Scanned, write_and_open};
use crate::kind;
use crate::last_use::note_use;
use crate::layer::Layer;
use crate::node_index::NodeIndex;
use crate::oci::Packing;
use crate::options::check;
use crate::tar::Whiteouts;
use crate::walk::{open_root, scan_dir};
use crate::{Algorithms, Options, Progress};

/// What was not used for that long is removed; making it again costs one scan.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// How a folder begins in which an image stands until it is mapped.
const NAMELESS: &str = ".nameless-";

/// The major number of loop devices.
const LOOP: u32 = 7;

/// How often it is looked whether another builder is done: a layer takes longer.
const TURN: Duration = Duration::from_millis(10);

/// Lock files; builders of different layers rarely meet in one.
const LOCKS: u8 = 64;

/// Where layers and baselines are kept, by default `/var/lib/lacre/baselines`. Files are
/// written beside and renamed, so that a reader sees a whole one or none; a broken one is
/// made again.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// The baseline and the node index of an image's lower directories, topmost first: from
/// the cache in `state`, or made now.
///
/// # Errors
/// When a directory can't be read, or the cache can't be written. There is no baseline
/// then.
pub fn open_or_build(
    lower: &[PathBuf],
    state: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(Arc<Baseline>, Arc<NodeIndex>), Error> {
    let image = Store::open(state)?.image(lower, None, options, progress)?;
    Ok((image.baseline, image.index))
}

/// Names one state of one lower directory: its inode on its device, when it was made, and
/// when it last changed. Snapshotters never change a committed one.
///
/// `None` where another may come to have the same name: the root of a file system, which is
/// made with inode and times as its maker likes, and whose device number goes to another once
/// it is unmounted; one on a loop device; one that knows no birth time, as of EROFS.
fn directory_key(path: &Path, dir: &OwnedFd, algorithms: Algorithms) -> Result<Option<Key>, Error> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat =
        statx(dir, "", AtFlags::EMPTY_PATH, wanted).map_err(|e| Error::io("stat", path, e))?;
    let above = statx(dir, "..", AtFlags::empty(), StatxFlags::BASIC_STATS)
        .map_err(|e| Error::io("stat what is above", path, e))?;
    let device = (stat.stx_dev_major, stat.stx_dev_minor);
    let born = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    if device != (above.stx_dev_major, above.stx_dev_minor) || !born || device.0 == LOOP {
        return Ok(None);
    }
    Ok(Some(Key::of(&format!(
        "directory 2 {} {}:{} {} {}.{} {}.{} {}.{}",
        algorithms.bits(),
        device.0,
        device.1,
        stat.stx_ino,
        stat.stx_btime.tv_sec,
        stat.stx_btime.tv_nsec,
        stat.stx_mtime.tv_sec,
        stat.stx_mtime.tv_nsec,
        stat.stx_ctime.tv_sec,
        stat.stx_ctime.tv_nsec,
    ))))
}

/// A name in the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key(Digest);

impl Key {
    pub(crate) fn of(text: &str) -> Self {
        Self::by(text, LANGUAGES, kind::RULES)
    }

    /// What was scanned by other rules of what is code has another name: a layer of an earlier
    /// lacre lacks files that this one's sources ask about.
    fn by(text: &str, languages: &[Language], rules: u32) -> Self {
        let text = format!("{text} {rules} {languages:?}");
        Self(Digest::sha256(sha256(text.as_bytes())))
    }

    fn lock(self) -> u8 {
        self.0.as_bytes()[0] % LOCKS
    }
}

impl Store {
    /// Makes the folders that are missing.
    ///
    /// # Errors
    /// When they can't be made, or others than root (or the caller) can write there.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        for part in ["layers", "images", "locks"] {
            let part = dir.join(part);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&part)
                .map_err(|e| Error::io("make the folder", &part, e))?;
            let meta = fs::symlink_metadata(&part).map_err(|e| Error::io("stat", &part, e))?;
            let owned = meta.uid() == 0 || meta.uid() == rustix::process::geteuid().as_raw();
            if !owned || !meta.is_dir() || meta.mode() & 0o022 != 0 {
                let (uid, mode) = (meta.uid(), meta.mode() & 0o7777);
                return Err(Error::Untrusted { path: part, uid, mode });
            }
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// The baseline and the node index of an image's lower directories, topmost first.
    /// With `allowed`, that is what may run (a baseline of the image's OCI content, say),
    /// and the directories only tell which inodes hold it.
    ///
    /// # Errors
    /// When a directory can't be read, or the cache can't be written.
    pub fn image(
        &self,
        lower: &[PathBuf],
        allowed: Option<Arc<Baseline>>,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Image, Error> {
        let scanned = self.scanned(lower, options, progress)?;
        Ok(match allowed {
            Some(allowed) => scanned.allowing(allowed),
            None => scanned.as_they_are(),
        })
    }

    /// What is in the root of a container, that a snapshotter gave it whole. It is written to
    /// before anybody looks and again after, so that nothing of it is kept, and what may run is
    /// always told by another ([`Scanned::allowing`]).
    ///
    /// # Errors
    /// When it can't be read.
    pub fn scanned_root(
        &self,
        root: &Path,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Scanned, Error> {
        let nameless = self.nameless()?;
        let layers = vec![scan_dir(root, &open_root(root)?, options, progress)?];
        write_and_open(&nameless.path().join("root.baseline"), layers, options)
    }

    /// A folder for what has no name of its own: it is made anew each time, and nobody finds it
    /// again, so that its files stand only until they are mapped.
    fn nameless(&self) -> Result<tempfile::TempDir, Error> {
        let made = tempfile::Builder::new().prefix(NAMELESS).tempdir_in(&self.dir);
        made.map_err(|e| Error::io("make a folder in", &self.dir, e))
    }

    /// What is in an image's lower directories, topmost first: from the cache, or looked at now.
    ///
    /// # Errors
    /// When a directory can't be read, or the cache can't be written.
    pub fn scanned(
        &self,
        lower: &[PathBuf],
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Scanned, Error> {
        let mut dirs = Vec::with_capacity(lower.len());
        let mut all = Some(String::from("image 2"));
        for path in lower {
            let dir = open_root(path)?;
            let key = directory_key(path, &dir, options.algorithms)?;
            all = all.zip(key).map(|(all, key)| format!("{all} {}", key.0.hex()));
            dirs.push((path, dir, key));
        }
        let nameless;
        let file = match all {
            Some(all) => self.image_file(Key::of(&all), "baseline"),
            None => {
                nameless = self.nameless()?;
                nameless.path().join("image.baseline")
            }
        };
        if let Ok(scanned) = Scanned::open(&file) {
            return Ok(scanned);
        }
        let mut layers = Vec::with_capacity(dirs.len());
        for (path, dir, key) in dirs.iter().rev() {
            let scan = || scan_dir(path, dir, options, progress);
            layers.push(match key {
                Some(key) => self.layer(*key, options.algorithms, progress, scan)?,
                None => scan()?,
            });
        }
        let scanned = write_and_open(&file, layers, options)?;
        self.prune();
        Ok(scanned)
    }

    pub(crate) fn image_file(&self, key: Key, extension: &str) -> PathBuf {
        self.dir.join("images").join(format!("{}.{extension}", key.0.hex()))
    }

    /// The layer of an image's content, by its diff ID and how it is read.
    pub(crate) fn blob_layer(
        &self,
        diff_id: &Digest,
        reading: (Packing, Whiteouts),
        algorithms: Algorithms,
        progress: &dyn Progress,
        scan: impl FnOnce() -> Result<Layer, Error>,
    ) -> Result<Layer, Error> {
        let bits = algorithms.bits();
        let key = Key::of(&format!("blob 2 {bits} {reading:?} {diff_id}"));
        self.layer(key, algorithms, progress, scan)
    }

    /// From the cache, or scanned by one builder while the others wait; where that one's work is
    /// called off, by the next of them. No second lock is taken under this one.
    fn layer(
        &self,
        key: Key,
        algorithms: Algorithms,
        progress: &dyn Progress,
        scan: impl FnOnce() -> Result<Layer, Error>,
    ) -> Result<Layer, Error> {
        let path = self.dir.join("layers").join(format!("{}.layer", key.0.hex()));
        if let Some(layer) = read_layer(&path, algorithms) {
            return Ok(layer);
        }
        let lock_path = self.dir.join("locks").join(key.lock().to_string());
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| Error::io("open", &lock_path, e))?;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                // Who no longer wants it does not wait for another's work either.
                Err(Errno::WOULDBLOCK | Errno::INTR) => check(progress)?,
                Err(errno) => return Err(Error::io("lock", &lock_path, errno)),
            }
            std::thread::sleep(TURN);
        }
        if let Some(layer) = read_layer(&path, algorithms) {
            return Ok(layer);
        }
        let layer = scan()?;
        write_atomically(&path, &layer.encode())?;
        Ok(layer)
    }

    /// Removes what nobody used for long. What can't be removed now stays; a mapped file
    /// lives on until it is unmapped.
    pub(crate) fn prune(&self) {
        let Some(old) = SystemTime::now().checked_sub(KEPT) else { return };
        // Of who was killed while he had one.
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let made = entry.metadata().and_then(|meta| meta.modified());
            let ours = entry.file_name().as_encoded_bytes().starts_with(NAMELESS.as_bytes());
            if ours && made.is_ok_and(|made| made < old) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        for part in ["layers", "images"] {
            let Ok(listing) = fs::read_dir(self.dir.join(part)) else { continue };
            for entry in listing.flatten() {
                let used = entry.metadata().and_then(|meta| meta.modified());
                if used.is_ok_and(|used| used < old) {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }
}

/// `None` when it is not there, or broken.
fn read_layer(path: &Path, algorithms: Algorithms) -> Option<Layer> {
    let mut bytes = Vec::new();
    open_trusted(path).ok()?.read_to_end(&mut bytes).ok()?;
    let layer = Layer::decode(&bytes).ok().filter(|layer| layer.algorithms == algorithms)?;
    note_use(path);
    Some(layer)
}

#[cfg(test)]
mod tests;
