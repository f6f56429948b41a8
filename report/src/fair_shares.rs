//! Room that containers share, so that none is left without.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Whose a record is: a container, as `NAMESPACE/ID`; `None`: the node's, which has no share
/// but the whole.
pub(crate) type Owner = Option<Arc<str>>;

/// Room that containers share: no matter how much one of them wants, another finds some.
///
/// A container may have as much as would then still be free. So one alone gets half, two that
/// want all at once get a third each, and whoever comes later finds half of what is free,
/// without anybody having to know beforehand how many there are (Choudhury and Hahne, dynamic
/// queue thresholds, 1998).
#[derive(Debug, Default)]
pub(crate) struct Shares {
    limit: u64,
    total: u64,
    of: BTreeMap<Arc<str>, u64>,
}

impl Shares {
    pub(crate) const fn new(limit: u64) -> Self {
        Self { limit, total: 0, of: BTreeMap::new() }
    }

    /// Whether there is room for that many bytes of this owner, with `reserve` left free.
    pub(crate) fn fits(&self, owner: &Owner, bytes: u64, reserve: u64) -> bool {
        let Some(free) = self.limit.checked_sub(self.total + bytes + reserve) else { return false };
        owner
            .as_ref()
            .is_none_or(|owner| self.of.get(owner).copied().unwrap_or_default() + bytes <= free)
    }

    pub(crate) fn take(&mut self, owner: &Owner, bytes: u64) {
        self.total += bytes;
        if let Some(owner) = owner {
            *self.of.entry(Arc::clone(owner)).or_default() += bytes;
        }
    }

    pub(crate) fn give_back(&mut self, owner: &Owner, bytes: u64) {
        self.total = self.total.saturating_sub(bytes);
        if let Some(owner) = owner
            && let Some(of) = self.of.get_mut(owner)
        {
            *of = of.saturating_sub(bytes);
            if *of == 0 {
                self.of.remove(owner);
            }
        }
    }

    pub(crate) const fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whoever_is_greedy_the_next_one_finds_room(
            wants in proptest::collection::vec((0_u8..6, 1_u64..5000), 0..300),
        ) {
            let mut shares = Shares::new(100_000);
            for (who, bytes) in wants {
                let owner: Owner = Some(format!("ns/{who}").into());
                if shares.fits(&owner, bytes, 0) {
                    shares.take(&owner, bytes);
                }
                prop_assert!(shares.total() <= 100_000);
            }
            // Six that come one after the other leave a 64th of it free, of which the next one
            // may have half.
            prop_assert!(shares.fits(&Some("ns/new".into()), 100_000 / 128, 0), "{:?}", shares);
        }

        #[test]
        fn what_is_given_back_is_free_again(
            takes in proptest::collection::vec((0_u8..4, 1_u64..5000), 0..100),
        ) {
            let mut shares = Shares::new(u64::MAX / 2);
            let owner = |who: u8| (who > 0).then(|| format!("ns/{who}").into());
            takes.iter().for_each(|(who, bytes)| shares.take(&owner(*who), *bytes));
            takes.iter().for_each(|(who, bytes)| shares.give_back(&owner(*who), *bytes));
            prop_assert_eq!(shares.total(), 0);
            prop_assert!(shares.of.is_empty());
        }
    }
}
