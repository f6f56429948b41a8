//! `container-ima`: the container's own measurement list, kept by a kernel with
//! `CONFIG_IMA_CONTAINER` (`kernel/INTERFACE.md`) and anchored in the TPM.
//!
//! It is evidence, and sees only after the fact: what a line tells of has run. What is
//! measured is the IMA policy's choice; one of `BPRM_CHECK` and `MMAP_CHECK` measures what
//! baselines list, while `FILE_CHECK` tells of data too, which no baseline has.
//!
//! The list is made before Start, so that its first line is the entrypoint, and followed
//! with poll. Each line is judged once: the descriptor keeps the place, for as long as the
//! container lives.

mod final_list;
mod follow;
mod kernel;
mod secret;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacre_types::Source;

use crate::reader_thread::{GRACE, Reader};
use crate::{Armed, Judge, Known, Rest, SourceError, Target, ima};
use final_list::Parting;
use follow::Watch;
use kernel::{Containers, List, failed};
use secret::SecretFile;

pub use kernel::list_id;

/// Where the kernel shows the lists.
const FOLDER: &str = "/sys/kernel/security/ima/containers";

/// How `container-ima` works on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the kernel shows the lists.
    pub folder: PathBuf,
    /// Where the containers' secrets are kept, for whoever verifies them: root's alone.
    pub secrets: PathBuf,
    /// Where a list is written down when its container ends, if the node's agent has made
    /// that folder ([`lacre_attest::container::final_list`]).
    pub ended: PathBuf,
    /// The container's image, which is told with its list. Empty: none is known.
    pub image: String,
}

impl Options {
    /// As the kernel has it, with the secrets below `state`, and what the agent reads below
    /// `run`.
    #[must_use]
    pub fn below(state: &Path, run: &Path, image: &str) -> Self {
        Self {
            folder: FOLDER.into(),
            secrets: state.join("secrets"),
            ended: ended(run),
            image: image.to_owned(),
        }
    }
}

fn ended(run: &Path) -> PathBuf {
    run.join("evidence").join(lacre_attest::container::final_list::FOLDER)
}

/// `container-ima` at work on one container.
#[derive(Debug)]
pub struct ContainerImaArmed {
    /// Dropping it ends it once it has read the list to its end.
    reader: Option<Reader>,
    containers: Containers,
    id: String,
    _secret: SecretFile,
    parting: Option<Parting>,
    remark: Option<String>,
}

/// Whether this node's kernel keeps lists of containers, below `folder`, and measures something.
///
/// # Errors
/// What is missing, and how to have it.
pub fn offered(folder: &Path) -> Result<(), SourceError> {
    offering(folder).map(drop)
}

fn offering(folder: &Path) -> Result<Containers, SourceError> {
    let containers = Containers::at(folder)?;
    // Without a policy every container's list stays empty, as if all that it ran were allowed.
    ima::list::measures(Source::ContainerIma, containers.host_lines())?;
    Ok(containers)
}

/// Makes the container's list, and follows it. Its init waits to be started.
///
/// # Errors
/// When the kernel keeps no such lists, or measures nothing; when a call fails.
pub fn arm(
    target: &Target,
    judge: Arc<dyn Judge>,
    options: &Options,
) -> Result<ContainerImaArmed, SourceError> {
    let containers = offering(&options.folder)?;
    let id = list_id(&target.container).map_err(|why| {
        failed(
            "naming the container's list".to_owned(),
            io::Error::new(io::ErrorKind::InvalidInput, why),
        )
    })?;
    let keeping =
        |why| failed(format!("keeping the secret of {id} in {}", options.secrets.display()), why);
    // Before there is a list: one whose secret nobody has can't be verified.
    let mut secret = SecretFile::make(&options.secrets, &id).map_err(keeping)?;
    let earlier = secret.earlier();
    let list = containers.create(&id, target.init_pid, secret.secret(), &earlier)?;
    let watch = Watch { judge, known: Arc::clone(&target.known), list, grace: GRACE, told: false };
    let reader = secret.keep().map_err(keeping).and_then(|()| {
        Reader::start("container-ima", move |woken| watch.run(&woken))
            .map_err(|why| failed("starting the reader of the list".to_owned(), why))
    });
    let reader = match reader {
        Ok(reader) => Some(reader),
        Err(error) => {
            containers.release(&id);
            return Err(error);
        }
    };
    let Options { ended, image, .. } = options;
    let (parting, remark) = match Parting::begin(&containers, &id, ended, image, secret.secret()) {
        Ok(parting) => (Some(parting), None),
        Err(why) => {
            let folder = ended.display();
            (
                None,
                Some(format!(
                    "the list can't be shown once the container has ended: {folder}: {why}"
                )),
            )
        }
    };
    Ok(ContainerImaArmed { reader, containers, id, _secret: secret, parting, remark })
}

/// A container's list that a shim which died has left.
#[derive(Debug)]
pub struct Left {
    containers: Containers,
    id: String,
    list: List,
    parting: Option<Parting>,
}

impl Left {
    /// The list of that container, with what the agent reads below `run`. `None`: there is
    /// none.
    #[must_use]
    pub fn of(container: &str, run: &Path) -> Option<Self> {
        let containers = Containers::at(FOLDER.as_ref()).ok()?;
        let id = list_id(container).ok()?;
        let list = containers.list(&id).ok()?;
        let parting = Parting::left(&containers, &id, &ended(run));
        Some(Self { containers, id, list, parting })
    }

    /// Lets go of it, and has it written down: the kernel frees it with the container's last
    /// task. Its secret stays until a container of that name comes again.
    pub fn release(self) {
        self.let_go();
    }

    /// The same; then tells of each line, from the first.
    pub fn settle(self, known: Arc<dyn Known>, judge: Arc<dyn Judge>) -> io::Result<()> {
        let list = self.let_go();
        list.wait_for_end(GRACE)?;
        let watch = Watch { judge, known, list, grace: GRACE, told: false };
        // Nobody waits for more: it reads to the end.
        let (woken, _) = io::pipe()?;
        watch.run(&woken);
        Ok(())
    }

    fn let_go(self) -> List {
        self.containers.release(&self.id);
        if let Some(parting) = self.parting {
            parting.end();
        }
        self.list
    }
}

impl Armed for ContainerImaArmed {
    fn source(&self) -> Source {
        Source::ContainerIma
    }

    fn disarm(mut self: Box<Self>) -> Option<Rest> {
        let parting = self.parting.take();
        drop(self);
        parting.map(|parting| Box::new(|| parting.end()) as Rest)
    }

    fn remark(&self) -> Option<String> {
        self.remark.clone()
    }
}

impl Drop for ContainerImaArmed {
    fn drop(&mut self) {
        self.reader = None;
        self.containers.release(&self.id);
        if let Some(parting) = self.parting.take() {
            parting.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_measures_nothing_is_told_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("containers");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("control"), "").unwrap();
        let containers = Containers::at(&folder).unwrap();
        let measures = |count: &str| {
            std::fs::write(dir.path().join("runtime_measurements_count"), count).unwrap();
            ima::list::measures(Source::ContainerIma, containers.host_lines())
        };
        let error = measures("1\n").unwrap_err().to_string();
        assert!(error.contains("container-ima") && error.contains("policy"), "{error}");
        assert!(measures("none").is_err());
        assert!(measures("2\n").is_ok());
    }
}
