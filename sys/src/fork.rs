//! Becoming two processes.

use std::io;

/// Which of the two this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The one that was there before, and the number of the other.
    Parent(u32),
    /// The other.
    Child,
}

/// Makes a copy of this process, which has no other thread: fork(2).
///
/// # Errors
/// When it has, or the kernel refuses.
pub fn fork() -> io::Result<Forked> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process of several threads can't be copied"));
    }
    // SAFETY: there is no other thread, which could start none meanwhile: nobody holds a lock
    // or is half through a change that the copy would wait for in vain.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        pid => u32::try_from(pid).map(Forked::Parent).map_err(|_| io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_with_other_threads_is_not_copied() {
        let (keep, kept) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || kept.recv());
        assert!(super::fork().is_err());
        drop(keep);
        assert!(other.join().unwrap().is_err());
    }
}
