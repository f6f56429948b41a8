//! The leave that a container's owner gives: without it no process of the container starts.

/// Leave of a container's owner: made only where its machine permits.
#[derive(Debug)]
pub(crate) struct OwnerLeave(());

impl OwnerLeave {
    /// The machine permits.
    pub(super) const fn given() -> Self {
        Self(())
    }
}
