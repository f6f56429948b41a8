//! A finding: how bad it is, what it is about, and what would mend it.

use std::fmt;

use serde::Serialize;

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Nothing to mend, and good to know.
    Note,
    /// It could not be looked at.
    Unseen,
    /// Something does not do what it seems to, or will not before long.
    Warning,
    /// Something does not work.
    Fault,
}

impl State {
    /// In a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unseen => "unseen",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// What it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// The kernel.
    Kernel,
    /// What sees what is run.
    Sources,
    /// containerd.
    Containerd,
    /// dockerd.
    Docker,
    /// lacre's own files, and what it needs of the node.
    Lacre,
    /// The policy, and the server that has it.
    Policy,
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Sources => "sources",
            Self::Containerd => "containerd",
            Self::Docker => "docker",
            Self::Lacre => "lacre",
            Self::Policy => "policy",
        })
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub area: Area,
    /// How good it is.
    pub state: State,
    /// What is.
    pub is: String,
    /// What follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// Of one area.
pub(super) struct Book {
    area: Area,
    pub(super) all: Vec<Finding>,
}

impl Book {
    pub(super) fn of(area: Area) -> Self {
        Self { area, all: Vec::new() }
    }

    fn add(&mut self, state: State, is: impl Into<String>) -> &mut Finding {
        let finding = Finding { area: self.area, state, is: is.into(), follows: None, mend: None };
        self.all.push(finding);
        let last = self.all.len() - 1;
        &mut self.all[last]
    }

    pub(super) fn ok(&mut self, is: impl Into<String>) -> &mut Finding {
        self.add(State::Ok, is)
    }

    pub(super) fn note(&mut self, is: impl Into<String>) -> &mut Finding {
        self.add(State::Note, is)
    }

    pub(super) fn unseen(&mut self, is: impl Into<String>) -> &mut Finding {
        self.add(State::Unseen, is)
    }

    pub(super) fn warning(&mut self, is: impl Into<String>) -> &mut Finding {
        self.add(State::Warning, is)
    }

    pub(super) fn fault(&mut self, is: impl Into<String>) -> &mut Finding {
        self.add(State::Fault, is)
    }
}

impl Finding {
    pub(super) fn follows(&mut self, text: impl Into<String>) -> &mut Self {
        self.follows = Some(text.into());
        self
    }

    pub(super) fn mend(&mut self, text: impl Into<String>) -> &mut Self {
        self.mend = Some(text.into());
        self
    }
}
