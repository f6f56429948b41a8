//! Which of an image's files are interpreters.

use std::collections::HashMap;
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
    /// Those that were changed in their metadata, and verified since.
    changed: Mutex<HashMap<FileId, Family>>,
}

/// Changed interpreters that are remembered: more than a container changes of its own. Of more,
/// what they are is told by their names.
const REMEMBERED: usize = 1024;

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
        let mut by_content = HashMap::new();
        for (id, (family, flags)) in &files {
            if let Some((_, file)) = known.by_inode(id.dev, id.ino) {
                let of = by_content.entry(file.digest).or_insert((*family, 0));
                of.1 |= flags;
                if *family == Family::Multicall {
                    of.0 = *family;
                }
            }
        }
        Self { files, contents: by_content, changed: Mutex::default() }
    }

    /// What a file of the image is, untouched or [`Self::changed`].
    pub(super) fn family(&self, id: &FileId) -> Option<Family> {
        let changed = || self.lock().get(id).copied();
        self.files.get(id).map(|(family, _)| *family).or_else(changed)
    }

    /// That a file with these bytes is in this state now.
    pub(super) fn changed(&self, id: &FileId, digest: &Digest) {
        let Some((family, _)) = self.contents.get(digest) else { return };
        let mut changed = self.lock();
        if changed.len() < REMEMBERED {
            changed.insert(*id, *family);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FileId, Family>> {
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
    fn all_names_of_a_file_count() {
        let known = Names(&[("ls", 1), ("busybox", 1), ("sh", 1), ("cat", 2), ("sh", 3)]);
        let found: HashMap<_, _> = Interpreters::of(&known).marked(&known).into_iter().collect();
        let both = VERDICT_INTERPRETER | VERDICT_MULTICALL;
        assert_eq!(found, HashMap::from([(id(1), both), (id(2), 0), (id(3), VERDICT_INTERPRETER)]));
        let interpreters = Interpreters::of(&known);
        assert_eq!(interpreters.family(&id(1)), Some(Family::Multicall));
        assert_eq!(interpreters.family(&id(3)), Some(Family::Shell));
        assert_eq!(interpreters.family(&id(2)), None);
    }
}
