//! Durations as people write them.

use std::time::Duration;

use super::node::Node;
use super::reader::Reader;
use crate::diagnostic::excerpt;

/// A longer wait is a slip of the unit.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// A duration, such as `500ms`, `10s` or `5m`: at most a day.
pub fn duration(reader: &mut Reader<'_>, node: &Node) -> Option<Duration> {
    let text = reader.text(node, "a duration such as 10s")?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale = UNITS.iter().find(|(name, _)| *name == unit);
    let Some((number, (_, scale))) = number.parse::<u64>().ok().zip(scale) else {
        reader
            .error(node.span, format!("`{}` is not a duration", excerpt(text)))
            .expected("expected a number and one of ms, s, m, h")
            .help("such as 500ms, 10s or 5m");
        return None;
    };
    let duration = Duration::from_millis(number.saturating_mul(*scale));
    if duration > LONGEST {
        reader.error(node.span, format!("`{}` is more than a day", excerpt(text)));
        return None;
    }
    Some(duration)
}
