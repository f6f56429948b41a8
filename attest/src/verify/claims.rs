//! Which events of each `aggregate` a list has accounted for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::container::{Aggregate, Keeper};
use crate::tpm2::Clock;

/// Which events of one boot were accounted for. A list is removed some time after its container,
/// while its events stay: what it accounted for once, it has for that boot, whatever else was
/// wrong with the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    reset_count: u32,
    anchors: BTreeMap<Keeper, Claimed>,
}

/// Those of one keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// Its `aggregate`, as far as the TPM vouched for it.
    pub aggregate: Aggregate,
    /// How many of its events no list accounted for.
    pub unclaimed: u64,
}

impl Claims {
    pub(super) const fn of(clock: &Clock, anchors: BTreeMap<Keeper, Claimed>) -> Self {
        Self { reset_count: clock.reset_count, anchors }
    }

    /// What is known after another verification.
    #[must_use]
    pub fn and(mut self, mut later: Self) -> Self {
        if self.reset_count == later.reset_count {
            self.anchors.append(&mut later.anchors);
            return self;
        }
        later
    }

    /// What was known of that keeper's in the boot of that clock.
    pub(super) fn get(&self, clock: &Clock, keeper: Keeper) -> Option<&Claimed> {
        (self.reset_count == clock.reset_count).then(|| self.anchors.get(&keeper))?
    }
}
