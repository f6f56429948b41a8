//! Which shim runs a test's containers: lacre, or the control.

use std::env;
use std::sync::OnceLock;

/// What runs the containers: the control, or what is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// containerd's own shim, or the one that `LACRE_TEST_INNER` names.
    Runc,
    /// lacre, around it.
    Lacre,
}

impl Runtime {
    /// The name that containerd knows it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => other_shim().unwrap_or("io.containerd.runc.v2"),
            Self::Lacre => "io.containerd.lacre.v1",
        }
    }

    /// The name of its handler in the CRI configuration.
    #[must_use]
    pub fn handler(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Lacre => "lacre",
        }
    }
}

/// Whether the shim writes a container's output to a file that its client names. The other
/// does not: it waits for ever for who would read it.
#[must_use]
pub fn writes_to_files() -> bool {
    other_shim().is_none()
}

/// The absolute path of a shim that stands where runc's does, beneath lacre and bare:
/// `LACRE_TEST_INNER`. So the tests run over another (`make soak PART=rust_shim`).
#[must_use]
pub(crate) fn other_shim() -> Option<&'static str> {
    static PATH: OnceLock<Option<String>> = OnceLock::new();
    PATH.get_or_init(|| env::var("LACRE_TEST_INNER").ok()).as_deref()
}
