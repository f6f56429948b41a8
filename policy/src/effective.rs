//! The part of a policy that is about one container, as it goes to a node.

use std::sync::Arc;
use std::time::Duration;

use lacre_types::{Action, CanonicalPath, Jit, Mode, Reports, ViolationKind};
use serde::{Deserialize, Serialize};

use crate::decision::{Decision, Leaf, Outcome};
use crate::glob::{Glob, GlobError};
use crate::settings::Settings;
use crate::{Backoff, CodeDirectories, Fallbacks, PathTable, Rule, Selector};

/// The policy for one container: what a server sends to the node when the container is
/// registered, and whenever it changes. It answers as the whole policy would, and knows no
/// other container.
///
/// As bytes it is JSON with a version. A node that cannot read what it gets keeps what it has. A
/// field that it does not know is such a thing: it may forbid what the rest allows, so that to pass
/// over it would loosen the policy.
#[derive(Debug, Clone)]
pub struct Effective {
    pub(crate) settings: Settings,
    pub(crate) code: CodeDirectories,
    /// One for each kind, in their order.
    pub(crate) kinds: Vec<Outcome>,
}

/// Why bytes are no effective policy.
#[derive(Debug, thiserror::Error)]
pub enum EffectiveError {
    /// They are more than [`Effective::MAX_BYTES`].
    #[error("the effective policy has {0} bytes, more than {max}", max = Effective::MAX_BYTES)]
    TooLarge(usize),
    /// They are no JSON of the form.
    #[error("the effective policy can't be read")]
    Json(#[source] serde_json::Error),
    /// They are of another version.
    #[error(
        "the effective policy is of version {0}, this lacre reads version {version}; \
         give node and server the same release",
        version = Effective::VERSION
    )]
    Version(u32),
    /// A kind is not there, and what is not said must not be guessed.
    #[error("the effective policy says nothing of {0}")]
    Missing(ViolationKind),
    /// A path's pattern is none.
    #[error("the effective policy has the path `{pattern}`")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: GlobError,
    },
    /// The fallbacks go in a circle.
    #[error("the fallbacks of the effective policy never end, beginning with {0}")]
    Endless(Action),
}

impl PartialEq for Effective {
    fn eq(&self, other: &Self) -> bool {
        self.wire() == other.wire()
    }
}

impl Effective {
    /// The version of the bytes.
    pub const VERSION: u32 = 1;

    /// The most bytes that are read: what a policy of 1 MiB can come to, and what fits a
    /// ttrpc message (4 MiB) with room.
    pub const MAX_BYTES: usize = 3 << 20;

    pub(crate) const fn new(
        settings: Settings,
        code: CodeDirectories,
        kinds: Vec<Outcome>,
    ) -> Self {
        Self { settings, code, kinds }
    }

    /// Which action a violation of that kind deserves, as [`crate::Policy::decide`].
    #[must_use]
    pub fn decide(&self, kind: ViolationKind, path: Option<&CanonicalPath>) -> Decision {
        let outcome = &self.kinds[kind as usize];
        outcome.decide(path, &self.settings.fallbacks, self.settings.grace)
    }

    /// The mode that holds on a node with that mode: the stricter of the two.
    #[must_use]
    pub fn mode_on(&self, node: Mode) -> Mode {
        self.settings.mode_on(node)
    }

    /// Which paths are let run though they are a violation of that kind; `None` where that is
    /// more than a kernel can be told.
    #[must_use]
    pub fn path_table(&self, kind: ViolationKind) -> Option<PathTable> {
        PathTable::of(&self.kinds[kind as usize])
    }

    /// Whether memory that the container makes executable is no violation.
    #[must_use]
    pub const fn jit(&self) -> Jit {
        self.settings.jit
    }

    /// The directories that hold code.
    #[must_use]
    pub const fn code_directories(&self) -> &CodeDirectories {
        &self.code
    }

    /// What is told of files that an interpreter opened, and of which nothing says that they are
    /// code.
    #[must_use]
    pub const fn reports(&self) -> Reports {
        self.settings.reports
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

    /// The bytes for the wire and for the disk; the same policy gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and lists: nothing in there that JSON cannot say.
        serde_json::to_vec(&self.wire()).unwrap_or_default()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// When they are too many, of another version, or not whole.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EffectiveError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(EffectiveError::TooLarge(bytes.len()));
        }
        let Version { version } = serde_json::from_slice(bytes).map_err(EffectiveError::Json)?;
        if version != Self::VERSION {
            return Err(EffectiveError::Version(version));
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(EffectiveError::Json)?;
        wire.read()
    }

    fn wire(&self) -> Wire {
        let Settings { mode, jit, reports, grace, fallbacks, restart } = &self.settings;
        Wire {
            version: Self::VERSION,
            mode: *mode,
            jit: *jit,
            reports: *reports,
            code_directories: self.code.patterns().cloned().collect(),
            grace_ms: millis(*grace),
            fallback: fallbacks.iter().collect(),
            said: fallbacks.said().collect(),
            restart: WireBackoff {
                delay_ms: millis(restart.delay),
                max_delay_ms: millis(restart.max_delay),
                reset_after_ms: millis(restart.reset_after),
                attempts: restart.attempts,
            },
            kinds: self.kinds.iter().filter(|kind| !is_granted(kind)).map(WireKind::of).collect(),
        }
    }
}

