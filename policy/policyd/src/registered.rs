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

/// The longest that a container, its namespace and its life may be called: containerd takes 76
/// bytes. And the longest version: this server's have some hundred.
const NAME: usize = 256;
const VERSION: usize = 1024;

/// What holds for a container by its node's own policy.
#[derive(Debug)]
enum Own {
    /// None, or nobody says.
    None,
    /// It can't be read here: not known to be any milder than another.
    Unknown,
    Is(Effective),
}

/// A container, as the policy needs it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) container: Container,
    digests: Vec<Digest>,
    /// What is kept of it; the version that it is answered with is a short one of this server's.
    bytes: usize,
    /// What tells it from another of its id. Empty: its node does not say.
    pub(crate) life: String,
    /// The version of the policy that it has from a server.
    pub(crate) holds: Option<String>,
    /// What holds for it where it has none.
    own: Own,
    /// Since when it was told that its node's logs are altered.
    pub(crate) told: Option<u64>,
}

impl Known {
    /// Checks what a node says of a container, and of what it has.
    pub(crate) fn new(request: RegisterRequest) -> Result<Self, String> {
        let RegisterRequest { container, version, own, generation: life, .. } = request;
        let container = container.into_option().unwrap_or_default();
        if container.id.is_empty() {
            return Err("a container has an id".to_owned());
        }
        let names = [
            ("id", &container.id, NAME),
            ("namespace", &container.namespace, NAME),
            ("generation", &life, NAME),
            ("version", &version, VERSION),
        ];
        if let Some((name, _, most)) = names.iter().find(|(_, text, most)| text.len() > *most) {
            return Err(format!("a container's {name} has at most {most} bytes"));
        }
        let digests = container.image_digests.iter().map(|text| {
            text.parse().map_err(|error| format!("the image digest {text:?}: {error}"))
        });
        let digests = digests.collect::<Result<_, _>>()?;
        let size =
            usize::try_from(protobuf::Message::compute_size(&container)).unwrap_or(DESCRIBED);
        let bytes = size.saturating_add(own.len() + version.len() + life.len());
        let mut parts = version.split('+');
        let holds = parts.next().filter(|policy| !policy.is_empty()).map(str::to_owned);
        let told = parts.find_map(|part| part.strip_prefix(TAMPERED)?.parse().ok());
        let own = match &*own {
            [] => Own::None,
            own => Effective::from_json(own).map_or(Own::Unknown, Own::Is),
        };
        Ok(Self { container, digests, bytes, life, holds, own, told })
    }

    /// Who does not say what it has had it from this connection.
    pub(crate) fn after(&mut self, before: &Self) {
        if self.is_new() && self.life == before.life {
            self.holds.clone_from(&before.holds);
            self.told = self.told.or(before.told);
        }
    }

    /// Whether it has begun to run by a policy of which this server knows nothing.
    pub(crate) const fn is_new(&self) -> bool {
        self.holds.is_none() && matches!(self.own, Own::None)
    }

    pub(crate) fn key(&self) -> (String, String) {
        (self.container.namespace.clone(), self.container.id.clone())
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
            (None, Own::Is(own)) => new.is_stricter_than(own),
            // Nobody knows.
            (Some(None), _) | (None, Own::None | Own::Unknown) => true,
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
    /// How many bytes there are with this one, in place of what was said of it before.
    pub(crate) fn room(&self, known: &Known) -> Result<usize, String> {
        let freed = self.known.get(&known.key()).map_or(0, |before| before.bytes);
        let bytes = self.bytes - freed + known.bytes;
        if bytes > DESCRIBED || (freed == 0 && self.known.len() >= CONTAINERS) {
            return Err(format!(
                "a connection has at most {CONTAINERS} containers, described by {DESCRIBED} bytes"
            ));
        }
        Ok(bytes)
    }

    /// Adds one. Whether there is one more now.
    pub(crate) fn put(&mut self, known: Known) -> Result<bool, String> {
        self.bytes = self.room(&known)?;
        let key = known.key();
        Ok(self.known.insert(key, known).is_none())
    }

    /// Takes one out, if it is there.
    pub(crate) fn remove(&mut self, key: &(String, String)) -> Option<Known> {
        let gone = self.known.remove(key)?;
        self.bytes -= gone.bytes;
        Some(gone)
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

    /// Those of which this is so: of one node, or of all.
    pub(crate) fn those(
        &self,
        of: Option<&str>,
        is_one: impl Fn(&Known) -> bool,
    ) -> BTreeSet<Target> {
        let mut targets = BTreeSet::new();
        for (principal, containers) in self.connections(of) {
            let containers = lock(&containers);
            let those = containers.known.values().filter(|known| is_one(known));
            targets.extend(those.map(|known| known.target(&principal)));
        }
        targets
    }

    /// Whether that life of a container is registered.
    pub(crate) fn has(&self, target: &Target, life: &str) -> bool {
        let key = (target.namespace.clone(), target.id.clone());
        self.connections(Some(&target.principal)).iter().any(|(_, containers)| {
            lock(containers).known.get(&key).is_some_and(|known| known.life == life)
        })
    }

    /// No connection waits for a question about all of them.
    fn connections(&self, of: Option<&str>) -> Vec<(Arc<str>, Shared)> {
        let entries = self.entries();
        let all = entries.all.values();
        let those = all.filter(|(principal, _)| of.is_none_or(|of| of == &**principal));
        those.filter_map(|(of, containers)| Some((Arc::clone(of), containers.upgrade()?))).collect()
    }
}
