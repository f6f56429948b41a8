//! Which sources would be armed on this node.

use lacre_shim::config::Sources;
use lacre_types::Source;
use serde::Serialize;

use crate::facts::{Offer, Offers, Wanted};

/// What stands on the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each stands or falls by itself")]
pub struct Rungs {
    /// Permission events.
    pub fanotify: bool,
    /// Tracepoints.
    pub exec_trace: bool,
    /// With that at the first fetch of a page's instructions.
    pub fetch: bool,
    /// Perf events.
    pub exec_map: bool,
    /// The kernel's list of the container.
    pub container_ima: bool,
    /// The kernel's list of the node.
    pub ima: bool,
    /// One that is wanted can't be had: in enforce nothing starts.
    pub lost: bool,
    /// One that is wanted could not be looked at, and is not counted on.
    pub unknown: bool,
}

impl Rungs {
    pub(super) const fn any(self) -> bool {
        self.fanotify || self.exec_trace || self.exec_map || self.container_ima || self.ima
    }

    /// Whether a container starts in enforce mode.
    #[must_use]
    pub const fn starts(self) -> bool {
        self.any() && !self.lost
    }
}

/// What will stand here, as the shim arms it: all that is named, or what of `auto` there is. What
/// could not be tried is not counted on.
#[must_use]
pub fn rungs(offers: &Offers, wanted: &Wanted) -> Rungs {
    let list = wanted.only.as_deref().unwrap_or(Sources::AUTO);
    let stands = |source| list.contains(&source) && offers.of(source).is_some_and(Offer::is_given);
    let failed = |source: &Source| {
        let offer = offers.of(*source);
        offer.is_some_and(|offer| matches!(offer, Offer::Failed(_)))
    };
    let unseen = |source: &Source| {
        let offer = offers.of(*source);
        offer.is_some_and(|offer| matches!(offer, Offer::Unseen(_)))
    };
    let lost = match &wanted.only {
        Some(named) => named.iter().any(|source| !stands(*source) && !unseen(source)),
        None => Sources::AUTO.iter().any(failed),
    };
    let exec_trace = stands(Source::ExecTrace);
    Rungs {
        fanotify: stands(Source::Fanotify),
        exec_trace,
        fetch: exec_trace && wanted.fetch && offers.fetch.is_given(),
        exec_map: stands(Source::ExecMap),
        container_ima: stands(Source::ContainerIma),
        ima: stands(Source::Ima),
        lost,
        unknown: list.iter().any(unseen),
    }
}
