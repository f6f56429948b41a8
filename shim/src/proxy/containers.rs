use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lacre_types::chain;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::bundle::note_create;
use crate::guard::Refusal;
use crate::messages::ProcessId;
use crate::rundir::{Container, Place, RunDirError, State};
use crate::task::Inner;
use crate::ttrpc::Code;

/// The containers of one inner shim, here and in the run directory: what a `delete` must
/// know when this process has been killed.
#[derive(Debug)]
pub struct Containers {
    place: Place,
    held: Mutex<Held>,
    count: watch::Sender<usize>,
}

#[derive(Debug)]
struct Held {
    state: State,
    /// By id; closed once the guard has prepared the container.
    preparing: HashMap<String, watch::Receiver<()>>,
    /// The place has been cleared: nothing may appear there any more.
    left: bool,
}

/// Held while the guard prepares a container; dropping it lets a `Start` through to it.
#[derive(Debug)]
pub(super) struct Preparing(
    #[expect(dead_code, reason = "its drop is the message")] watch::Sender<()>,
);

impl Containers {
    /// Keeps `state`, which has no containers yet.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn new(place: Place, state: State) -> Result<Self, RunDirError> {
        place.keep(&state)?;
        let held = Mutex::new(Held { state, preparing: HashMap::new(), left: false });
        Ok(Self { place, held, count: watch::Sender::new(0) })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The containers that there are.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.held().state.containers.iter().map(|container| container.id.clone()).collect()
    }

    /// Returns when there has been no container for so long.
    pub(crate) async fn none_for(&self, span: Duration) {
        let mut count = self.count.subscribe();
        loop {
            // The sender is ours: it does not go while this runs.
            let _ = count.wait_for(|count| *count == 0).await;
            if timeout(span, count.wait_for(|count| *count > 0)).await.is_err() {
                return;
            }
        }
    }

    /// A container is about to be created.
    pub(super) async fn begin(
        &self,
        inner: &Inner,
        id: &str,
        bundle: &Path,
    ) -> Result<Preparing, Refusal> {
        if self.held().preparing.contains_key(id) {
            // It may have gone without our being told, when the answer to its Delete was
            // lost with a connection.
            match inner.state(&ProcessId::init(id)).await {
                Err(error) if not_found(&error) => self.end(id),
                _ => {
                    let message = format!("there is a container {id} already");
                    return Err(Refusal::new(Code::AlreadyExists, &message));
                }
            }
        }
        let (sender, receiver) = watch::channel(());
        let mut held = self.held();
        if held.left {
            return Err(Refusal::new(Code::Unavailable, "the inner shim has ended"));
        }
        held.preparing.insert(id.to_owned(), receiver);
        held.state.containers.push(Container { id: id.to_owned(), bundle: bundle.to_owned() });
        self.count.send_replace(held.state.containers.len());
        let noted = self.place.keep(&held.state).and_then(|()| note_create(bundle));
        if let Err(error) = noted {
            drop(held);
            self.end(id);
            let message = format!(
                "the container can't be noted down, so that it could not be ended if lacre is \
                 killed: {}",
                chain(&error)
            );
            return Err(Refusal::new(Code::Internal, &message));
        }
        Ok(Preparing(sender))
    }

    /// Waits until the guard has prepared a container; at once for one that it does not know.
    pub(super) async fn prepared(&self, id: &str) {
        let preparing = self.held().preparing.get(id).cloned();
        if let Some(mut preparing) = preparing {
            // Nothing is ever sent: the error is that the other end was dropped.
            let _ = preparing.changed().await;
        }
    }

    /// A container is no more.
    pub(crate) fn end(&self, id: &str) {
        let mut held = self.held();
        held.preparing.remove(id);
        held.state.containers.retain(|container| container.id != id);
        self.count.send_replace(held.state.containers.len());
        // The last answers may come after the inner shim's end.
        if !held.left {
            // One too many there is harmless: deleting it once more does nothing.
            let _ = self.place.keep(&held.state);
        }
    }

    /// The inner shim has ended: removes what is in the run directory, for good.
    pub(crate) fn leave(&self) {
        let mut held = self.held();
        held.left = true;
        self.place.clear();
    }
}

fn not_found(error: &crate::task::InnerCallError) -> bool {
    use crate::task::InnerCallError::Call;
    matches!(error, Call(call) if call.status().is_some_and(|s| s.code == Code::NotFound as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    #[tokio::test]
    async fn what_comes_after_the_end_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path().join("0a"));
        let guard = Process::own().unwrap();
        let state = State { guard, inner: None, inner_sockets: vec![], containers: vec![] };
        let containers = Containers::new(place.clone(), state).unwrap();
        let inner = Inner::new(dir.path().join("inner"), 2, "namespace");
        drop(containers.begin(&inner, "one", dir.path()).await.unwrap());
        assert_eq!(place.state().unwrap().unwrap().containers.len(), 1);
        containers.leave();
        containers.end("one");
        let refusal = containers.begin(&inner, "two", dir.path()).await.unwrap_err();
        assert_eq!(refusal.into_status().code, Code::Unavailable as u32);
        assert_eq!(place.state().unwrap(), None);
    }
}
