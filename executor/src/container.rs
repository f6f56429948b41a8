//! The container that an executor stands beside.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::freeze_arbiter::FreezeArbiter;
use crate::manager::Manager;
use crate::runtime::Runtime;
use crate::settings::Settings;
use crate::target::Target;

/// The container to act on.
#[derive(Debug, Clone)]
pub struct Container {
    /// containerd's namespace.
    pub namespace: String,
    /// Its id.
    pub id: String,
    /// What names this life of it on its node, in letters and digits: another containerd may
    /// have the same namespace and id, and an id comes again. What is kept of it goes by this.
    pub generation: String,
    /// The pid of its init, which is held from now on.
    pub init_pid: u32,
    /// containerd's socket.
    pub address: String,
    /// Who brings it back.
    pub manager: Manager,
}

/// What the actions need of the container.
pub(crate) struct Held {
    pub(crate) container: Container,
    pub(crate) settings: Settings,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) target: Arc<Target>,
    pub(crate) arbiter: Arc<FreezeArbiter>,
    /// Whether a thread waits for its end to thaw what is left.
    pub(crate) end_awaited: AtomicBool,
    /// Whether a thread watches over its cut network.
    pub(crate) watched: AtomicBool,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("container", &self.container).finish_non_exhaustive()
    }
}
