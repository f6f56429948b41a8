//! Anchors the lists that shims keep, where the kernel keeps none: what they append is
//! extended to a PCR, in batches, by one thread of this agent. No shim waits for it.

use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lacre_attest::container::final_list;
use lacre_types::chain;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use slog::{Logger, warn};

use crate::node::{Node, NodeError};
use crate::shim_lists::ShimListsError;
pub use crate::shim_lists::Shims;

/// How long events gather before they are extended: one batch, whatever its size.
const GATHER: Duration = Duration::from_millis(100);

/// How long until a TPM that failed is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Why lists are not anchored.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The lists.
    #[error(transparent)]
    Lists(#[from] ShimListsError),
    /// The TPM.
    #[error("what shims keep waits for the TPM")]
    Node(#[source] NodeError),
}

/// Anchors all that is new. The TPM is not asked when nothing is.
fn anchor(shims: &Shims, node: &Node) -> Result<(), AnchorError> {
    if shims.has_news()? {
        node.with_tpm(|tpm| shims.anchor(tpm)).map_err(AnchorError::Node)??;
    }
    Ok(())
}

/// Anchors what shims append, for ever, on a thread of its own.
///
/// # Errors
/// When the folder can't be watched, or there is no thread.
pub fn follow(shims: Arc<Shims>, node: Arc<Node>, log: Logger) -> Result<(), AnchorError> {
    let folder = shims.folder().to_owned();
    let failed = |error| AnchorError::from(ShimListsError::Folder(folder.clone(), error));
    let inotify = inotify::init(CreateFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let watch = |folder: &Path, flags| {
        inotify::add_watch(&inotify, folder, flags).map_err(|errno| failed(errno.into()))
    };
    watch(&folder, WatchFlags::MODIFY | WatchFlags::MOVED_TO)?;
    watch(&folder.join(final_list::FOLDER), WatchFlags::MOVED_TO)?;
    let body = move || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut told = String::new();
        loop {
            shims.tidy();
            node.tidy();
            // What the journal itself writes wakes this, too: then there is nothing new.
            while let Err(error) = anchor(&shims, &node) {
                let says = chain(&error);
                if told != says {
                    warn!(log, "lists of shims are not anchored; trying again"; "error" => &says);
                    told = says;
                }
                std::thread::sleep(RETRY);
            }
            told.clear();
            let mut reader = Reader::new(&inotify, &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) if is_news(event.file_name()) => break,
                    Ok(_) => {}
                    Err(rustix::io::Errno::INTR) => {}
                    Err(errno) => {
                        warn!(log, "lists of shims are anchored only when evidence is asked for";
                            "error" => %errno);
                        return;
                    }
                }
            }
            std::thread::sleep(GATHER);
        }
    };
    std::thread::Builder::new().name("anchor".to_owned()).spawn(body).map(drop).map_err(failed)
}

/// Whether a change of that file may be an event; one without a name says that the kernel
/// lost count.
fn is_news(name: Option<&std::ffi::CStr>) -> bool {
    name.is_none_or(|name| {
        let name = name.to_bytes();
        name.ends_with(b".events") || name.ends_with(b".json")
    })
}
