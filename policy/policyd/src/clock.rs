//! Time that nobody sets: the kernel's, since the machine was started.

use std::fs;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A moment as the kernel counts it: seconds of `CLOCK_BOOTTIME`, which goes on while the
/// machine sleeps and which no one can set, in the start of the machine that they belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The start, `random/boot_id` of procfs.
    pub boot: String,
    /// Seconds since then.
    pub seconds: u64,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self { boot: boot().to_owned(), seconds: seconds() }
    }
}

/// Seconds since the machine was started.
pub(crate) fn seconds() -> u64 {
    u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0)
}

/// Seconds since 1970, as the machine's clock is set: for people, certificates, and nothing else.
pub(crate) fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Where procfs is not there, each start of the server is one of its own: what was before is of
/// an age that nobody knows.
fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let read = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        match read.trim() {
            "" => format!("{}-{}", std::process::id(), wall()),
            id => id.to_owned(),
        }
    })
}
