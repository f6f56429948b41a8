//! Leave to start a process: what a `Start` that is forwarded takes.

use super::exempt::Exempt;
use crate::container::owner_leave::OwnerLeave;
use crate::messages::ProcessId;

/// Leave to start one process. The wrapper's only way to forward a `Start` takes one, and it
/// is made of nothing but an exemption or the leave of the container's owner.
#[derive(Debug)]
#[must_use = "a permit that is dropped starts nothing"]
pub struct Permit {
    process: ProcessId,
}

impl Permit {
    /// Without a guard, for what the node's configuration exempts.
    pub(super) fn exempt(_: &Exempt, process: ProcessId) -> Self {
        Self { process }
    }

    /// Of a container whose owner gives leave.
    pub(crate) fn given(_: OwnerLeave, process: ProcessId) -> Self {
        Self { process }
    }

    /// What may be started.
    #[must_use]
    pub const fn process(&self) -> &ProcessId {
        &self.process
    }
}
