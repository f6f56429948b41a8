//! Leave to start a process, as a container's owner gives it.

/// The leave of a container's owner to start: only a machine that says so makes one.
#[derive(Debug)]
pub(crate) struct StartLeave(());

impl StartLeave {
    /// Of the owner's, when its machine permits.
    pub(super) const fn given() -> Self {
        Self(())
    }
}
