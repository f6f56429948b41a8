//! Layers of images made by hand: the same entries give the same bytes.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

#[derive(Debug, Clone)]
enum Entry {
    Dir(u32),
    File(u32, Vec<u8>),
    Copy(u32, PathBuf),
    Symlink(PathBuf),
    Hardlink(PathBuf),
}

/// One layer: what it adds, and what it hides.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    entries: Vec<(PathBuf, Entry)>,
}

impl Layer {
    /// An empty layer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, path: impl AsRef<Path>, entry: Entry) -> Self {
        let path = path.as_ref();
        self.entries.push((path.strip_prefix("/").unwrap_or(path).to_owned(), entry));
        self
    }

    /// Adds a directory.
    #[must_use]
    pub fn dir(self, path: impl AsRef<Path>, mode: u32) -> Self {
        self.with(path, Entry::Dir(mode))
    }

    /// Adds a file with these bytes.
    #[must_use]
    pub fn file(self, path: impl AsRef<Path>, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.with(path, Entry::File(mode, bytes.into()))
    }

    /// Adds a copy of the machine's file `from`.
    #[must_use]
    pub fn copy(self, path: impl AsRef<Path>, mode: u32, from: impl Into<PathBuf>) -> Self {
        self.with(path, Entry::Copy(mode, from.into()))
    }

    /// Adds a symbolic link to `target`.
    #[must_use]
    pub fn symlink(self, path: impl AsRef<Path>, target: impl Into<PathBuf>) -> Self {
        self.with(path, Entry::Symlink(target.into()))
    }

    /// Adds a hard link to `target`, a path of this layer.
    #[must_use]
    pub fn hardlink(self, path: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        let target = target.as_ref();
        let target = target.strip_prefix("/").unwrap_or(target).to_owned();
        self.with(path, Entry::Hardlink(target))
    }

    /// Hides `path` of the layers beneath.
    #[must_use]
    pub fn whiteout(self, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let mut name = std::ffi::OsString::from(".wh.");
        name.push(path.file_name().unwrap_or_default());
        let marker = path.with_file_name(name);
        self.file(marker, 0o644, [])
    }

    /// Hides everything beneath the directory `path` of the layers beneath.
    #[must_use]
    pub fn opaque(self, path: impl AsRef<Path>) -> Self {
        let marker = path.as_ref().join(".wh..wh..opq");
        self.file(marker, 0o644, [])
    }

    /// Adds all that is in the folder `from`, hard links kept, but for dot files at its top.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn tree(mut self, from: &Path) -> Result<Self> {
        let mut folders = vec![PathBuf::new()];
        let mut linked = HashMap::new();
        while let Some(folder) = folders.pop() {
            let mut names: Vec<_> = fs::read_dir(from.join(&folder))
                .with_context(|| format!("reading {}", from.display()))?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<Result<_, _>>()?;
            names.sort();
            for name in names {
                if folder.as_os_str().is_empty() && name.as_bytes().starts_with(b".") {
                    continue;
                }
                let path = folder.join(name);
                let real = from.join(&path);
                let meta = real.symlink_metadata()?;
                let mode = meta.permissions().mode() & 0o7777;
                let entry = if meta.is_symlink() {
                    Entry::Symlink(fs::read_link(&real)?)
                } else if meta.is_dir() {
                    folders.push(path.clone());
                    Entry::Dir(mode)
                } else if let Some(first) = linked.get(&meta.ino()) {
                    Entry::Hardlink(PathBuf::clone(first))
                } else {
                    if meta.nlink() > 1 {
                        linked.insert(meta.ino(), path.clone());
                    }
                    Entry::Copy(mode, real)
                };
                self.entries.push((path, entry));
            }
        }
        Ok(self)
    }

    /// The layer as an uncompressed tar.
    ///
    /// # Errors
    /// When a file to copy cannot be read, or a path cannot stand in a tar.
    pub fn tar(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Regular);
            header.set_mtime(0);
            header.set_mode(0o777);
            header.set_size(0);
            header.set_uid(0);
            header.set_gid(0);
            let said = || format!("adding {}", path.display());
            match entry {
                Entry::Dir(mode) => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(*mode);
                    tar.append_data(&mut header, path, &[][..]).with_context(said)?;
                }
                Entry::File(mode, bytes) => {
                    header.set_mode(*mode);
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, &bytes[..]).with_context(said)?;
                }
                Entry::Copy(mode, from) => {
                    let file = fs::File::open(from)
                        .with_context(|| format!("opening {}", from.display()))?;
                    let size = file.metadata()?.size();
                    header.set_mode(*mode);
                    header.set_size(size);
                    tar.append_data(&mut header, path, file.take(size)).with_context(said)?;
                }
                Entry::Symlink(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    tar.append_link(&mut header, path, target).with_context(said)?;
                }
                Entry::Hardlink(target) => {
                    header.set_entry_type(EntryType::Link);
                    tar.append_link(&mut header, path, target).with_context(said)?;
                }
            }
        }
        Ok(tar.into_inner()?)
    }
}
