//! What a guard notes down of itself and its containers, for who comes after its death.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::container::generation::Generation;
use crate::node::json_file::FileError;
use crate::node::process::Process;

/// A container that a guard has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Which of those that had this id; none: an older lacre had it.
    #[serde(default)]
    pub generation: Option<Generation>,
}

/// What is known of one guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The guard.
    pub guard: Process,
    /// The inner shim, if it said who it is.
    pub inner: Option<Process>,
    /// It was there before lacre, and may have containers that lacre knows nothing of: nobody
    /// here ends it.
    #[serde(default)]
    pub inner_is_others: bool,
    /// How the guard guards; none: an older lacre's.
    #[serde(default)]
    pub terms: Option<Terms>,
    /// Every socket that the inner shim listens on; the first is the one for its calls.
    pub inner_sockets: Vec<PathBuf>,
    /// The containers: created, and not yet deleted.
    pub containers: Vec<Container>,
}

/// How a guard guards, for who would have a container join those that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The configuration.
    pub config: PathBuf,
    /// Its mode; none where its containers are exempt.
    pub mode: Option<lacre_types::Mode>,
}

impl Terms {
    /// Whether a container that is to be guarded on `other` terms may be on these: they are of the
    /// same file, whatever that says by now, or no milder.
    #[must_use]
    pub fn hold_for(&self, other: &Self) -> bool {
        self.config == other.config || self.mode >= other.mode
    }
}

/// Notes down anew what a guard is and has, or says why that can't be done.
pub(crate) type Keep = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What is noted down of the guard of a place.
#[derive(Debug)]
pub enum Noted {
    /// Nothing: there is no guard, or it has left in good order, or somebody removed it.
    Nothing,
    /// What nobody can read, or is of another place: there may be a guard, and there may be
    /// containers of it.
    Unreadable(FileError),
    /// This.
    State(State),
}

impl Noted {
    /// The guard, where it is known and has not ended.
    #[must_use]
    pub fn living(&self) -> Option<Process> {
        self.state().map(|state| state.guard).filter(|guard| guard.is_alive())
    }

    /// What can be read.
    #[must_use]
    pub const fn state(&self) -> Option<&State> {
        match self {
            Self::State(state) => Some(state),
            Self::Nothing | Self::Unreadable(_) => None,
        }
    }
}

impl State {
    /// The inner shim, where it is lacre's to end.
    #[must_use]
    pub fn own_inner(&self) -> Option<Process> {
        self.inner.filter(|_| !self.inner_is_others)
    }

    /// The sockets of such a one.
    #[must_use]
    pub fn own_inner_sockets(&self) -> &[PathBuf] {
        if self.inner_is_others { &[] } else { &self.inner_sockets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_hold_for_what_is_asked_for_no_more_than_they_give() {
        let terms = |config: &str, mode| Terms { config: config.into(), mode };
        let (audit, enforce) = (Some(lacre_types::Mode::Audit), Some(lacre_types::Mode::Enforce));
        for (mode, other, hold) in [
            (enforce, audit, true),
            (audit, audit, true),
            (enforce, None, true),
            (audit, enforce, false),
            (None, audit, false),
            (None, enforce, false),
        ] {
            assert_eq!(terms("/a", mode).hold_for(&terms("/b", other)), hold, "{mode:?} {other:?}");
            // The file was edited since.
            assert!(terms("/a", mode).hold_for(&terms("/a", other)));
        }
    }
}
