//! Which containers an inner shim has, here and in the run directory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lacre_types::chain;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::Config;
use crate::container::bundle::{note_create, note_deleted};
use crate::container::charter::{Charter, Head};
use crate::container::charters::Charters;
use crate::container::generation::Generation;
use crate::guard::Refusal;
use crate::inner::client::Inner;
use crate::messages::ProcessId;
use crate::node::guard_state::{Container, State};
use crate::node::json_file::FileError;
use crate::node::run_dir::Place;
use crate::ttrpc::Code;

/// The containers of one inner shim, here and in the run directory: what a `delete` must
/// know when this process has been killed.
#[derive(Debug)]
pub struct Containers {
    place: Place,
    held: Mutex<Held>,
    count: watch::Sender<usize>,
    common: Common,
}

/// What the charters of all of them say.
#[derive(Debug)]
pub struct Common {
    /// containerd's namespace.
    pub namespace: String,
    /// containerd's gRPC socket.
    pub containerd: PathBuf,
    /// How they are guarded.
    pub config: Arc<Config>,
}

#[derive(Debug)]
struct Held {
    state: State,
    /// By id: which one has it now; closed once it is created and the guard has prepared it.
    preparing: HashMap<String, (Generation, watch::Receiver<()>)>,
    /// Nobody finds the guard any more: no container comes.
    left: bool,
    /// The place has been cleared: nothing may appear there any more.
    cleared: bool,
}

/// Held while the inner shim creates a container and the guard prepares it, by each; the drop of
/// the last lets a `Start` through to it.
#[derive(Debug, Clone)]
pub(super) struct Preparing(
    #[expect(dead_code, reason = "its drop is the message")] Arc<watch::Sender<()>>,
);

impl Containers {
    /// Keeps `state`, which has no containers yet.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn new(place: Place, state: State, common: Common) -> Result<Self, FileError> {
        place.keep(&state)?;
        let held =
            Mutex::new(Held { state, preparing: HashMap::new(), left: false, cleared: false });
        Ok(Self { place, held, count: watch::Sender::new(0), common })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The containers that there are.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Generation)> {
        let all = &self.held().preparing;
        all.iter().map(|(id, (generation, _))| (id.clone(), generation.clone())).collect()
    }

    /// Which container has that id now.
    #[must_use]
    pub fn generation(&self, id: &str) -> Option<Generation> {
        self.held().preparing.get(id).map(|(generation, _)| generation.clone())
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
    ) -> Result<(Preparing, Charter), Refusal> {
        let earlier = self.held().preparing.get(id).cloned();
        if let Some((earlier, preparing)) = earlier {
            // The inner shim does not know yet whom it creates.
            if preparing.has_changed().is_ok() {
                return Err(already(id));
            }
            // It may have gone without our being told, when the answer to its Delete was
            // lost with a connection.
            match inner.state(&ProcessId::init(id)).await {
                Err(error) if not_found(&error) => self.end(id, &earlier),
                _ => return Err(already(id)),
            }
        }
        let unnoted = |error: &dyn std::error::Error| {
            let message = format!(
                "the container can't be noted down, so that it could not be ended if lacre is \
                 killed: {}",
                chain(error)
            );
            Refusal::new(Code::Internal, &message)
        };
        let generation = Generation::draw().map_err(|error| unnoted(&error))?;
        let Common { namespace, containerd, config } = &self.common;
        let guard = self.place.socket();
        let head = Head::new(generation.clone(), namespace, id, bundle, guard);
        let mut charter = Charter::begin(head, containerd, config);
        let (sender, receiver) = watch::channel(());
        let mut held = self.held();
        if held.left {
            return Err(Refusal::new(Code::Unavailable, "the inner shim has ended"));
        }
        // Another Create of this id may have come while the inner shim was asked.
        if held.preparing.contains_key(id) {
            return Err(already(id));
        }
        held.preparing.insert(id.to_owned(), (generation.clone(), receiver));
        let (noted, bundle) = (Some(generation.clone()), bundle.to_owned());
        charter.listens(held.state.own_inner_sockets());
        let container = Container { id: id.to_owned(), bundle, generation: noted };
        held.state.containers.push(container);
        self.count.send_replace(held.state.containers.len());
        // Who is killed between two of these leaves nothing that nobody finds: a charter goes
        // with who names it, and a name without a charter is of what was never handed on.
        let noted = self.place.keep(&held.state);
        let noted = noted.and_then(|()| Charters::of(&self.place).begin(&charter));
        let noted = noted.and_then(|()| note_create(&charter.head.bundle, &generation));
        if let Err(error) = noted {
            drop(held);
            self.end(id, &generation);
            Charters::of(&self.place).remove(&generation, &self.place);
            return Err(unnoted(&error));
        }
        Ok((Preparing(Arc::new(sender)), charter))
    }

    /// Waits until the guard has prepared a container; at once for one that it does not know.
    pub(super) async fn prepared(&self, id: &str) {
        let preparing = self.held().preparing.get(id).cloned();
        if let Some((_, mut preparing)) = preparing {
            // Nothing is ever sent: the error is that the other end was dropped.
            let _ = preparing.changed().await;
        }
    }

    /// The inner shim has deleted a container, and nothing of it is left.
    pub(super) fn deleted(&self, id: &str, generation: &Generation) {
        let bundle = self.held().state.containers.iter().find_map(|container| {
            (container.generation.as_ref() == Some(generation)).then(|| container.bundle.clone())
        });
        if let Some(bundle) = bundle {
            note_deleted(&bundle, generation);
        }
        self.end(id, generation);
    }

    /// A container is no more: that one, and not who has its id by now.
    pub(crate) fn end(&self, id: &str, generation: &Generation) {
        let mut held = self.held();
        if held.preparing.get(id).is_some_and(|(now, _)| now == generation) {
            held.preparing.remove(id);
        }
        held.state.containers.retain(|container| container.generation.as_ref() != Some(generation));
        self.count.send_replace(held.state.containers.len());
        // The last answers may come after the inner shim's end.
        if !held.left {
            // One too many there is harmless: deleting it once more does nothing.
            let _ = self.place.keep(&held.state);
        }
    }

    /// The inner shim has ended: no container comes any more, and nobody finds the guard by
    /// its socket. What is known of those that there are stays for who ends them.
    pub(crate) fn unlist(&self) {
        self.held().left = true;
        self.place.unlist();
    }

    /// Notes down anew what is known, whatever became of the file; or says why it can't be.
    pub(crate) fn keep(&self) -> Result<(), String> {
        let held = self.held();
        if held.cleared {
            return Err("the guard ends, and has nothing any more".to_owned());
        }
        self.place.keep(&held.state).map_err(|error| chain(&error))
    }

    /// The guard ends, in good order: removes what is in the run directory, for good.
    pub(crate) fn leave(&self) {
        let mut held = self.held();
        (held.left, held.cleared) = (true, true);
        self.place.clear();
    }
}

