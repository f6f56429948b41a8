//! The runtime that a container's inner shim runs.

use super::program_list::{Checked, Programs, UnlistedError};

/// A container's runtime. Its inner shim runs it for each of the container's steps anew.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    /// What the node lists.
    pub(crate) programs: Programs,
    /// As the inner shim was told.
    pub(crate) name: String,
}

impl Runtime {
    /// Compares what has that name now with the list.
    ///
    /// # Errors
    /// As [`Programs::check`].
    pub(crate) fn check(&self) -> Result<Checked, UnlistedError> {
        self.programs.check_named(&self.name, std::env::var_os("PATH").as_deref())
    }
}
