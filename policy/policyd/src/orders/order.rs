//! What would make nodes act on containers.

use std::collections::BTreeSet;
use std::fmt;

use lacre_proto::policy::{Held, Order as Shown};
use lacre_types::Action;
use serde::{Deserialize, Serialize};

use super::window::Target;
use crate::attest::record::shown;
use crate::clock::wall;

/// The most containers of one order that are remembered, and of them those of one node; those
/// beyond wait all the same.
const TARGETS: usize = 4096;
const OF_ONE: usize = 1024;

/// The most answers of one order. Those beyond are not given, and the log says so: the node's own
/// decision stands.
const REPLIES: usize = 4096;

/// An order's cause.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum What {
    /// Another policy, which is stricter for containers that run already.
    Policy {
        /// Its version.
        version: String,
        /// The one node that it waits for; `None`: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        principal: Option<String>,
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
    /// That policy, for all nodes.
    #[must_use]
    pub const fn policy(version: String) -> Self {
        Self::Policy { version, principal: None }
    }

    /// The same of one node alone.
    pub(super) fn of(&self, principal: &str) -> Self {
        match self {
            Self::Policy { version, .. } => {
                Self::Policy { version: version.clone(), principal: Some(principal.to_owned()) }
            }
            of_one => of_one.clone(),
        }
    }

    /// The node that it is about; `None`: any.
    #[must_use]
    pub fn principal(&self) -> Option<&str> {
        match self {
            Self::Policy { principal, .. } => principal.as_deref(),
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
            Self::Policy { version, principal: None } => {
                write!(f, "a stricter policy, {version}")
            }
            Self::Policy { version, principal: Some(principal) } => {
                write!(f, "a stricter policy, {version}, for {principal}")
            }
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
    /// Its life: what another life of that id did is not answered. Empty where the node does not
    /// say.
    #[serde(default)]
    pub life: String,
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
#[serde(rename_all = "camelCase")]
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
    /// Whether there was no room for all that it is about.
    #[serde(default)]
    pub(super) is_full: bool,
}

impl Order {
    pub(super) fn new(id: u64, what: What) -> Self {
        let (targets, replies) = Default::default();
        Self { id, what, since: wall(), targets, replies, approved: None, is_full: false }
    }

    /// Whether it may be about a container of that node.
    pub(super) fn concerns(&self, principal: &str) -> bool {
        self.what.principal().is_none_or(|own| own == principal)
    }

    /// One container more. Whether anything is other than it was.
    pub(super) fn add(&mut self, target: Target) -> bool {
        if self.targets.contains(&target) {
            return false;
        }
        let first = Target {
            principal: target.principal.clone(),
            namespace: String::new(),
            id: String::new(),
        };
        let those = self.targets.range(first..);
        let of_one = those.take_while(|other| other.principal == target.principal).count();
        if self.targets.len() >= TARGETS || of_one >= OF_ONE {
            return !std::mem::replace(&mut self.is_full, true);
        }
        self.targets.insert(target)
    }

    /// The worst that was answered about a container's life stands. Whether anything is other than
    /// it was.
    pub(super) fn reply(&mut self, reply: Reply) -> bool {
        let same = |other: &Reply| other.target == reply.target && other.life == reply.life;
        match self.replies.iter().position(same) {
            Some(at) if self.replies[at].action < reply.action => self.replies[at] = reply,
            Some(_) => return false,
            None if self.replies.len() >= REPLIES => {
                return !std::mem::replace(&mut self.is_full, true);
            }
            None => self.replies.push(reply),
        }
        true
    }

    /// What is answered about a container's life is over. Whether there was something.
    pub(super) fn forget(&mut self, target: &Target, life: &str) -> bool {
        let before = self.replies.len();
        self.replies.retain(|reply| reply.target != *target || reply.life != life);
        if self.replies.iter().all(|reply| reply.target != *target) && self.replies.len() < before {
            self.targets.remove(target);
        }
        self.replies.len() < before
    }

    /// Whether it is of answers, and none is left.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.what, What::Answers { .. }) && self.replies.is_empty()
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
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            node_count: nodes.len() as u64,
            containers: self.targets.len() as u64,
            approved: approved.map(|approved| shown(approved.at)).unwrap_or_default(),
            by: approved.map(|approved| approved.by.clone()).unwrap_or_default(),
            reason: approved.map(|approved| approved.reason.clone()).unwrap_or_default(),
            ..Shown::default()
        }
    }
}