fn already(id: &str) -> Refusal {
    Refusal::new(Code::AlreadyExists, &format!("there is a container {id} already"))
}

fn not_found(error: &crate::inner::client::InnerCallError) -> bool {
    use crate::inner::client::InnerCallError::Call;
    matches!(error, Call(call) if call.status().is_some_and(|s| s.code == Code::NotFound as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::process::Process;

    fn containers(dir: &Path) -> (Place, Containers, Inner) {
        let place = Place::at(dir.join("s/0a"));
        for folder in ["s", "containers"] {
            std::fs::create_dir(dir.join(folder)).unwrap();
        }
        let guard = Process::own().unwrap();
        let state = State {
            guard,
            inner: None,
            inner_is_others: false,
            terms: None,
            inner_sockets: vec![],
            containers: vec![],
        };
        let common =
            Common { namespace: "n".into(), containerd: "/c".into(), config: Arc::default() };
        let containers = Containers::new(place.clone(), state, common).unwrap();
        (place, containers, Inner::new(dir.join("inner"), 2, "namespace"))
    }

    #[tokio::test]
    async fn what_comes_after_the_end_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (place, containers, inner) = containers(dir.path());
        let (_, charter) = containers.begin(&inner, "one", dir.path()).await.unwrap();
        assert_eq!(place.noted().state().unwrap().containers.clone().len(), 1);
        containers.leave();
        containers.end("one", &charter.head.generation);
        let refusal = containers.begin(&inner, "two", dir.path()).await.unwrap_err();
        assert_eq!(refusal.into_status().code, Code::Unavailable as u32);
        assert!(place.noted().state().is_none());
    }

    /// As where the end of the first is told late.
    #[tokio::test]
    async fn who_has_an_id_again_is_not_ended_by_the_end_of_who_had_it() {
        let dir = tempfile::tempdir().unwrap();
        let (place, containers, inner) = containers(dir.path());
        let (_, first) = containers.begin(&inner, "one", dir.path()).await.unwrap();
        let first = first.head.generation;
        containers.end("one", &first);
        let (_, second) = containers.begin(&inner, "one", dir.path()).await.unwrap();
        let second = second.head.generation;
        assert_ne!(first, second);
        containers.end("one", &first);
        assert_eq!(containers.generation("one"), Some(second.clone()));
        let listed = place.noted().state().unwrap().containers.clone();
        assert_eq!(listed[0].generation, Some(second.clone()));
        assert_eq!(crate::container::bundle::generation(dir.path()), Some(second.clone()));
        assert_eq!(Charters::of(&place).read(&second).unwrap().unwrap().head.id, "one");
    }

    #[tokio::test]
    async fn a_container_that_cannot_be_noted_down_is_not_created() {
        let dir = tempfile::tempdir().unwrap();
        let (place, containers, inner) = containers(dir.path());
        let nowhere = dir.path().join("no bundle");
        assert!(containers.begin(&inner, "one", &nowhere).await.is_err());
        assert_eq!(place.noted().state().unwrap().containers.clone(), []);
        assert_eq!(std::fs::read_dir(Charters::of(&place).folder()).unwrap().count(), 0);
        std::fs::remove_dir(Charters::of(&place).folder()).unwrap();
        assert!(containers.begin(&inner, "one", dir.path()).await.is_err());
        assert!(crate::container::bundle::never_created(dir.path()));
    }
}
