//! Facts about a container with who said them, and which rules may use whose word.

use std::collections::BTreeMap;
use std::fmt;

use lacre_types::Digest;
use serde::{Deserialize, Serialize};

use crate::{Effective, Policy, Selector, Subject};

/// Who said something about a container, the least trusted first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Witness {
    /// Whoever built the image, or somebody who can't be told from them.
    #[default]
    Image,
    /// Whoever asked for the container, through the socket of containerd or Docker.
    User,
    /// The kubelet, through CRI, in containerd's namespace `k8s.io`.
    Orchestrator,
    /// containerd or dockerd, of its own records.
    Daemon,
    /// The bytes themselves: a digest that was computed, and fits the layers that are mounted.
    Content,
    /// The kernel.
    Kernel,
}

impl Witness {
    /// All of them, the least trusted first.
    pub const ALL: &'static [Self] =
        &[Self::Image, Self::User, Self::Orchestrator, Self::Daemon, Self::Content, Self::Kernel];

    /// Its name in the manual.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::User => "user",
            Self::Orchestrator => "orchestrator",
            Self::Daemon => "daemon",
            Self::Content => "content",
            Self::Kernel => "kernel",
        }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that is known of a container, and who said it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fact<T> {
    /// What.
    pub value: T,
    /// By whom.
    pub said_by: Witness,
}

impl<T> Fact<T> {
    /// What that witness said.
    #[must_use]
    pub const fn new(value: T, said_by: Witness) -> Self {
        Self { value, said_by }
    }

    /// The value, for a use that takes the witness; this is the only way from a fact to a rule.
    #[must_use]
    pub fn for_use(&self, of: Use) -> Option<&T> {
        (self.said_by >= of.needs()).then_some(&self.value)
    }
}

/// What facts about a container are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A rule of the policy, which may loosen (SKIP) as well as tighten: of two actions
    /// neither is the milder one for everybody, so they are not told apart.
    Rule(Selector),
    /// The configuration's `exempt`.
    Exempt,
    /// The annotation `lacre.dev/mode`, which can only tighten.
    Mode,
}

impl Use {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Rule(Selector::ContainerId),
        Self::Rule(Selector::ImageDigest),
        Self::Rule(Selector::ImageName),
        Self::Rule(Selector::Label),
        Self::Rule(Selector::Annotation),
        Self::Rule(Selector::Namespace),
        Self::Rule(Selector::Path),
        Self::Exempt,
        Self::Mode,
    ];

    /// The least trusted witness that it takes. What the image's author wrote is taken for
    /// nothing that could loosen.
    #[must_use]
    pub const fn needs(self) -> Witness {
        match self {
            Self::Rule(selector) => match selector {
                Selector::ContainerId
                | Selector::ImageName
                | Selector::Label
                | Selector::Annotation
                | Selector::Namespace => Witness::User,
                Selector::ImageDigest => Witness::Daemon,
                Selector::Path => Witness::Kernel,
            },
            Self::Exempt => Witness::User,
            Self::Mode => Witness::Image,
        }
    }

    /// Its name in the manual.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rule(selector) => selector.as_str(),
            Self::Exempt => "exempt.namespaces",
            Self::Mode => "lacre.dev/mode",
        }
    }
}

/// A container, as rules know it, each fact with who said it. What is not known stays empty,
/// and matches no rule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Its id in containerd.
    pub container_id: Fact<String>,
    /// The digests by which its image is known; the one that people call the image's first.
    pub image_digests: Vec<Fact<Digest>>,
    /// The image's name, as it was asked for.
    pub image_name: Option<Fact<String>>,
    /// containerd's namespace.
    pub namespace: Fact<String>,
    /// The pod's namespace in Kubernetes.
    pub pod_namespace: Option<Fact<String>>,
    /// Labels, of the container and of its pod.
    pub labels: BTreeMap<String, Fact<String>>,
    /// Annotations, of the OCI specification and of the pod.
    pub annotations: BTreeMap<String, Fact<String>>,
}

impl Facts {
    /// Sets a label or an annotation, unless a better witness has said something else.
    pub fn say(pairs: &mut BTreeMap<String, Fact<String>>, key: &str, fact: Fact<String>) {
        match pairs.get(key) {
            Some(known) if known.said_by >= fact.said_by => {}
            _ => drop(pairs.insert(key.to_owned(), fact)),
        }
    }

    /// What rules may be matched with: the facts whose witness is good enough for each.
    #[must_use]
    pub fn admitted(&self) -> Admitted<'_> {
        let namespaces = [Some(&self.namespace), self.pod_namespace.as_ref()].into_iter().flatten();
        Admitted {
            container_id: text(&self.container_id, Selector::ContainerId).unwrap_or_default(),
            image_digests: self
                .image_digests
                .iter()
                .filter_map(|fact| fact.for_use(Use::Rule(Selector::ImageDigest)).copied())
                .collect(),
            image_name: self.image_name.as_ref().and_then(|name| text(name, Selector::ImageName)),
            namespaces: namespaces.filter_map(|fact| text(fact, Selector::Namespace)).collect(),
            labels: pairs(&self.labels, Selector::Label),
            annotations: pairs(&self.annotations, Selector::Annotation),
        }
    }

    /// The policy for this container.
    #[must_use]
    pub fn effective(&self, policy: &Policy) -> Effective {
        policy.effective(&self.admitted().subject())
    }
}

/// The part of [`Facts`] that rules may use; only [`Facts::admitted`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted<'a> {
    container_id: &'a str,
    image_digests: Vec<Digest>,
    image_name: Option<&'a str>,
    namespaces: Vec<&'a str>,
    labels: Vec<(&'a str, &'a str)>,
    annotations: Vec<(&'a str, &'a str)>,
}

impl Admitted<'_> {
    /// As the policy takes it.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            container_id: self.container_id,
            image_digests: &self.image_digests,
            image_name: self.image_name,
            namespaces: &self.namespaces,
            labels: &self.labels,
            annotations: &self.annotations,
        }
    }
}

fn text(fact: &Fact<String>, selector: Selector) -> Option<&str> {
    fact.for_use(Use::Rule(selector)).map(String::as_str).filter(|text| !text.is_empty())
}

fn pairs(of: &BTreeMap<String, Fact<String>>, selector: Selector) -> Vec<(&str, &str)> {
    let value = |fact| Fact::for_use(fact, Use::Rule(selector)).map(String::as_str);
    of.iter().filter_map(|(key, fact)| Some((key.as_str(), value(fact)?))).collect()
}
