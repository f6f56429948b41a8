//! Which containers the server knows of, and the policies that it answers with.

use std::collections::BTreeMap;

use lacre_proto::policy::{RegisterRequest, UnregisterRequest};
use lacre_proto::service::PolicyServiceClient;

use super::{Session, SessionError, within};
use crate::deliver::hand_over;
use crate::note::Note;
use crate::policies::StoredPolicy;
use crate::reporter::Container;

/// What the server was told of a container, and had as its version then.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    change: u64,
    server: String,
    answer: String,
}

impl Session<'_> {
    /// Tells the server which containers there are, and keeps the policies it answers with.
    pub(super) async fn register(
        &self,
        service: &PolicyServiceClient,
        server: &str,
        told: &mut BTreeMap<(String, String), Told>,
    ) -> Result<(), SessionError> {
        let wanted = self.shared.containers().clone();
        self.answered.borrow_mut().retain(|key, _| wanted.contains_key(key));
        let gone: Vec<_> = told.keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
        for key in gone {
            let (namespace, id) = key.clone();
            let request = UnregisterRequest { namespace, id, ..UnregisterRequest::default() };
            service
                .unregister(within(), &request)
                .await
                .map_err(SessionError::call("forget a container"))?;
            told.remove(&key);
        }
        for (key, (change, container)) in wanted {
            let current = told.get(&key).is_some_and(|told| {
                told.change == change && (told.server == server || told.answer == server)
            });
            if current {
                continue;
            }
            let request = register_request(&self.shared.config.node, &container);
            let answer = match service
                .register(within(), &request)
                .await
                .map_err(SessionError::call("register a container"))
            {
                Ok(mut answer) => {
                    if let Some(said) = answer.answer.take() {
                        let now = (change, answer.version.clone());
                        let before = self.answered.borrow_mut().insert(key.clone(), now.clone());
                        if before.is_none_or(|before| before != now) {
                            hand_over(self.shared, said);
                        }
                    }
                    let policy =
                        StoredPolicy { version: answer.version, effective: answer.effective };
                    self.keep(&key.0, &key.1, &policy);
                    policy.version
                }
                Err(error) if error.is_refusal() => {
                    self.shared.events.note(Note::Unregistered(container.id.clone(), error));
                    String::new()
                }
                Err(error) => return Err(error),
            };
            told.insert(key, Told { change, server: server.to_owned(), answer });
        }
        Ok(())
    }

    fn keep(&self, namespace: &str, container: &str, policy: &StoredPolicy) {
        let key = (namespace.to_owned(), container.to_owned());
        // Unregistered meanwhile: what is stored for it was removed, and stays so.
        let containers = self.shared.containers();
        if !containers.contains_key(&key) {
            return;
        }
        let stored = policy.store(&self.shared.config.state, namespace, container);
        drop(containers);
        if let Err(error) = stored {
            self.shared.events.note(Note::NotStored(container.to_owned(), error));
        }
        self.shared.events.policy(namespace, container, policy);
    }
}

fn register_request(node: &str, container: &Container) -> RegisterRequest {
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
        ..RegisterRequest::default()
    }
}
