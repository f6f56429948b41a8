use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lacre_attest::container::Secret;

/// A container's secret and the file, of 64 hexadecimal digits, that keeps it: as long as
/// the list lives.
#[derive(Debug)]
pub(super) struct SecretFile {
    secret: Secret,
    path: PathBuf,
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
        let path = folder.join(id);
        // An earlier container of that name has gone, or the kernel refuses this one.
        let _ = std::fs::remove_file(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        file.write_all(text.as_bytes())?;
        Ok(Self { secret: Secret::new(bytes), path })
    }

    pub(super) const fn secret(&self) -> &Secret {
        &self.secret
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
        let one = SecretFile::make(&folder, "n--c").unwrap();
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
}
