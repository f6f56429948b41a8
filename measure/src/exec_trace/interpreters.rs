//! Which of a container's files are interpreters.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::Path;

use lacre_types::FileId;

use super::abi::{VERDICT_INTERPRETER, VERDICT_MULTICALL};
use super::script::{Family, base_name};
use crate::files::{self, Layers};
use crate::{Known, Target};

/// Where programs are looked for by name: one inode may have many names, and the
/// baseline tells one of them.
const DIRS: [&str; 6] =
    ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// The verdict flags of a file called `base`.
pub(super) fn flags(base: &[u8]) -> u32 {
    match Family::of(base) {
        None => 0,
        Some(Family::Multicall) => VERDICT_INTERPRETER | VERDICT_MULTICALL,
        Some(_) => VERDICT_INTERPRETER,
    }
}

/// Every file that the baseline allows, with its flags.
pub(super) fn marked(target: &Target, layers: &Layers) -> Vec<(FileId, u32)> {
    let by_name = named(&Path::new("/proc").join(target.init_pid.to_string()).join("root"), layers);
    target
        .known
        .allowed()
        .map(|id| (id, by_name.get(&id).copied().unwrap_or(0) | by_path(&*target.known, &id)))
        .collect()
}

fn by_path(known: &dyn Known, id: &FileId) -> u32 {
    known.by_inode(id.dev, id.ino).map_or(0, |(path, _)| flags(base_name(path.as_bytes())))
}

fn named(root: &Path, layers: &Layers) -> HashMap<FileId, u32> {
    let mut found = HashMap::new();
    for dir in DIRS {
        let Ok(opened) = files::open_in(root, dir.as_bytes()) else { continue };
        let Ok(entries) = files::names_in(opened.as_fd()) else { continue };
        for entry in entries {
            let flags = flags(&entry);
            if flags == 0 {
                continue;
            }
            let path = [dir.as_bytes(), b"/", &entry].concat();
            let real = files::open_in(root, &path).and_then(|file| layers.real(file.as_fd()));
            if let Ok(real) = real
                && real.exact
            {
                *found.entry(real.id).or_default() |= flags;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_a_file_count() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::write(bin.join("busybox"), b"x").unwrap();
        std::fs::hard_link(bin.join("busybox"), bin.join("ls")).unwrap();
        std::os::unix::fs::symlink("/bin/busybox", bin.join("sh")).unwrap();
        let found = named(dir.path(), &Layers::new(None, &[]));
        assert_eq!(found.len(), 1);
        assert_eq!(found.values().next(), Some(&(VERDICT_INTERPRETER | VERDICT_MULTICALL)));
    }
}
