//! Times: as a person says them, and as they are shown.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time that somebody names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment(SystemTime);

impl Moment {
    /// As records have it: RFC 3339 in UTC, of which the order is that of the texts.
    pub(crate) fn rfc3339(&self) -> String {
        lacre_types::rfc3339(self.0)
    }

    /// As the clock has it.
    pub(crate) const fn time(&self) -> SystemTime {
        self.0
    }
}

/// Reads `2h` (so long ago), RFC 3339, or a date with or without a time, which is local.
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    if let Some(ago) = ago(text) {
        let then = SystemTime::now().checked_sub(ago);
        return then.map(Moment).ok_or_else(|| "before all time".to_owned());
    }
    let stamp = text.parse::<Timestamp>().ok().or_else(|| {
        let local = text.parse::<jiff::civil::DateTime>().ok()?;
        TimeZone::system().to_timestamp(local).ok()
    });
    let stamp = stamp.ok_or(
        "neither a span (90s, 30m, 2h, 7d) nor a time (2026-11-29T15:35:52Z, 2026-11-29 15:35)",
    )?;
    let since_1970 = Duration::try_from(stamp.duration_since(Timestamp::UNIX_EPOCH));
    let since_1970 = since_1970.map_err(|_| "before 1970".to_owned())?;
    SystemTime::UNIX_EPOCH.checked_add(since_1970).map(Moment).ok_or_else(|| "too late".to_owned())
}

fn ago(text: &str) -> Option<Duration> {
    let unit = text.char_indices().next_back()?.0;
    let (number, unit) = text.split_at(unit);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(unit)?))
}

/// Shows times, in one zone.
#[derive(Debug, Clone)]
pub(crate) struct Clock(TimeZone);

impl Clock {
    /// The machine's own zone, or UTC.
    pub(crate) fn new(utc: bool) -> Self {
        Self(if utc { TimeZone::UTC } else { TimeZone::system() })
    }

    /// A record's time, to the second; as it stands where it is none.
    pub(crate) fn show(&self, time: &str) -> String {
        match time.parse::<Timestamp>() {
            Ok(stamp) => {
                stamp.to_zoned_datetime(self.0.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
            }
            Err(_) => crate::records::plain(time).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_span_or_a_time() {
        let now = SystemTime::now();
        let gone = now.duration_since(moment("2h").unwrap().time()).unwrap();
        assert!(
            (Duration::from_secs(7100)..=Duration::from_secs(7200)).contains(&gone),
            "{gone:?}"
        );
        let then = moment("2026-11-29T15:35:52Z").unwrap();
        assert_eq!(then.rfc3339(), "2026-11-29T15:35:52.000000000Z");
        assert_eq!(moment("2026-11-29T16:35:52+01:00").unwrap(), then);
        assert!(moment("2026-11-29 15:35").is_ok() && moment("2026-11-29").is_ok());
        for wrong in ["", "h", "2", "2x", "-2h", "99999999999999999999h", "1900-01-01T00:00:00Z"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Clock::new(true).show("2026-11-29T15:35:52.294977319Z"), "2026-11-29 15:35:52");
        assert_eq!(Clock::new(true).show("\u{1b}"), "\\u{1b}");
    }
}
