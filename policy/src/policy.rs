use std::collections::HashMap;

use lacre_types::{Action, CanonicalPath, Digest, Jit, Mode, ViolationKind};

use crate::decision::{Decision, Outcome};
use crate::glob::Wild;
use crate::patterns::Patterns;
use crate::settings::Settings;
use crate::{Backoff, Effective, Fallbacks, image};

/// A container, as rules know it. What is not known stays empty, and matches no rule.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// Its id in containerd.
    pub container_id: &'a str,
    /// The digests by which its image is known: of the configuration (what Docker calls
    /// the image's id), of the manifest, of the index.
    pub image_digests: &'a [Digest],
    /// Its image's name, in any form.
    pub image_name: Option<&'a str>,
    /// containerd's namespace, and the pod's where there is one.
    pub namespaces: &'a [&'a str],
    /// Its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// Its OCI annotations.
    pub annotations: &'a [(&'a str, &'a str)],
}

/// A policy file, read: which action each violation deserves.
///
/// ```
/// use lacre_policy::{Policy, Subject};
/// use lacre_types::{Action, ViolationKind};
///
/// let file = br#"
/// Actions:
///   INVALID_HASH:
///     ByContainerImageName:
///       - "ubuntu:16.04": "SKIP"
///     Default: "RESTART"
/// "#;
/// let (policy, warnings) = Policy::parse("policy.yaml", file)?;
/// assert!(warnings.is_empty());
/// let old = Subject { image_name: Some("docker.io/library/ubuntu:16.04"), ..Subject::default() };
/// let decision = policy.decide(&old, ViolationKind::InvalidHash, None);
/// assert_eq!(decision.action, Action::Skip);
/// assert_eq!(decision.rule.line(), Some(5));
/// # Ok::<(), lacre_policy::Errors>(())
/// ```
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) settings: Settings,
    pub(crate) port: Option<u16>,
    kinds: Vec<KindRules>,
}

impl Policy {
    /// The policy where there is no file: DENY for everything, and KILL where that can't
    /// be done. With [`crate::resolve`], that touches nothing in audit mode.
    #[must_use]
    pub fn default_for(mode: Mode) -> Self {
        let settings = Settings { mode: Some(mode), ..Settings::default() };
        Self::new(settings, None, ViolationKind::ALL.iter().map(|kind| KindRules::none(*kind)))
    }

    /// `kinds`: one for each, in their order.
    pub(crate) fn new(
        settings: Settings,
        port: Option<u16>,
        kinds: impl Iterator<Item = KindRules>,
    ) -> Self {
        Self { settings, port, kinds: kinds.collect() }
    }

    /// Which action a violation of that kind deserves. `path` is the file's in the
    /// container, links followed.
    #[must_use]
    pub fn decide(
        &self,
        subject: &Subject<'_>,
        kind: ViolationKind,
        path: Option<&CanonicalPath>,
    ) -> Decision {
        let outcome = self.outcome(subject, kind);
        outcome.decide(path, &self.settings.fallbacks, self.settings.grace)
    }

    /// The policy for one container: all that a node needs to decide without asking.
    #[must_use]
    pub fn effective(&self, subject: &Subject<'_>) -> Effective {
        let outcome = |kind: &ViolationKind| self.outcome(subject, *kind).clone();
        let settings = Settings { jit: self.jit(subject), ..self.settings.clone() };
        Effective::new(settings, ViolationKind::ALL.iter().map(outcome).collect())
    }

    /// Whether memory that the container makes executable is no violation: as the rule of
    /// FILELESS says that holds for the container, else as the whole file does.
    #[must_use]
    pub fn jit(&self, subject: &Subject<'_>) -> Jit {
        self.outcome(subject, ViolationKind::Fileless).jit.unwrap_or(self.settings.jit)
    }

    fn outcome(&self, subject: &Subject<'_>, kind: ViolationKind) -> &Outcome {
        self.kinds[kind as usize].outcome(subject)
    }

    /// The file's own `Mode`, if it has one.
    #[must_use]
    pub const fn mode(&self) -> Option<Mode> {
        self.settings.mode
    }

    /// The mode that holds on a node with that mode: the stricter of the node's and the
    /// file's `Mode`.
    #[must_use]
    pub fn mode_on(&self, node: Mode) -> Mode {
        self.settings.mode_on(node)
    }

    /// The port of the policy server: figure 3's `PORT`.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// What is done where an action can't be.
    #[must_use]
    pub const fn fallbacks(&self) -> &Fallbacks {
        &self.settings.fallbacks
    }

    /// How long RESTART waits.
    #[must_use]
    pub const fn restart(&self) -> &Backoff {
        &self.settings.restart
    }

    /// What happens to a container that no rule names.
    #[must_use]
    pub fn default_of(&self, kind: ViolationKind) -> Decision {
        self.decide(&Subject::default(), kind, None)
    }

    /// How many rules it has, the defaults not counted.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.kinds.iter().map(|kind| kind.count).sum()
    }
}

