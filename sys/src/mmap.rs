//! A file as a slice, shared through the page cache with everybody who maps it.

use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};
use std::slice;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The whole of a file, mapped read-only.
///
/// The caller answers for the file: it belongs to somebody trusted, nobody else can
/// write it, and it is replaced by rename only. A file that is cut short under its map
/// ends the process with `SIGBUS`; nothing worse.
#[derive(Debug)]
pub struct Mmap {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the map is read-only and lives until `drop`; a pointer to it may be used from
// any thread.
unsafe impl Send for Mmap {}
// SAFETY: as above; nothing is mutable.
unsafe impl Sync for Mmap {}

impl Mmap {
    /// Maps `file` from its beginning to its present end.
    ///
    /// # Errors
    /// When the size can't be told, does not fit the address space, or the kernel refuses.
    pub fn map(file: &File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if len == 0 {
            return Ok(Self { start: NonNull::dangling(), len });
        }
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let start =
            unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, 0)? };
        NonNull::new(start.cast())
            .map(|start| Self { start, len })
            .ok_or_else(|| io::Error::other("mmap gave address 0"))
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` is the beginning of a readable map of `len` bytes (or dangling,
        // with `len` 0) that `self` owns.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mmap {
    fn drop(&mut self) {
        if self.len != 0 {
            // SAFETY: the map is `self`'s alone, and no slice of it outlives `self`.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn shows_the_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"wax").unwrap();
        assert_eq!(Mmap::map(&file).unwrap().as_slice(), b"wax");
    }

    #[test]
    fn an_empty_file_is_an_empty_slice() {
        assert_eq!(Mmap::map(&tempfile::tempfile().unwrap()).unwrap().as_slice(), b"");
    }
}
