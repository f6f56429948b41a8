//! Who a container is: each fact with who said it.
//!
//! `docs/policy.md` has the table of which rule takes which witness; [`lacre_policy::Facts`]
//! is the only way from a fact to a rule.

mod docker_api;
mod docker_store;
mod image;
mod inquiry;
mod pod;
mod rootfs;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use lacre_executor::Manager;
use lacre_policy::{Effective, Fact, Facts, Policy, Use, Witness};
use lacre_report::Origin;
use lacre_types::Mode;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::container::generation::Generation;
use crate::container::spec::Spec;
use pod::Request;

pub(crate) use image::Beneath;
pub(crate) use pod::Pod;
pub(crate) use rootfs::RootFs;

/// For all that is asked about one container. A daemon that is slower leaves facts unknown.
const DEADLINE: Duration = Duration::from_secs(10);

/// An annotation on the container, which may only tighten what the node says.
const MODE: &str = "lacre.dev/mode";

/// The containerd namespace of Docker, where nobody changed it; with `userns-remap`, UID and
/// GID follow behind a hyphen.
const DOCKER: &str = "moby";
/// A container, as the policy and the records tell it from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    facts: Facts,
    pod: Option<Pod>,
    /// The container's name, where it has one besides its id.
    name: Option<String>,
    /// Who brings it back after it has ended.
    manager: Manager,
    /// What could not be learnt, and why.
    unknown: Vec<String>,
    /// Whether a daemon that should have told did not answer.
    unanswered: bool,
    /// What its root was made from, as far as that came to be known.
    #[serde(skip)]
    beneath: Beneath,
}

/// Where to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// containerd's socket.
    pub(crate) containerd: &'a Path,
    pub(crate) config: &'a Config,
}

impl Identity {
    /// Who the container is, from the bundle, from containerd, and from Docker. It always
    /// answers; what is not known is [`Self::unknown_facts`], and loosens nothing.
    pub(crate) async fn resolve(
        sources: Sources<'_>,
        namespace: &str,
        id: &str,
        bundle: &Path,
    ) -> Self {
        let mut identity = Self::named(namespace, id);
        let asking = identity.ask(sources, bundle);
        if tokio::time::timeout(DEADLINE, asking).await.is_err() {
            identity.unanswered = true;
            identity.unknown.push(format!("no answer within {DEADLINE:?}"));
        }
        identity
    }

    /// One of which nothing but the name is known.
    pub(crate) fn unknown(namespace: &str, id: &str, why: &str) -> Self {
        let mut identity = Self::named(namespace, id);
        identity.unanswered = true;
        identity.unknown.push(why.to_owned());
        identity
    }

    fn named(namespace: &str, id: &str) -> Self {
        let facts =
            Facts { container_id: user(id), namespace: user(namespace), ..Facts::default() };
        let manager = if is_dockers(namespace) { Manager::Docker } else { Manager::Containerd };
        let unknown = Vec::new();
        let beneath = Beneath::default();
        Self { facts, pod: None, name: None, manager, unknown, unanswered: false, beneath }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        &self.facts.container_id.value
    }

    /// containerd's namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.facts.namespace.value
    }

    /// Who brings it back after it has ended.
    pub(crate) const fn manager(&self) -> Manager {
        self.manager
    }

    /// What its root was made from, as far as that is known.
    pub(crate) const fn beneath(&self) -> &Beneath {
        &self.beneath
    }

    /// What could not be learnt, for a person; `None` when nothing is missing.
    pub(crate) fn unknown_facts(&self) -> Option<String> {
        (!self.unknown.is_empty()).then(|| self.unknown.join("; "))
    }

    /// Whether the daemon that should have told who it is did not answer: then nobody knows
    /// which rules there are for it.
    pub(crate) const fn unanswered(&self) -> bool {
        self.unanswered
    }

    /// The part of a policy that is about this container.
    pub(crate) fn effective(&self, policy: &Policy) -> Effective {
        self.facts.effective(policy)
    }

    /// Where its records come from.
    pub(crate) fn origin(&self, node: &str) -> Origin {
        let image = self.facts.image_digests.first();
        let name = self.facts.image_name.as_ref();
        Origin {
            container_id: self.id().to_owned(),
            namespace: self.namespace().to_owned(),
            image_name: name.map(|name| name.value.clone()).unwrap_or_default(),
            image_id: image.map(|digest| digest.value.to_string()).unwrap_or_default(),
            node: node.to_owned(),
            pod: self.pod.as_ref().map(|pod| pod.sandbox.clone()),
            pod_name: self.pod.as_ref().and_then(|pod| pod.name.clone()),
            pod_namespace: self.pod.as_ref().and_then(|pod| pod.namespace.clone()),
            container_name: self.name.clone(),
            unknown: self.unknown_facts(),
        }
    }

    /// What a policy server is told: nothing that its rules may not use.
    pub(crate) fn registration(&self, generation: &Generation) -> lacre_report::Container {
        let admitted = self.facts.admitted();
        let known = admitted.subject();
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        lacre_report::Container {
            id: self.id().to_owned(),
            namespace: self.namespace().to_owned(),
            generation: generation.to_string(),
            image_digests: known.image_digests.iter().map(ToString::to_string).collect(),
            image_name: known.image_name.unwrap_or_default().to_owned(),
            labels: map(known.labels),
            annotations: map(known.annotations),
            pod: self.pod.as_ref().map(|pod| pod.sandbox.clone()),
            pod_namespace: self.pod.as_ref().and_then(|pod| pod.namespace.clone()),
        }
    }

    /// The mode that the container asks for, if that is stricter than `mode`. Who asks for none
    /// that there is wants another than the node's, and there is but one to be had.
    pub(crate) fn tightened(&self, mode: Mode) -> Mode {
        let asked = self.facts.annotations.get(MODE).and_then(|fact| fact.for_use(Use::Mode));
        asked.map_or(mode, |word| word.parse().unwrap_or(Mode::Enforce).max(mode))
    }
}

/// What reads bytes from outside, for the fuzzer.
pub(crate) fn fuzz(data: &[u8]) {
    let _ = Spec::parse(data);
    let _ = Request::parse(data);
    let _ = docker_api::body(data);
}

fn is_dockers(namespace: &str) -> bool {
    namespace.strip_prefix(DOCKER).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn user(text: &str) -> Fact<String> {
    Fact::new(text.to_owned(), Witness::User)
}