/// The shortest id that a rule may give: 12 hex digits, as `docker ps` prints it.
pub(crate) const SHORT_ID: usize = 12;
/// The length of an id that Docker, nerdctl or the CRI made.
pub(crate) const WHOLE_ID: usize = 64;

/// The rules of one kind.
#[derive(Debug, Clone)]
pub(crate) struct KindRules {
    pub(crate) ids: HashMap<Box<str>, Outcome>,
    /// Short ids by their first 12 digits, the longest first.
    pub(crate) short_ids: HashMap<Box<str>, Vec<(Box<str>, Outcome)>>,
    pub(crate) digests: HashMap<Digest, (u32, Outcome)>,
    pub(crate) names: Patterns<Outcome>,
    pub(crate) labels: Pairs,
    pub(crate) annotations: Pairs,
    /// In their order, so that of two namespaces of one container the first named wins.
    pub(crate) namespaces: Patterns<(u32, Outcome)>,
    /// The kind's own paths, and its default.
    pub(crate) rest: Outcome,
    pub(crate) count: usize,
}

impl KindRules {
    pub(crate) fn none(kind: ViolationKind) -> Self {
        Self {
            ids: HashMap::new(),
            short_ids: HashMap::new(),
            digests: HashMap::new(),
            names: Patterns::default(),
            labels: Pairs::default(),
            annotations: Pairs::default(),
            namespaces: Patterns::default(),
            rest: Outcome::built_in(kind),
            count: 0,
        }
    }

    /// The narrowest selector goes first: [`crate::Selector::ALL`] is this order.
    fn outcome(&self, subject: &Subject<'_>) -> &Outcome {
        self.by_id(subject.container_id)
            .or_else(|| first(subject.image_digests.iter().map(|digest| self.digests.get(digest))))
            .or_else(|| {
                if self.names.len() == 0 {
                    return None;
                }
                self.names.get(image::full(subject.image_name?).as_bytes())
            })
            .or_else(|| self.labels.get(subject.labels))
            .or_else(|| self.annotations.get(subject.annotations))
            .or_else(|| {
                let found = subject.namespaces.iter();
                first(found.map(|namespace| self.namespaces.get(namespace.as_bytes())))
            })
            .unwrap_or(&self.rest)
    }

    fn by_id(&self, id: &str) -> Option<&Outcome> {
        if let Some(outcome) = self.ids.get(id) {
            return Some(outcome);
        }
        // Whoever starts a container with `ctr` chooses its id: only one of the form that
        // Docker, nerdctl and the CRI draw at random can be meant by its beginning.
        if !is_whole_id(id) {
            return None;
        }
        let short = self.short_ids.get(&id[..SHORT_ID])?;
        short.iter().find(|(short, _)| id.starts_with(&**short)).map(|(_, outcome)| outcome)
    }
}

pub(crate) fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_whole_id(id: &str) -> bool {
    id.len() == WHOLE_ID && is_hex(id)
}

fn first<'o>(found: impl Iterator<Item = Option<&'o (u32, Outcome)>>) -> Option<&'o Outcome> {
    found.flatten().min_by_key(|(order, _)| *order).map(|(_, outcome)| outcome)
}

/// Rules by key and value: `app=web` before `app=web-*` and `app`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairs(HashMap<Box<str>, PairValues>);

#[derive(Debug, Clone, Default)]
struct PairValues {
    exact: HashMap<Box<[u8]>, (u32, Outcome)>,
    wild: Vec<(u32, Wild, Outcome)>,
}

impl Pairs {
    /// Adds a rule; of two for the same value, the first stays.
    pub(crate) fn insert(&mut self, order: u32, key: &str, value: Wild, outcome: Outcome) {
        let values = self.0.entry(key.into()).or_default();
        if let Some(text) = value.literal() {
            values.exact.entry(text.into()).or_insert((order, outcome));
        } else {
            values.wild.push((order, value, outcome));
        }
    }

    fn get(&self, pairs: &[(&str, &str)]) -> Option<&Outcome> {
        if self.0.is_empty() {
            return None;
        }
        let known = || pairs.iter().filter_map(|(key, value)| Some((self.0.get(*key)?, *value)));
        first(known().map(|(values, value)| values.exact.get(value.as_bytes()))).or_else(|| {
            known()
                .filter_map(|(values, value)| {
                    values.wild.iter().find(|(_, wild, _)| wild.matches(value.as_bytes()))
                })
                .min_by_key(|(order, ..)| *order)
                .map(|(_, _, outcome)| outcome)
        })
    }
}

/// The digest that a person wrote: with its algorithm, or 64 bare hex digits of SHA-256.
///
/// # Errors
/// When it is neither.
pub fn parse_digest(text: &str) -> Result<Digest, lacre_types::ParseDigestError> {
    if text.contains(':') { text.parse() } else { format!("sha256:{text}").parse() }
}

/// Whether an action may be given for a kind at all, or is only ever its fallback.
pub(crate) const fn can_be_done(action: Action, kind: ViolationKind) -> bool {
    !matches!(action, Action::Deny) || crate::decision::deniable(kind)
}
