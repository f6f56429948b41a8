use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lacre_attest::container::Secret;

/// A container's secret and the file, of 64 hexadecimal digits, that keeps it: as long as
/// the list lives.
#[derive(Debug)]
pub struct SecretFile {
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

    /// The secret of the container whose list has that id, for whoever verifies it.
    ///
    /// # Errors
    /// When there is none, or the file is not one.
    pub fn read(folder: &Path, id: &str) -> io::Result<Secret> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "64 hexadecimal digits expected");
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(File::open(folder.join(id))?, 65), &mut text)?;
        let text = text.trim_end().as_bytes();
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |at: u8| char::from(at).to_digit(16).ok_or_else(wrong);
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(Secret::new(bytes))
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
        assert_eq!(SecretFile::read(&folder, "n--c").unwrap(), *one.secret());
        let other = SecretFile::make(&folder, "n--d").unwrap();
        assert_ne!(one.secret(), other.secret());
        drop(one);
        assert!(SecretFile::read(&folder, "n--c").is_err());
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
            std::fs::write(dir.path().join("x"), text).unwrap();
            assert!(SecretFile::read(dir.path(), "x").is_err(), "{text}");
        }
    }
}
