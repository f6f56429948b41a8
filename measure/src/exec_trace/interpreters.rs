//! Which of an image's files are interpreters.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lacre_types::{Digest, FileId, Known};

use super::abi::{VERDICT_INTERPRETER, VERDICT_MULTICALL, VERDICT_SCRIPT_AFTER_C};
use crate::interpreter::Family;

/// The verdict flags of a file called `base`.
pub(super) fn flags(base: &[u8]) -> u32 {
    match Family::of(base) {
        None => 0,
        Some(family) if !family.names_files() => 0,
        Some(Family::Multicall) => VERDICT_INTERPRETER | VERDICT_MULTICALL,
        Some(family) if family.code_after_c() => VERDICT_INTERPRETER,
        Some(_) => VERDICT_INTERPRETER | VERDICT_SCRIPT_AFTER_C,
    }
}

/// The image's interpreters, by their file: one file may have many names, any of them may be
/// an interpreter's, and what is copied up or renamed keeps its bytes.
#[derive(Debug, Default)]
pub(super) struct Interpreters {
    files: HashMap<FileId, (Family, u32)>,
    /// By content.
    contents: HashMap<Digest, (Family, u32)>,
    /// Of how many bytes they are: what has another size need not be read.
    sizes: HashSet<u64>,
    /// Those that were changed in their metadata or copied, and verified since, by device and
    /// inode: of a file that is changed again and again the last counts.
    changed: Mutex<HashMap<(u32, u64), Family>>,
    /// One more was changed than are remembered.
    forgot: AtomicBool,
}

/// Changed interpreters that are remembered, some 24 bytes each: more than a container changes of
/// its own. Of more, nobody knows what they are.
const REMEMBERED: usize = 16_384;

/// More interpreters were changed than are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forgotten;

impl Interpreters {
    pub(super) fn of(known: &dyn Known) -> Self {
        let mut files: HashMap<FileId, (Family, u32)> = HashMap::new();
        for (name, id) in known.named(&|name| Family::of(name).is_some()) {
            let Some(family) = Family::of(&name) else { continue };
            let entry = files.entry(id).or_insert((family, 0));
            entry.1 |= flags(&name);
            // One of its names says that it has many, and that decides.
            if family == Family::Multicall {
                entry.0 = family;
            }
        }
        let (mut by_content, mut sizes) = (HashMap::new(), HashSet::new());
        for (id, (family, flags)) in &files {
            if let Some((_, file)) = known.by_inode(id.dev, id.ino) {
                sizes.insert(file.size);
                let of = by_content.entry(file.digest).or_insert((*family, 0));
                of.1 |= flags;
                if *family == Family::Multicall {
                    of.0 = *family;
                }
            }
        }
        Self { files, contents: by_content, sizes, ..Self::default() }
    }

    /// What a file of the image is, untouched or [`Self::changed`]; `None` where it is none, and
    /// its name tells.
    ///
    /// # Errors
    /// Where it may be one that is not remembered: a name says nothing of such a file, which
    /// somebody may have renamed.
    pub(super) fn family(&self, id: &FileId) -> Result<Option<Family>, Forgotten> {
        if let Some((family, _)) = self.files.get(id) {
            return Ok(Some(*family));
        }
        match self.lock().get(&(id.dev, id.ino)) {
            None if self.forgot.load(Ordering::Relaxed) => Err(Forgotten),
            family => Ok(family.copied()),
        }
    }

    /// Whether one of them has so many bytes.
    pub(super) fn has_size(&self, size: u64) -> bool {
        self.sizes.contains(&size)
    }

    /// What a file with these bytes is.
    pub(super) fn holding(&self, digest: &Digest) -> Option<Family> {
        self.contents.get(digest).map(|(family, _)| *family)
    }

