//! The containers that are registered, on all connections.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lacre_policy::{Effective, Policy, Subject};
use lacre_proto::policy::{Container, RegisterRequest};
use lacre_types::Digest;

use crate::orders::Target;

/// The most containers of one connection, and the most bytes that they may be described by.
const CONTAINERS: usize = 1024;
const DESCRIBED: usize = 4 * 1024 * 1024;

/// A container, as the policy needs it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) container: Container,
    digests: Vec<Digest>,
    bytes: usize,
    /// The version of the policy that it has from a server.
    pub(crate) holds: Option<String>,
    /// What holds for it where it has none.
    own: Option<Effective>,
    /// Since when it was told that its node's logs are altered.
    pub(crate) told: Option<u64>,
}

impl Known {
    /// Checks what a node says of a container, and of what it has.
    pub(crate) fn new(request: RegisterRequest) -> Result<Self, String> {
        let RegisterRequest { container, version, own, .. } = request;
        let container = container.into_option().unwrap_or_default();
        if container.id.is_empty() || container.id.len() > 1024 {
            return Err("a container has an id of 1 to 1024 bytes".to_owned());
        }
        let digests = container.image_digests.iter().map(|text| {
            text.parse().map_err(|error| format!("the image digest {text:?}: {error}"))
        });
        let digests = digests.collect::<Result<_, _>>()?;
        let size =
            usize::try_from(protobuf::Message::compute_size(&container)).unwrap_or(DESCRIBED);
        let bytes = size.saturating_add(own.len());
        let mut parts = version.split('+');
        let holds = parts.next().filter(|policy| !policy.is_empty()).map(str::to_owned);
        let told = parts.find_map(|part| part.strip_prefix(TAMPERED)?.parse().ok());
        // What can't be read is not known to be any milder.
        let own = match &*own {
            [] => None,
            own => Some(Effective::from_json(own).map_err(|error| error.to_string())?),
        };
        Ok(Self { container, digests, bytes, holds, own, told })
    }

    /// Who does not say what it has had it from this connection.
    pub(crate) fn after(&mut self, before: &Self) {
        if self.holds.is_none() && self.own.is_none() {
            self.holds.clone_from(&before.holds);
            self.told = self.told.or(before.told);
        }
    }

    /// Whether it has begun to run by a policy of which this server knows nothing.
    pub(crate) const fn is_new(&self) -> bool {
        self.holds.is_none() && self.own.is_none()
    }

    pub(crate) fn target(&self, principal: &str) -> Target {
        Target {
            principal: principal.to_owned(),
            namespace: self.container.namespace.clone(),
            id: self.container.id.clone(),
        }
    }

    /// Whether it would be more strictly dealt with by this policy than by what it has. `had`
    /// gives a policy by its version.
    pub(crate) fn is_tightened_by(
        &self,
        new: &Policy,
        version: &str,
        had: impl FnOnce(&str) -> Option<Arc<Policy>>,
    ) -> bool {
        if self.is_new() || self.holds.as_deref() == Some(version) {
            return false;
        }
        let new = self.effective(new);
        let had = self.holds.as_deref().map(|held| had(held).map(|held| self.effective(&held)));
        match (had, &self.own) {
            (Some(Some(had)), _) => new.is_stricter_than(&had),
            (None, Some(own)) => new.is_stricter_than(own),
            // Nobody knows.
            (Some(None), _) | (None, None) => true,
        }
    }

    pub(crate) fn effective(&self, policy: &Policy) -> Effective {
        self.with_subject(|subject| policy.effective(subject))
    }

    pub(crate) fn with_subject<T>(&self, f: impl FnOnce(&Subject<'_>) -> T) -> T {
        let of = &self.container;
        let pairs = |map: &'_ HashMap<String, String>| -> Vec<(String, String)> {
            map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let (labels, annotations) = (pairs(&of.labels), pairs(&of.annotations));
        let labels: Vec<_> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
        let annotations: Vec<_> = annotations.iter().map(|(k, v)| (&**k, &**v)).collect();
        let mut namespaces = vec![&*of.namespace];
        if !of.pod_namespace.is_empty() {
            namespaces.push(&of.pod_namespace);
        }
        f(&Subject {
            container_id: &of.id,
            image_digests: &self.digests,
            image_name: (!of.image_name.is_empty()).then_some(&*of.image_name),
            namespaces: &namespaces,
            labels: &labels,
            annotations: &annotations,
        })
    }
}

/// What a version says of a node whose logs were altered, before the second that it was found in.
pub(crate) const TAMPERED: &str = "LOG_TAMPERED@";

/// Those of one connection.
#[derive(Debug, Default)]
pub(crate) struct Containers {
    pub(crate) known: HashMap<(String, String), Known>,
    bytes: usize,
}

impl Containers {
    /// Adds one, in place of what was said of it before. Whether there is one more now.
    pub(crate) fn put(&mut self, known: Known) -> Result<bool, String> {
        let key = (known.container.namespace.clone(), known.container.id.clone());
        let freed = self.known.get(&key).map_or(0, |before| before.bytes);
        let bytes = self.bytes - freed + known.bytes;
        if bytes > DESCRIBED || (freed == 0 && self.known.len() >= CONTAINERS) {
            return Err(format!(
                "a connection has at most {CONTAINERS} containers, described by {DESCRIBED} bytes"
            ));
        }
        self.bytes = bytes;
        Ok(self.known.insert(key, known).is_none())
    }

    /// Takes one out. Whether it was there.
    pub(crate) fn remove(&mut self, key: &(String, String)) -> bool {
        let gone = self.known.remove(key);
        self.bytes -= gone.as_ref().map_or(0, |gone| gone.bytes);
        gone.is_some()
    }
}

/// Those of one connection, as it and the registry have them.
pub(crate) type Shared = Arc<Mutex<Containers>>;

pub(crate) fn lock(containers: &Mutex<Containers>) -> MutexGuard<'_, Containers> {
    containers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those of all connections.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    all: BTreeMap<u64, (Arc<str>, Weak<Mutex<Containers>>)>,
}

impl Registry {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins; its number, for when it ends.
    pub(crate) fn opened(&self, principal: &Arc<str>, containers: &Shared) -> u64 {
        let mut entries = self.entries();
        entries.last += 1;
        let number = entries.last;
        entries.all.insert(number, (Arc::clone(principal), Arc::downgrade(containers)));
        number
    }

    pub(crate) fn closed(&self, number: u64) {
        self.entries().all.remove(&number);
    }

    /// Those of which this is so.
    pub(crate) fn those(&self, is_one: impl Fn(&str, &Known) -> bool) -> BTreeSet<Target> {
        // No connection waits for a question about all of them.
        let all: Vec<_> = self.entries().all.values().cloned().collect();
        let mut targets = BTreeSet::new();
        for (principal, containers) in all {
            let Some(containers) = containers.upgrade() else { continue };
            let containers = lock(&containers);
            let those = containers.known.values().filter(|known| is_one(&principal, known));
            targets.extend(those.map(|known| known.target(&principal)));
        }
        targets
    }
}