/// Read before the rest, so that another version is named as such.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    version: u32,
    mode: Option<Mode>,
    /// Left out where it is what an earlier release takes for granted.
    #[serde(default, skip_serializing_if = "is_allowed")]
    jit: Jit,
    #[serde(default, skip_serializing_if = "are_told")]
    reports: Reports,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    code_directories: Vec<Arc<str>>,
    grace_ms: u64,
    fallback: Vec<(Action, Action)>,
    /// Those of them that the file itself says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    said: Vec<Action>,
    restart: WireBackoff,
    kinds: Vec<WireKind>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_allowed(jit: &Jit) -> bool {
    *jit == Jit::Allow
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn are_told(reports: &Reports) -> bool {
    *reports == Reports::Files
}

/// Whether an earlier release takes it for granted, by not knowing the kind.
fn is_granted(outcome: &Outcome) -> bool {
    let Outcome { rule, paths, .. } = outcome;
    rule.kind == ViolationKind::Report && rule.line().is_none() && paths.is_none()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireBackoff {
    delay_ms: u64,
    max_delay_ms: u64,
    reset_after_ms: u64,
    attempts: Option<u32>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireKind {
    kind: ViolationKind,
    action: Action,
    /// 0: built in.
    line: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<(String, Arc<str>)>,
    /// Pattern, action, line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    paths: Vec<(Arc<str>, Action, u32)>,
}

impl WireKind {
    fn of(outcome: &Outcome) -> Self {
        // Whether memory is meant is said once, for the container.
        let Outcome { action, rule, paths, jit: _ } = outcome;
        let leaf = |leaf: &Leaf| {
            let pattern = leaf.rule.path.clone().unwrap_or_default();
            (pattern, leaf.action, leaf.rule.line)
        };
        Self {
            kind: rule.kind,
            action: *action,
            line: rule.line,
            by: rule.entry.as_ref().map(|(by, key)| (by.to_string(), Arc::clone(key))),
            paths: paths.iter().flat_map(|paths| paths.in_order()).map(leaf).collect(),
        }
    }

    fn read(self) -> Result<Outcome, EffectiveError> {
        let Self { kind, action, line, by, paths } = self;
        let entry = match by {
            None => None,
            Some((by, key)) => {
                let by = Selector::of(&by).ok_or_else(|| {
                    EffectiveError::Json(serde::de::Error::custom(format!("`{by}`: no selector")))
                })?;
                Some((by, key))
            }
        };
        let mut leaves = Vec::with_capacity(paths.len());
        for (pattern, action, line) in paths {
            let glob = Glob::new(&pattern).map_err(|source| EffectiveError::Pattern {
                pattern: pattern.to_string(),
                source,
            })?;
            let rule = Rule { kind, entry: entry.clone(), path: Some(pattern), line };
            leaves.push((glob, Leaf { action, rule }));
        }
        let paths = (!leaves.is_empty()).then(|| Arc::new(leaves.into_iter().collect()));
        Ok(Outcome { action, rule: Rule { kind, entry, path: None, line }, paths, jit: None })
    }
}

impl Wire {
    fn read(self) -> Result<Effective, EffectiveError> {
        let mut fallbacks = Fallbacks::default();
        for (action, fallback) in self.fallback {
            match self.said.contains(&action) {
                true => fallbacks.say(action, fallback),
                false => fallbacks.set(action, fallback),
            }
        }
        if let Some(action) = fallbacks.endless() {
            return Err(EffectiveError::Endless(action));
        }
        let mut read: Vec<Option<Outcome>> = vec![None; ViolationKind::ALL.len()];
        for kind in self.kinds {
            let at = kind.kind as usize;
            if read[at].replace(kind.read()?).is_some() {
                let twice = format!("{} is there twice", ViolationKind::ALL[at]);
                return Err(EffectiveError::Json(serde::de::Error::custom(twice)));
            }
        }
        let mut kinds = Vec::with_capacity(read.len());
        for (outcome, kind) in read.into_iter().zip(ViolationKind::ALL) {
            kinds.push(match outcome {
                None if *kind == ViolationKind::Report => Outcome::built_in(*kind),
                outcome => outcome.ok_or(EffectiveError::Missing(*kind))?,
            });
        }
        let settings = Settings {
            mode: self.mode,
            jit: self.jit,
            reports: self.reports,
            grace: Duration::from_millis(self.grace_ms),
            fallbacks,
            restart: Backoff {
                delay: Duration::from_millis(self.restart.delay_ms),
                max_delay: Duration::from_millis(self.restart.max_delay_ms),
                reset_after: Duration::from_millis(self.restart.reset_after_ms),
                attempts: self.restart.attempts,
            },
        };
        if self.code_directories.len() > CodeDirectories::MOST {
            let many = format!("more than {} code directories", CodeDirectories::MOST);
            return Err(EffectiveError::Json(serde::de::Error::custom(many)));
        }
        let code = CodeDirectories::of(self.code_directories).map_err(|(pattern, source)| {
            EffectiveError::Pattern { pattern: pattern.to_string(), source }
        })?;
        Ok(Effective { settings, code, kinds })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
