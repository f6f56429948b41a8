//! How many rounds a benchmark has, whole or quick.

use std::io::{IsTerminal as _, Write as _, stderr};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) quick: bool,
}

impl Plan {
    /// How many rounds: these, or as few as show that it works.
    pub(super) fn rounds(self, many: usize) -> usize {
        if self.quick { 1 } else { many }
    }

    pub(super) fn is_quick(self) -> bool {
        self.quick
    }

    /// How often something is repeated in a round.
    pub(super) fn count(self, many: usize) -> usize {
        if self.quick { many.div_ceil(20) } else { many }
    }

    pub(super) fn progress(self, what: &str, done: usize, of: usize) {
        if stderr().is_terminal() {
            let _ = write!(stderr(), "\r\x1b[K  {what}: {done} of {of}");
        }
    }
}
