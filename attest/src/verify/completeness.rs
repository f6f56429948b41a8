//! Whether a list accounts for each event of an `aggregate`: one that none does is of a container
//! that was never shown.

use std::collections::HashSet;

use super::case::Case;
use super::claims::Claimed;
use super::finding::Finding;
use super::name::Log;
use super::verdict::Question;
use crate::container::Aggregate;
use crate::evidence::AnchorPart;

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
