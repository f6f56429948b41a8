//! Which events of each `aggregate` a list accounts for: one that none does is of a container
//! that was never shown.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::case::Case;
use super::finding::Finding;
use super::name::Log;
use super::verdict::Question;
use crate::container::{Aggregate, Keeper};
use crate::evidence::AnchorPart;
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

/// Whose an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// `aggregate`'s own: its beginning, its end.
    Aggregate,
    /// That list's ([`super::lists::Subject::number`]), which was brought.
    List(usize),
    /// The end of a list that was known to lack nothing else.
    Ended,
    /// Of no list that was brought.
    Nobody,
}

impl Case<'_> {
    /// Tells events that nothing accounts for. `owners` are those of the lines from the part's
    /// first on; `sound`, the lists that were brought and hold.
    pub(super) fn complete(
        &mut self,
        part: &AnchorPart,
        aggregate: &Aggregate,
        owners: &[Owner],
        sound: &HashSet<usize>,
        before: Option<&Claimed>,
    ) {
        let question = Question::AggregateComplete(part.keeper);
        let open = |owner: &&Owner| match owner {
            Owner::Aggregate | Owner::Ended => false,
            Owner::List(number) => !sound.contains(number),
            Owner::Nobody => true,
        };
        let count = |owners: &[Owner]| owners.iter().filter(open).count() as u64;
        let known = before.and_then(|before| {
            let known = before.aggregate.lines.checked_sub(part.first)?;
            Some((before.unclaimed, usize::try_from(known).ok()?.min(owners.len())))
        });
        let unclaimed = match known {
            // Lists may have come to light since, or been removed.
            Some((unclaimed, known)) if part.first == 0 => {
                unclaimed.min(count(&owners[..known])) + count(&owners[known..])
            }
            Some((unclaimed, known)) => unclaimed + count(&owners[known..]),
            None if part.first == 0 => count(owners),
            None => return self.not_checked(question, "of what is known of it that was not asked"),
        };
        self.claims.insert(part.keeper, Claimed { aggregate: aggregate.clone(), unclaimed });
        // What is wrong with a list that was brought is told of the list.
        let wrong = owners.iter().filter(|owner| matches!(owner, Owner::List(_)) && open(owner));
        let events = unclaimed.saturating_sub(wrong.count() as u64);
        if events > 0 {
            let log = Log::Aggregate(part.keeper);
            self.verdict.find(&question, Finding::EventsUnclaimed { log, events });
        } else if unclaimed > 0 {
            self.not_checked(question, format!("the lists of {unclaimed} events do not hold"));
        } else {
            self.passed(question, "each event is of a list that was shown");
        }
    }
}
