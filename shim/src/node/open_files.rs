//! How many files a process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A guard's fanotify holds a descriptor for each file that it need not ask about again, 1024 for
/// each of the containers of a large pod; and the watchdog one for each group of each guard.
const ENOUGH: u64 = 65_536;

/// As many as the node allows, up to what is enough.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    if limit.current.is_some_and(|current| current < enough) {
        // As it was, it serves too.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(enough), ..limit });
    }
}
