//! How RESTART keeps from becoming a loop.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Where a container keeps how often lacre has restarted it.
pub(crate) const COUNT: &str = "lacre.dev/restarts";
/// And when last, in seconds since the epoch.
pub(crate) const LAST: &str = "lacre.dev/restarted-at";

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How soon, and how often, a container may come back. A violation that returns with every
/// start must not become a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Before the second restart; the first does not wait. Doubled each time.
    pub first: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// So many restarts; the next one is a STOP.
    pub limit: u32,
    /// After so long without, the count begins anew.
    pub forget: Duration,
}

impl Default for Backoff {
    /// The kubelet's: 10 s, doubled up to 5 minutes, forgotten after 10.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            cap: Duration::from_secs(300),
            limit: 8,
            forget: Duration::from_secs(600),
        }
    }
}

/// What becomes of a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is the `count`th, and may happen after this wait.
    Restart {
        /// Which one.
        count: u32,
        /// How long it has to wait.
        wait: Duration,
    },
    /// There were so many already: it stays stopped.
    Stop {
        /// How many.
        count: u32,
    },
}

impl Backoff {
    /// What becomes of a restart now (seconds since the epoch), by the container's labels.
    /// Labels that can't be read count as the limit: they were tampered with.
    #[must_use]
    pub fn next(&self, labels: &BTreeMap<String, String>, now: u64) -> Next {
        let read = |key| labels.get(key).map(|text: &String| text.parse::<u64>());
        let (count, last) = match (read(COUNT), read(LAST)) {
            (None, None) => (0, now),
            (Some(Ok(count)), Some(Ok(last))) => {
                // A clock that went back must not let it wait for ever.
                (u32::try_from(count).unwrap_or(u32::MAX), last.min(now))
            }
            _ => return Next::Stop { count: self.limit },
        };
        let since = Duration::from_secs(now - last);
        if count == 0 || since >= self.forget.max(self.delay(count)) {
            return Next::Restart { count: 1, wait: Duration::ZERO };
        }
        if count >= self.limit {
            return Next::Stop { count };
        }
        Next::Restart { count: count + 1, wait: self.delay(count).saturating_sub(since) }
    }

    /// What lies between restart `count` and the one after it.
    fn delay(&self, count: u32) -> Duration {
        let factor = 1_u32.checked_shl(count.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(count: &str, last: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(COUNT.into(), count.into()), (LAST.into(), last.into())])
    }

    #[test]
    fn it_doubles_then_stops() {
        let backoff = Backoff { limit: 3, ..Backoff::default() };
        let secs = Duration::from_secs;
        assert_eq!(
            backoff.next(&BTreeMap::new(), 1000),
            Next::Restart { count: 1, wait: Duration::ZERO }
        );
        assert_eq!(
            backoff.next(&labels("1", "1000"), 1003),
            Next::Restart { count: 2, wait: secs(7) }
        );
        assert_eq!(
            backoff.next(&labels("2", "1000"), 1003),
            Next::Restart { count: 3, wait: secs(17) }
        );
        assert_eq!(backoff.next(&labels("3", "1000"), 1003), Next::Stop { count: 3 });
        assert_eq!(
            backoff.next(&labels("3", "1000"), 1600),
            Next::Restart { count: 1, wait: Duration::ZERO }
        );
    }

    #[test]
    fn labels_that_were_tampered_with_stop_it() {
        let backoff = Backoff::default();
        for bad in [labels("x", "1"), labels("1", ""), labels("-1", "1")] {
            assert_eq!(backoff.next(&bad, 10), Next::Stop { count: 8 });
        }
        let half = BTreeMap::from([(COUNT.to_owned(), "1".to_owned())]);
        assert_eq!(backoff.next(&half, 10), Next::Stop { count: 8 });
    }

    proptest! {
        #[test]
        fn a_container_that_violates_at_once_every_time_ends_stopped(
            first in 1_u64..100, cap in 1_u64..1000, limit in 1_u32..40,
        ) {
            let backoff = Backoff {
                first: Duration::from_secs(first),
                cap: Duration::from_secs(cap),
                limit,
                forget: Duration::from_secs(cap * 2 + 1),
            };
            let (mut now, mut have, mut restarts, mut waited) = (1_000_000, BTreeMap::new(), 0, Duration::ZERO);
            while let Next::Restart { count, wait } = backoff.next(&have, now) {
                prop_assert!(wait <= Duration::from_secs(cap));
                prop_assert!(wait >= waited || wait == Duration::from_secs(cap));
                waited = wait;
                now += wait.as_secs();
                restarts += 1;
                prop_assert_eq!(count, restarts);
                have = labels(&count.to_string(), &now.to_string());
                prop_assert!(restarts <= limit);
            }
            prop_assert_eq!(restarts, limit);
        }

        #[test]
        fn no_label_makes_it_panic(count in ".{0,24}", last in "[0-9]{0,24}", now: u64) {
            let _ = Backoff::default().next(&labels(&count, &last), now);
        }
    }
}