    /// That a file with these bytes is in this state now.
    pub(super) fn changed(&self, id: &FileId, digest: &Digest) {
        let Some((family, _)) = self.contents.get(digest) else { return };
        let mut changed = self.lock();
        let (key, full) = ((id.dev, id.ino), changed.len() >= REMEMBERED);
        if full && !changed.contains_key(&key) {
            self.forgot.store(true, Ordering::Relaxed);
        } else {
            changed.insert(key, *family);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u32, u64), Family>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The verdict flags of a file with these bytes, by all of their names in the image.
    pub(super) fn flags_of(&self, digest: &Digest) -> u32 {
        self.contents.get(digest).map_or(0, |(_, flags)| *flags)
    }

    /// Every file that the baseline allows, with its flags.
    pub(super) fn marked(&self, known: &dyn Known) -> Vec<(FileId, u32)> {
        known.allowed().map(|id| (id, self.files.get(&id).map_or(0, |(_, flags)| *flags))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacre_types::{CanonicalPath, KnownFile};

    /// One file of each number, under these names.
    struct Names(&'static [(&'static str, u64)]);

    fn id(ino: u64) -> FileId {
        FileId { dev: 1, ino, ctime_sec: 0, ctime_nsec: 0 }
    }

    impl Known for Names {
        fn by_path(&self, _: &CanonicalPath) -> Option<KnownFile> {
            None
        }

        fn by_inode(&self, _: u32, _: u64) -> Option<(CanonicalPath, KnownFile)> {
            None
        }

        fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_> {
            Box::new(self.0.iter().map(|(_, ino)| id(*ino)))
        }

        fn named(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Vec<(Vec<u8>, FileId)> {
            let names = self.0.iter().filter(|(name, _)| wanted(name.as_bytes()));
            names.map(|(name, ino)| (name.as_bytes().to_vec(), id(*ino))).collect()
        }
    }

    #[test]
    fn only_a_shell_and_python_have_code_behind_c() {
        for name in ["sh", "bash", "zsh", "python3.12"] {
            assert_eq!(flags(name.as_bytes()), VERDICT_INTERPRETER, "{name}");
        }
        for name in ["perl", "ruby", "node", "php", "lua", "awk", "tclsh"] {
            let expected = VERDICT_INTERPRETER | VERDICT_SCRIPT_AFTER_C;
            assert_eq!(flags(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn a_file_that_is_changed_again_and_again_is_remembered_once_and_of_too_many_none_is_guessed() {
        let digest = Digest::sha256([7; 32]);
        let mut interpreters = Interpreters::default();
        interpreters.contents.insert(digest, (Family::Shell, 0));
        let state = |ino, ctime_sec| FileId { ctime_sec, ..id(ino) };
        for change in 0..=REMEMBERED as i64 {
            interpreters.changed(&state(1, change), &digest);
        }
        assert_eq!(interpreters.family(&state(1, 0)), Ok(Some(Family::Shell)));
        assert_eq!(interpreters.family(&state(2, 0)), Ok(None));
        for ino in 2..=REMEMBERED as u64 + 1 {
            interpreters.changed(&state(ino, 0), &digest);
        }
        // Any name could be given to it.
        assert_eq!(interpreters.family(&state(REMEMBERED as u64 + 1, 0)), Err(Forgotten));
        assert_eq!(interpreters.family(&state(1, 0)), Ok(Some(Family::Shell)));
    }

    #[test]
    fn all_names_of_a_file_count() {
        let known = Names(&[("ls", 1), ("busybox", 1), ("sh", 1), ("cat", 2), ("sh", 3)]);
        let found: HashMap<_, _> = Interpreters::of(&known).marked(&known).into_iter().collect();
        let both = VERDICT_INTERPRETER | VERDICT_MULTICALL;
        assert_eq!(found, HashMap::from([(id(1), both), (id(2), 0), (id(3), VERDICT_INTERPRETER)]));
        let interpreters = Interpreters::of(&known);
        assert_eq!(interpreters.family(&id(1)), Ok(Some(Family::Multicall)));
        assert_eq!(interpreters.family(&id(3)), Ok(Some(Family::Shell)));
        assert_eq!(interpreters.family(&id(2)), Ok(None));
    }
}
