//! A whole policy file, and what it decides about a container and a violation.

use lacre_types::{Action, CanonicalPath, Digest, Jit, Mode, Reports, ViolationKind};

use crate::by_container::ByContainer;
use crate::code_directories::CodeRules;
use crate::decision::{Decision, Outcome};
use crate::settings::Settings;
use crate::{Backoff, CodeDirectories, Effective, Fallbacks, Subject};

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
    code: CodeRules,
    kinds: Vec<KindRules>,
}

impl Policy {
    /// The policy where there is no file: DENY for everything, and KILL where that can't
    /// be done. With [`crate::resolve`], that touches nothing in audit mode.
    #[must_use]
    pub fn default_for(mode: Mode) -> Self {
        let settings = Settings { mode: Some(mode), ..Settings::default() };
        let kinds = ViolationKind::ALL.iter().map(|kind| KindRules::none(*kind));
        Self::new(settings, None, CodeRules::default(), kinds)
    }

    /// `kinds`: one for each, in their order.
    pub(crate) fn new(
        settings: Settings,
        port: Option<u16>,
        code: CodeRules,
        kinds: impl Iterator<Item = KindRules>,
    ) -> Self {
        Self { settings, port, code, kinds: kinds.collect() }
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
        let code = self.code_directories(subject).clone();
        Effective::new(settings, code, ViolationKind::ALL.iter().map(outcome).collect())
    }

    /// Whether memory that the container makes executable is no violation: as the rule of
    /// FILELESS says that holds for the container, else as the whole file does.
    #[must_use]
    pub fn jit(&self, subject: &Subject<'_>) -> Jit {
        self.outcome(subject, ViolationKind::Fileless).jit.unwrap_or(self.settings.jit)
    }

    /// The directories of a container that hold code.
    #[must_use]
    pub fn code_directories(&self, subject: &Subject<'_>) -> &CodeDirectories {
        self.code.of(subject)
    }

    /// What is told of files that an interpreter opened, and of which nothing says that they are
    /// code.
    #[must_use]
    pub const fn reports(&self) -> Reports {
        self.settings.reports
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
        self.kinds.iter().map(|kind| kind.count).sum::<usize>() + self.code.count
    }
}

/// The rules of one kind.
#[derive(Debug, Clone)]
pub(crate) struct KindRules {
    pub(crate) by: ByContainer<Outcome>,
    /// The kind's own paths, and its default.
    pub(crate) rest: Outcome,
    pub(crate) count: usize,
}

impl KindRules {
    pub(crate) fn none(kind: ViolationKind) -> Self {
        Self { by: ByContainer::default(), rest: Outcome::built_in(kind), count: 0 }
    }

    fn outcome(&self, subject: &Subject<'_>) -> &Outcome {
        self.by.get(subject).unwrap_or(&self.rest)
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
