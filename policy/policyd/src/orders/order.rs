//! What would make nodes act on containers.

use std::collections::BTreeSet;
use std::fmt;

use lacre_proto::policy::{Held, Order as Shown};
use lacre_types::Action;
use serde::{Deserialize, Serialize};

use super::window::Target;
use crate::attest::record::shown;

/// The most containers of one order that are remembered; those beyond wait all the same.
const TARGETS: usize = 4096;

/// The most answers of one order. Those beyond are not given, and the log says so: the node's own
/// decision stands.
const REPLIES: usize = 4096;

/// The nodes of an order that are named to whoever asks.
const NAMED: usize = 64;

/// An order's cause.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum What {
    /// Another policy, which is stricter for containers that run already.
    Policy {
        /// Its version.
        version: String,
    },
    /// The action for `LOG_TAMPERED`, since a node's evidence showed what is not the truth.
    Tampered {
        /// The node.
        principal: String,
        /// When it was found, in seconds since 1970.
        since: u64,
    },
    /// Answers to a node's reports that overrule it.
    Answers {
        /// The node.
        principal: String,
    },
}

impl What {
    /// The node that it is about; `None`: any.
    #[must_use]
    pub fn principal(&self) -> Option<&str> {
        match self {
            Self::Policy { .. } => None,
            Self::Tampered { principal, .. } | Self::Answers { principal } => Some(principal),
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Policy { .. } => "policy",
            Self::Tampered { .. } => "tampered",
            Self::Answers { .. } => "answers",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { version } => write!(f, "a stricter policy, {version}"),
            Self::Tampered { principal, .. } => write!(f, "LOG_TAMPERED of {principal}"),
            Self::Answers { principal } => write!(f, "answers that overrule {principal}"),
        }
    }
}

/// An answer to a report that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The container.
    pub target: Target,
    /// What is to be done.
    pub action: Action,
    /// The record that it answers.
    pub number: u64,
    /// The rule that gave it.
    pub rule: String,
}

/// That somebody said it is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Approved {
    pub(super) at: u64,
    pub(super) by: String,
    pub(super) reason: String,
}

/// An order that was held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) id: u64,
    pub(super) what: What,
    /// In seconds since 1970, for people.
    pub(super) since: u64,
    pub(super) targets: BTreeSet<Target>,
    #[serde(default)]
    pub(super) replies: Vec<Reply>,
    #[serde(default)]
    pub(super) approved: Option<Approved>,
}

impl Order {
    /// Whether it may be about a container of that node.
    pub(super) fn concerns(&self, principal: &str) -> bool {
        self.what.principal().is_none_or(|own| own == principal)
    }

    /// Whether there are more than before.
    pub(super) fn add(&mut self, targets: BTreeSet<Target>) -> bool {
        let before = self.targets.len();
        for target in targets {
            if self.targets.len() < TARGETS {
                self.targets.insert(target);
            }
        }
        self.targets.len() > before
    }

    /// The worst that was answered about a container stands. `false` when there is no room.
    pub(super) fn reply(&mut self, reply: Reply) -> bool {
        let before = self.replies.iter().position(|other| other.target == reply.target);
        let full = self.replies.len() >= REPLIES;
        match before {
            Some(at) if self.replies[at].action < reply.action => self.replies[at] = reply,
            Some(_) => {}
            None if full => return false,
            None => self.replies.push(reply),
        }
        true
    }

    /// As the nodes are told.
    pub(super) fn held(&self, target: &Target) -> Held {
        let reply = self.replies.iter().find(|reply| reply.target == *target);
        Held {
            order: self.id,
            action: reply.map(|reply| reply.action.to_string()).unwrap_or_default(),
            why: self.what.to_string(),
            ..Held::default()
        }
    }

    /// For those who ask.
    pub(super) fn show(&self) -> Shown {
        let nodes: BTreeSet<&str> = self.targets.iter().map(|target| &*target.principal).collect();
        let approved = self.approved.as_ref();
        Shown {
            id: self.id,
            kind: self.what.kind().to_owned(),
            what: self.what.to_string(),
            since: shown(self.since),
            nodes: nodes.iter().take(NAMED).map(|node| (*node).to_owned()).collect(),
            node_count: nodes.len() as u64,
            containers: self.targets.len() as u64,
            approved: approved.map(|approved| shown(approved.at)).unwrap_or_default(),
            by: approved.map(|approved| approved.by.clone()).unwrap_or_default(),
            reason: approved.map(|approved| approved.reason.clone()).unwrap_or_default(),
            ..Shown::default()
        }
    }
}
