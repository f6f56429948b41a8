//! A baseline as the analyzer asks it.

use lacre_types::{CanonicalPath, Listed, Whitelist};

use crate::{Baseline, Lookup};

impl Whitelist for Baseline {
    fn entry(&self, path: &CanonicalPath) -> Option<Listed> {
        let Lookup::Found(entry) = Self::entry(self, path) else { return None };
        Some(Listed {
            path: CanonicalPath::new(entry.path).ok()?,
            digests: entry.digests().collect(),
            size: entry.size,
            kind: entry.kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{NoProgress, Options, from_rootfs};

    #[test]
    fn a_file_answers_under_its_own_name_and_through_the_images_links() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        fs::write(root.path().join("usr/bin/x"), "#!/bin/sh\n").unwrap();
        symlink("usr/bin", root.path().join("bin")).unwrap();
        let baseline = from_rootfs(root.path(), &Options::default(), &NoProgress).unwrap();
        let listed = |path: &str| Whitelist::entry(&baseline, &CanonicalPath::new(path).unwrap());
        let own = listed("/usr/bin/x").unwrap();
        assert_eq!(own.path.as_bytes(), b"/usr/bin/x");
        assert_eq!(own.size, 10);
        assert_eq!(own.digests.iter().count(), baseline.algorithms().iter().count());
        assert_eq!(listed("//bin/./x"), Some(own));
        assert_eq!(listed("/bin/y"), None);
    }
}
