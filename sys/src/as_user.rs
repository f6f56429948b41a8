//! One call under another effective user.
//!
//! The kernel counts some things by the caller's effective user (fanotify groups, inotify
//! instances), and what it has counted stays with that user, whoever goes on using it.

use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySets, Uid, capabilities, set_capabilities, set_thread_res_uid};

/// Two at a time would take each other's word for whether this process may be dumped.
static ONE: Mutex<()> = Mutex::new(());

/// Does `work` on a thread of its own, whose effective user is `uid` and whose capabilities
/// are the caller's; every other thread stays who it is.
///
/// # Errors
/// `EPERM` without `CAP_SETUID`; `EINVAL` where our user namespace has no such user, and for
/// the user that stands for none; what `work` fails with.
pub fn as_user<T: Send>(uid: u32, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    if uid == u32::MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dumpable = dumpable_behavior()?;
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("as-user".to_owned());
        let thread = thread.spawn_scoped(scope, || {
            let had = capabilities(None)?;
            set_thread_res_uid(None, Uid::from_raw(uid), None)?;
            // The kernel took them from the effective set and left them permitted.
            let effective = had.effective;
            set_capabilities(None, CapabilitySets { effective, ..capabilities(None)? })?;
            work()
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread died")))
    });
    // Whoever changes users loses it for the whole process: core dumps, and who may look
    // into /proc/self.
    if dumpable == DumpableBehavior::Dumpable {
        set_dumpable_behavior(dumpable)?;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanotify::Group;

    fn limit() -> usize {
        let limit = std::fs::read_to_string("/proc/sys/fs/fanotify/max_user_groups").unwrap();
        limit.trim().parse().unwrap()
    }

    #[test]
    fn only_that_thread_is_another_and_keeps_its_capabilities() {
        let had = capabilities(None).unwrap();
        let status = || {
            std::fs::read_to_string("/proc/thread-self/status").map(|status| {
                status.lines().find(|line| line.starts_with("Uid:")).unwrap().to_owned()
            })
        };
        let own = status().unwrap();
        let inside = as_user(2_345_678_901, || {
            assert_eq!(capabilities(None)?.effective, had.effective);
            status()
        });
        assert_eq!(inside.unwrap(), "Uid:\t0\t2345678901\t0\t2345678901");
        assert_eq!(status().unwrap(), own);
        let _one = ONE.lock();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
    }

    #[test]
    fn nobody_is_not_a_user() {
        assert!(as_user(u32::MAX, || Ok(())).is_err());
    }

    #[test]
    fn groups_are_counted_by_the_user_that_made_them() {
        let limit = limit();
        let make = |uid| as_user(uid, Group::new);
        let taken: Vec<_> = (0..limit).map(|_| make(2_345_678_902).unwrap()).collect();
        let full = make(2_345_678_902).unwrap_err();
        assert_eq!(full.raw_os_error(), Some(libc::EMFILE));
        assert!(make(2_345_678_903).is_ok());
        drop(taken);
    }
}
