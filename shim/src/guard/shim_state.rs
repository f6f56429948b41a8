//! What all containers of one inner shim share: the reporter, the words of the server, and what is
//! still being taken down.

use std::sync::{Arc, Mutex, PoisonError};

use lacre_measure::Rest;
use lacre_report::Reporter;
use tokio::task::JoinSet;

use super::context::Context;
use super::policy::Switchboard;
use crate::container::telling::PolicyOrigin;

/// What all containers of one inner shim share.
pub(crate) struct Shared {
    pub(crate) context: Context,
    pub(super) node: String,
    pub(crate) reporter: Arc<Reporter>,
    pub(super) switchboard: Arc<Switchboard>,
    /// What is still being taken out of the kernel; one for each source of the containers that
    /// went within the last moments.
    resting: Mutex<JoinSet<()>>,
}

impl Shared {
    pub(super) fn new(
        context: Context,
        node: String,
        reporter: Arc<Reporter>,
        switchboard: Arc<Switchboard>,
    ) -> Self {
        Self { context, node, reporter, switchboard, resting: Mutex::default() }
    }

    /// The policy server's words are no more for this container, nor the node's reports of it.
    pub(crate) fn hang_up(&self, id: &str) {
        self.switchboard.hang_up(id);
        self.reporter.unregister(&self.context.namespace, id);
    }

    /// The node's name.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Where a container's rules come from.
    pub(crate) fn origin(&self, id: &str) -> PolicyOrigin {
        self.switchboard.origin(id)
    }

    /// Does what nobody needs to wait for, off this thread.
    pub(crate) fn rest(&self, rests: Vec<Rest>) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        while resting.try_join_next().is_some() {}
        for rest in rests {
            resting.spawn_blocking(rest);
        }
    }

    /// Waits until that is done.
    pub(crate) async fn rested(&self) {
        let mut resting =
            std::mem::take(&mut *self.resting.lock().unwrap_or_else(PoisonError::into_inner));
        while resting.join_next().await.is_some() {}
    }
}
