//! Which rule decided, so that a person finds it in the file.

use std::fmt;
use std::sync::Arc;

use lacre_types::{ViolationKind, escape};
use serde::ser::{Serialize, SerializeStruct, Serializer};

/// By what a rule tells containers and files apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// The container's id, whole or short.
    ContainerId,
    /// A digest of its image: of the configuration, the manifest or the index.
    ImageDigest,
    /// Its image's name.
    ImageName,
    /// One of its labels.
    Label,
    /// One of its OCI annotations.
    Annotation,
    /// containerd's namespace, or the pod's.
    Namespace,
    /// The file's path.
    Path,
}

impl Selector {
    /// All of them, the one that is asked first first.
    pub const ALL: &'static [Self] = &[
        Self::ContainerId,
        Self::ImageDigest,
        Self::ImageName,
        Self::Label,
        Self::Annotation,
        Self::Namespace,
        Self::Path,
    ];

    /// The key of the file that holds its rules.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContainerId => "ByContainerID",
            Self::ImageDigest => "ByContainerImageDigest",
            Self::ImageName => "ByContainerImageName",
            Self::Label => "ByLabel",
            Self::Annotation => "ByAnnotation",
            Self::Namespace => "ByNamespace",
            Self::Path => "ByPath",
        }
    }

    pub(crate) fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|selector| selector.as_str() == word)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which line of the policy gave a decision. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(crate) kind: ViolationKind,
    /// The rule that chose by the container, and its key.
    pub(crate) entry: Option<(Selector, Arc<str>)>,
    /// The rule that chose by the path, at the kind or within `entry`.
    pub(crate) path: Option<Arc<str>>,
    /// 0: no line, the rule is built in.
    pub(crate) line: u32,
}

impl Rule {
    pub(crate) const fn built_in(kind: ViolationKind) -> Self {
        Self { kind, entry: None, path: None, line: 0 }
    }

    /// Its line in the file; `None` when the file has no rule for this, and lacre's own holds.
    #[must_use]
    pub const fn line(&self) -> Option<u32> {
        if self.line == 0 { None } else { Some(self.line) }
    }
}

/// Its place among the keys: `Actions.INVALID_HASH.ByContainerImageName["ubuntu:16.04"]`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "built in, the policy has no rule for {}", self.kind);
        }
        write!(f, "Actions.{}", self.kind)?;
        if let Some((selector, key)) = &self.entry {
            write!(f, ".{selector}[\"{}\"]", escape(key.as_bytes()))?;
        }
        match (&self.entry, &self.path) {
            (_, Some(path)) => write!(f, ".{}[\"{}\"]", Selector::Path, escape(path.as_bytes())),
            (None, None) => f.write_str(".Default"),
            (Some(_), None) => Ok(()),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut rule = s.serialize_struct("Rule", 2)?;
        rule.serialize_field("line", &self.line())?;
        rule.serialize_field("text", &self.to_string())?;
        rule.end()
    }
}
