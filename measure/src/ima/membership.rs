//! Whether a file that a line tells of is one that the container has.

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lacre_types::{CanonicalPath, Digest, FileId};

use crate::files::{Layers, open_steady, reopen};
use crate::held_process::Held;
use crate::verified::verify;
use crate::{Known, Target};

/// Digests that are remembered: with their keys, a hundred kilobytes at most.
const MOST_REMEMBERED: usize = 1024;

/// The container's files, as long as there is a way to them.
pub(super) struct Inside {
    /// `None`: it has ended.
    init: Option<Held>,
    /// Its root as the host reaches it, then its upper directory, which outlives the root.
    roots: Vec<PathBuf>,
    layers: Layers,
    known: Arc<dyn Known>,
    digests: HashMap<FileId, Digest>,
}

impl Inside {
    pub(super) fn of(target: &Target, init: Option<Held>) -> Self {
        Self {
            init,
            roots: [Some(target.rootfs.clone()), target.upper.clone()]
                .into_iter()
                .flatten()
                .collect(),
            layers: target.layers(),
            known: Arc::clone(&target.known),
            digests: HashMap::new(),
        }
    }

    /// Whether the container has a file of that path with that content now. Content that
    /// can't be read is not it, nor what a server answers for, which may be in the container.
    pub(super) fn has(&mut self, path: &CanonicalPath, digest: &Digest) -> bool {
        // With its mounts, while it lives; its number can't have come to mean another then.
        if let Some(init) = self.init.take() {
            let (own, mounts) = (init.proc("root"), init.proc("mountinfo"));
            let found = self.digest(&own, path, &mounts, path.as_bytes());
            if init.lives() {
                self.init = Some(init);
                return found.as_ref() == Some(digest);
            }
        }
        let roots = self.roots.clone();
        let mounts = Path::new("/proc/self/mountinfo");
        roots.iter().any(|root| {
            let way = [root.as_os_str().as_bytes(), path.as_bytes()].concat();
            self.digest(root, path, mounts, &way).as_ref() == Some(digest)
        })
    }

    fn digest(
        &mut self,
        root: &Path,
        path: &CanonicalPath,
        mounts: &Path,
        way: &[u8],
    ) -> Option<Digest> {
        let opened = open_steady(root, path.as_bytes(), mounts, way).ok()?;
        let real = self.layers.real(opened.as_fd()).ok()?;
        let known = self.known.by_inode(real.id.dev, real.id.ino).map(|(_, file)| file);
        if let Some(file) = known.filter(|file| real.exact && file.id == real.id) {
            return Some(file.digest);
        }
        if let Some(digest) = self.digests.get(&real.id).filter(|_| real.exact) {
            return Some(*digest);
        }
        let file = reopen(opened.as_fd()).ok()?;
        match verify(file.into(), Some(path), &self.layers, &AtomicBool::new(false)) {
            Ok(verified) => {
                if let Some(id) = verified.lasting() {
                    if self.digests.len() >= MOST_REMEMBERED {
                        self.digests.clear();
                    }
                    self.digests.insert(*id, *verified.digest());
                }
                Some(*verified.digest())
            }
            // Nothing runs by it: it is only asked whose a line is.
            Err(unverified) => unverified.glimpse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Nothing;
    use lacre_types::Mode;
    use sha2::Digest as _;

    /// Whether this process, as a container, has the file.
    fn has(path: &str) -> bool {
        let target = Target {
            container: "n/c".to_owned(),
            init_pid: std::process::id(),
            rootfs: "/".into(),
            upper: None,
            lower: Vec::new(),
            mode: Mode::Audit,
            block: crate::Block::Exec,
            known: Arc::new(Nothing),
        };
        let init = Held::open(target.init_pid).unwrap();
        let content = std::fs::read(path).unwrap();
        let digest = Digest::sha256(sha2::Sha256::digest(content).into());
        Inside::of(&target, Some(init)).has(&CanonicalPath::new(path).unwrap(), &digest)
    }

    #[test]
    fn what_a_server_may_never_answer_for_is_not_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().canonicalize().unwrap().join("file");
        std::fs::write(&file, "content").unwrap();
        assert!(has(file.to_str().unwrap()));
        let link = file.with_file_name("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(!has(link.to_str().unwrap()), "no name that IMA tells is a link");
        // Nor is proc one of those whose content stays.
        assert!(!has("/proc/version"));
    }
}
