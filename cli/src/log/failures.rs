//! How `lacre log` goes on where one of several places can't be read.

/// What could not be read: told on standard error, and no reason to show nothing.
#[derive(Debug, Default)]
pub(super) struct Failures(bool);

impl Failures {
    pub(super) const fn any(&self) -> bool {
        self.0
    }

    pub(super) fn note(&mut self, done: anyhow::Result<()>) {
        if let Err(error) = done {
            crate::exit::tell(&error);
            self.0 = true;
        }
    }
}
