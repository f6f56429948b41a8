//! Which containers the server knows of, and the policies that it answers with.

use std::collections::BTreeMap;
use std::sync::Arc;

use lacre_proto::policy::{RegisterRequest, UnregisterRequest};
use lacre_proto::service::PolicyServiceClient;
use lacre_proto::{CallError, within};

use crate::delivery::hand_over;
use crate::log_note::Note;
use crate::policies::StoredPolicy;
use crate::reporter_state::{Registered, Shared};
use crate::session_error::SessionError;

/// What the server was told of a container, and had as its version then.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    change: u64,
    server: String,
    answer: String,
}

/// What the server was told, on this connection.
#[derive(Debug, Default)]
pub(crate) struct Registrations(BTreeMap<(String, String), Told>);

impl Registrations {
    /// Tells the server which containers there are, and keeps the policies it answers with.
    pub(crate) async fn renew(
        &mut self,
        shared: &Shared,
        service: &PolicyServiceClient,
        server: &str,
    ) -> Result<(), SessionError> {
        let Self(told) = self;
        let wanted = shared.containers().clone();
        let gone: Vec<_> = told.keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
        for key in gone {
            let (namespace, id) = key.clone();
            let request = UnregisterRequest { namespace, id, ..UnregisterRequest::default() };
            service
                .unregister(within(), &request)
                .await
                .map_err(CallError::call("forget a container"))?;
            told.remove(&key);
        }
        for (key, wanted) in wanted {
            let (change, container) = (wanted.change, &wanted.container);
            let current = told.get(&key).is_some_and(|told| {
                told.change == change && (told.server == server || told.answer == server)
            });
            if current {
                continue;
            }
            let request = register_request(&shared.config.node, &wanted);
            let answer = match service
                .register(within(), &request)
                .await
                .map_err(CallError::call("register a container"))
            {
                Ok(mut answer) => {
                    if let Some(said) = answer.answer.take() {
                        hand_over(shared, said);
                    }
                    for held in std::mem::take(&mut answer.held) {
                        if shared.is_news(Some(&key.0), &key.1, held.order) {
                            shared.events.held(&key.1, &held.into());
                        }
                    }
                    if let Some(known) = shared.containers().get_mut(&key) {
                        known.version.clone_from(&answer.version);
                    }
                    let policy =
                        StoredPolicy { version: answer.version, effective: answer.effective };
                    // Else what it has stays.
                    if !policy.effective.is_empty() {
                        keep(shared, &key.0, &key.1, &policy);
                    }
                    policy.version
                }
                Err(error) if error.is_refusal() => {
                    shared.events.note(Note::Unregistered(container.id.clone(), error.into()));
                    String::new()
                }
                Err(error) => return Err(error.into()),
            };
            told.insert(key, Told { change, server: server.to_owned(), answer });
        }
        Ok(())
    }
}

/// It holds from now on; that it is stored is for the next start. The disk's thread does
/// what comes after one another, so that what is forgotten meanwhile stays so.
fn keep(shared: &Shared, namespace: &str, container: &str, policy: &StoredPolicy) {
    let key = (namespace.to_owned(), container.to_owned());
    let containers = shared.containers();
    let Some(known) = containers.get(&key) else { return };
    let generation = known.container.generation.clone();
    let (state, events) = (shared.config.state.clone(), Arc::clone(&shared.events));
    let (stored, (_, id)) = (policy.clone(), key);
    let queued = shared.intake.job(Box::new(move |_| {
        if let Err(error) = stored.store(&state, &generation) {
            events.note(Note::NotStored(id, error));
        }
    }));
    drop(containers);
    if !queued {
        let error = std::io::Error::other("the disk has too much to do");
        shared.events.note(Note::NotStored(container.to_owned(), error));
    }
    shared.events.policy(namespace, container, policy);
}

fn register_request(node: &str, registered: &Registered) -> RegisterRequest {
    let Registered { container, version, own, .. } = registered;
    // Once there is one of the server's, that holds.
    let own = if version.split('+').next() == Some("") { own.to_vec() } else { Vec::new() };
    let about = lacre_proto::policy::Container {
        id: container.id.clone(),
        image_digests: container.image_digests.clone(),
        image_name: container.image_name.clone(),
        namespace: container.namespace.clone(),
        pod_namespace: container.pod_namespace.clone().unwrap_or_default(),
        labels: container.labels.clone().into_iter().collect(),
        annotations: container.annotations.clone().into_iter().collect(),
        ..Default::default()
    };
    RegisterRequest {
        container: Some(about).into(),
        node: node.to_owned(),
        pod: container.pod.clone().unwrap_or_default(),
        version: version.clone(),
        own,
        generation: container.generation.clone(),
        ..RegisterRequest::default()
    }
}
