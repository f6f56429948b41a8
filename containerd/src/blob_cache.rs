//! Documents of images on this node's disk, believed by their digests alone.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lacre_types::Digest;

use crate::content::hash;

/// The greatest blob that is kept, in bytes: configs with a long history have some ten KiB.
const BLOB_MAX: usize = 256 << 10;

/// How many blobs are kept. An image has three, and a node some hundred images; above it
/// the older half goes, and is asked for again.
const BLOBS_MAX: usize = 1024;

/// Indexes, manifests and configs on this node's own disk, so that containerd is not asked
/// for them at every start. They never change; nothing vouches for a file in it but its
/// digest, which is computed at each reading.
#[derive(Debug, Clone)]
pub struct BlobCache {
    folder: PathBuf,
}

impl BlobCache {
    /// A cache in that folder, which is made when it is needed.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The blob, if it is there and is what its digest says. Reads a file.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        let path = self.path(digest);
        if fs::symlink_metadata(&path).ok()?.len() > BLOB_MAX as u64 {
            return None;
        }
        let blob = fs::read(path).ok()?;
        (hash(digest, &blob) == Some(*digest)).then_some(blob)
    }

    /// Keeps a blob. What the disk refuses is asked for again the next time.
    pub fn put(&self, digest: &Digest, blob: &[u8]) {
        if blob.len() <= BLOB_MAX {
            let _ = self.try_put(digest, blob);
        }
    }

    fn try_put(&self, digest: &Digest, blob: &[u8]) -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        make_room(&self.folder)?;
        let path = self.path(digest);
        let part = path.with_extension(format!("part-{}", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(blob)?;
        fs::rename(&part, path)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}-{}", digest.algorithm().as_str(), digest.hex()))
    }
}

/// Removes the older half once there are too many.
fn make_room(folder: &Path) -> std::io::Result<()> {
    let files: Vec<_> = fs::read_dir(folder)?.filter_map(Result::ok).collect();
    if files.len() < BLOBS_MAX {
        return Ok(());
    }
    let time = |file: &fs::DirEntry| file.metadata().and_then(|meta| meta.modified()).ok();
    let mut by_age: Vec<_> = files
        .iter()
        .map(|file| (time(file).unwrap_or(SystemTime::UNIX_EPOCH), file.path()))
        .collect();
    by_age.sort();
    by_age.iter().take(files.len() / 2).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    fn digest(blob: &[u8]) -> Digest {
        Digest::sha256(Sha256::digest(blob).into())
    }

    #[test]
    fn only_what_its_digest_says_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::new(dir.path().join("blobs"));
        let key = digest(b"one");
        assert_eq!(cache.get(&key), None);
        cache.put(&key, b"one");
        assert_eq!(cache.get(&key).as_deref(), Some(&b"one"[..]));
        fs::write(cache.path(&key), "two").unwrap();
        assert_eq!(cache.get(&key), None);
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BlobCache::new(dir.path().to_owned());
        for number in 0..BLOBS_MAX + 10 {
            let blob = number.to_string();
            cache.put(&digest(blob.as_bytes()), blob.as_bytes());
        }
        assert!(fs::read_dir(dir.path()).unwrap().count() <= BLOBS_MAX);
        let large = vec![0; BLOB_MAX + 1];
        cache.put(&digest(&large), &large);
        assert_eq!(cache.get(&digest(&large)), None);
    }
}
