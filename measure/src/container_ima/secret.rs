use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lacre_attest::container::Secret;

/// A container's secret and the file, of 64 hexadecimal digits, that keeps it: as long as
/// the list lives.
///
/// Whoever shows the list takes the secret that lies there under its name. So that it is
/// never an earlier container's, nor an earlier list's is this one's, an earlier secret goes
/// once its list is gone, and this one gets its name once there is a list.
#[derive(Debug)]
pub(super) struct SecretFile {
    secret: Secret,
    path: PathBuf,
    kept: PathBuf,
}

/// What an earlier container of the same name may have left.
#[derive(Debug)]
pub(super) struct Earlier(PathBuf);

impl Earlier {
    /// Its list is gone.
    pub(super) fn remove(&self) {
        // There may be none.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl SecretFile {
    pub(super) fn make(folder: &Path, id: &str) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut bytes = [0; 32];
        let mut filled = 0;
        while filled < bytes.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut bytes[filled..], flags)?;
        }
        // No list has a name that begins so.
        let path = folder.join(format!(".{id}"));
        let _ = std::fs::remove_file(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let made = Self { secret: Secret::new(bytes), path, kept: folder.join(id) };
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        file.write_all(text.as_bytes())?;
        Ok(made)
    }

    pub(super) const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// What lies where this one will be kept.
    pub(super) fn earlier(&self) -> Earlier {
        Earlier(self.kept.clone())
    }

    /// There is a list that it belongs to.
    pub(super) fn keep(&mut self) -> io::Result<()> {
        std::fs::rename(&self.path, &self.kept)?;
        self.path.clone_from(&self.kept);
        Ok(())
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_is_roots_alone_and_goes_with_the_list() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("secrets");
        let mut one = SecretFile::make(&folder, "n--c").unwrap();
        one.keep().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("n--c"))), (0o700, 0o600));
        let text = std::fs::read_to_string(folder.join("n--c")).unwrap();
        let digits: String =
            one.secret().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, digits);
        let other = SecretFile::make(&folder, "n--d").unwrap();
        assert_ne!(one.secret(), other.secret());
        drop((one, other));
        assert_eq!(folder.read_dir().unwrap().count(), 0);
    }

    #[test]
    fn an_earlier_list_keeps_its_secret_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("n--c");
        std::fs::write(&kept, "earlier").unwrap();
        let refused = SecretFile::make(dir.path(), "n--c").unwrap();
        drop(refused);
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "earlier");

        let mut next = SecretFile::make(dir.path(), "n--c").unwrap();
        next.earlier().remove();
        assert!(!kept.exists());
        next.keep().unwrap();
        assert_eq!(std::fs::read_to_string(&kept).unwrap().len(), 64);
    }
}
