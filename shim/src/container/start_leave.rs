/// The leave of a container's owner to start: only a machine that says so makes one.
#[derive(Debug)]
pub(crate) struct Leave(());

impl Leave {
    /// Of the owner's, when its machine permits.
    pub(super) const fn given() -> Self {
        Self(())
    }
}
