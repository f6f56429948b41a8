//! What all connections of one shim share.

use std::path::PathBuf;
use std::sync::Arc;

use slog::Logger;

use super::containers::Containers;
use super::program_check::Listed;
use crate::config;
use crate::guard::Guard;
use crate::inner::client::Inner;
use crate::node::memory::Rest;

/// What all connections share.
pub struct Proxy {
    /// Who is asked.
    pub guard: Arc<dyn Guard>,
    /// Where the inner shim listens.
    pub inner_socket: PathBuf,
    /// Our own calls to it.
    pub inner: Inner,
    /// Its section of the configuration.
    pub inner_config: config::Inner,
    /// The node's list of programs; none for what is exempt.
    pub listed: Option<Listed>,
    /// The containers that there are.
    pub containers: Arc<Containers>,
    /// Told of each container that starts.
    pub rest: Rest,
    /// The log.
    pub log: Logger,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("inner", &self.inner_socket).finish_non_exhaustive()
    }
}
