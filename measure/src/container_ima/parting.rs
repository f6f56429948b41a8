use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use lacre_attest::container::Secret;
use lacre_attest::container::ended;
use lacre_attest::container::kept::About;

use super::kernel::{Containers, Info, List};
use crate::reader::GRACE;

/// A list that is written down for the node's agent when the kernel is about to free it.
#[derive(Debug)]
pub(super) struct Parting {
    list: List,
    seq: u64,
    folder: PathBuf,
}

impl Parting {
    /// Tells the agent of a list that begins. `None`: there is no agent.
    pub(super) fn begin(
        containers: &Containers,
        id: &str,
        folder: &Path,
        image: &str,
        secret: &Secret,
    ) -> io::Result<Option<Self>> {
        if !folder.is_dir() {
            return Ok(None);
        }
        let (list, Info { seq, .. }) = containers.anchored(id)?;
        let image = (!image.is_empty()).then(|| image.to_owned());
        let about = About { id: id.to_owned(), image, secret: secret.clone() };
        ended::begin(folder, seq, &about)?;
        Ok(Some(Self { list, seq, folder: folder.to_owned() }))
    }

    /// One that a shim which died has begun.
    pub(super) fn left(containers: &Containers, id: &str, folder: &Path) -> Option<Self> {
        let (list, Info { seq, .. }) = containers.anchored(id).ok()?;
        let begun = ended::is_begun(folder, seq);
        begun.then(|| Self { list, seq, folder: folder.to_owned() })
    }

    /// Writes it down. Nobody of us keeps it any longer, and so it is final once the
    /// container's last task is gone; one that stays leaves it with the kernel.
    pub(super) fn end(self) {
        if self.list.wait_for_end(GRACE).unwrap_or(false) {
            // What can't be written down is missed by whoever verifies, once.
            let _ = ended::end(&self.folder, self.seq, File::from(self.list));
        }
    }
}
