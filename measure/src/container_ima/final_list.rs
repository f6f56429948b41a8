use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use lacre_attest::container::Secret;
use lacre_attest::container::final_list;
use lacre_attest::container::shim_list::About;

use super::kernel::{Containers, Info, List};
use crate::reader_thread::GRACE;

/// A list that is written down for the node's agent when the kernel is about to free it.
#[derive(Debug)]
pub(super) struct Parting {
    list: List,
    seq: u64,
    folder: PathBuf,
    /// What the agent has not been told, since there was none.
    untold: Option<About>,
}

impl Parting {
    /// Tells the agent of a list that begins, if there is one.
    pub(super) fn begin(
        containers: &Containers,
        id: &str,
        folder: &Path,
        image: &str,
        secret: &Secret,
    ) -> io::Result<Self> {
        let (list, Info { seq, .. }) = containers.anchored(id)?;
        let image = (!image.is_empty()).then(|| image.to_owned());
        let untold = Some(About { id: id.to_owned(), image, secret: secret.clone() });
        let mut parting = Self { list, seq, folder: folder.to_owned(), untold };
        parting.tell()?;
        Ok(parting)
    }

    /// One that a shim which died has begun.
    pub(super) fn left(containers: &Containers, id: &str, folder: &Path) -> Option<Self> {
        let (list, Info { seq, .. }) = containers.anchored(id).ok()?;
        let begun = final_list::is_begun(folder, seq);
        begun.then(|| Self { list, seq, folder: folder.to_owned(), untold: None })
    }

    fn tell(&mut self) -> io::Result<()> {
        if self.folder.is_dir()
            && let Some(about) = self.untold.take()
        {
            final_list::begin(&self.folder, self.seq, &about)?;
        }
        Ok(())
    }

    /// Writes it down. Nobody of us keeps it any longer, and so it is final once the
    /// container's last task is gone; one that stays leaves it with the kernel.
    pub(super) fn end(mut self) {
        // What can't be written down is missed by whoever verifies, once.
        let _ = self.tell();
        if self.untold.is_none() && self.list.wait_for_end(GRACE).unwrap_or(false) {
            let _ = final_list::end(&self.folder, self.seq, File::from(self.list));
        }
    }
}
