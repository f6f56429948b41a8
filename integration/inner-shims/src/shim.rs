//! What containerd calls on the command line: `start` and `delete`.

use std::env;
use std::path::Path;
use std::sync::Arc;

use containerd_shim::{
    Config, DeleteResponse, Error, ExitSignal, Flags, Result, Shim, StartOpts, publisher, spawn,
};

use crate::fault::Fault;
use crate::runc::Runc;
use crate::task::{Exit, Tasks, unmount};

fn refusal(message: String) -> Error {
    Error::Other(message)
}

/// `start`: leaves a server behind, and says where it listens. As a lie, where nobody does.
///
/// # Errors
/// When it does not come up, or is told to fail.
pub fn started(options: StartOpts) -> Result<String> {
    let nowhere = || "unix:///run/containerd/s/nobody".to_owned();
    Fault::around("start", refusal, nowhere, || {
        let grouping = options.id.clone();
        spawn(options, &grouping, Vec::new()).map(|(_, address)| address)
    })
}

/// `delete`: takes out what a server that died has left.
///
/// # Errors
/// When something can't be taken out, or is told to fail.
pub fn removed(namespace: &str, id: &str, bundle: &Path) -> Result<DeleteResponse> {
    let answer = || DeleteResponse { exit_status: 137, ..Default::default() };
    Fault::around("delete", refusal, answer, || {
        Runc::of(namespace)
            .run(["delete", "--force", id])
            .and_then(|_| unmount(bundle))
            .map_err(|error| Error::Other(error.to_string()))?;
        Ok(answer())
    })
}

/// The shim, as containerd's crate wants it.
pub struct FaultyShim {
    namespace: String,
    id: String,
    exit: Arc<ExitSignal>,
}

impl std::fmt::Debug for FaultyShim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyShim").field("id", &self.id).finish_non_exhaustive()
    }
}

impl FaultyShim {
    /// What serves the tasks.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        let exit = Arc::clone(&self.exit);
        Tasks::new(&self.namespace, Exit(Box::new(move || exit.signal())))
    }
}

impl Shim for FaultyShim {
    type T = Tasks;

    fn new(_: &str, flags: &Flags, _: &mut Config) -> Self {
        let (namespace, id) = (flags.namespace.clone(), flags.id.clone());
        Self { namespace, id, exit: Arc::default() }
    }

    fn start_shim(&mut self, options: StartOpts) -> Result<String> {
        started(options)
    }

    fn delete_shim(&mut self) -> Result<DeleteResponse> {
        let bundle = env::current_dir().map_err(|error| Error::Other(error.to_string()))?;
        removed(&self.namespace, &self.id, &bundle)
    }

    fn wait(&mut self) {
        self.exit.wait();
    }

    fn create_task_service(&self, _: publisher::RemotePublisher) -> Tasks {
        self.tasks()
    }
}
