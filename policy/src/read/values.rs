use std::time::Duration;

use crate::yaml::{Node, Reader};

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
            .error(node.span, format!("`{}` is not a duration", shown(text)))
            .expected("expected a number and one of ms, s, m, h")
            .help("such as 500ms, 10s or 5m");
        return None;
    };
    let duration = Duration::from_millis(number.saturating_mul(*scale));
    if duration > LONGEST {
        reader.error(node.span, format!("`{}` is more than a day", shown(text)));
        return None;
    }
    Some(duration)
}

pub(super) fn port(reader: &mut Reader<'_>, node: &Node) -> Option<u16> {
    let text = reader.text(node, "a TCP port such as \"50051\"")?;
    match number(text) {
        Some(port) if port != 0 => Some(port),
        _ => {
            reader
                .error(node.span, format!("`{}` is not a TCP port", shown(text)))
                .expected("expected a number from 1 to 65535");
            None
        }
    }
}

pub(super) fn attempts(reader: &mut Reader<'_>, node: &Node) -> Option<u32> {
    let text = reader.text(node, "a number of restarts")?;
    let attempts = number(text).filter(|attempts| *attempts > 0);
    if attempts.is_none() {
        reader
            .error(node.span, format!("`{}` is not a number of restarts", shown(text)))
            .expected("expected a number from 1")
            .help("leave `Attempts` out to have no limit");
    }
    attempts
}

/// Digits alone; `parse` by itself takes a `+` too.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A text of the file within a message.
pub(super) fn shown(text: &str) -> String {
    lacre_types::escape(text.as_bytes()).chars().take(80).collect()
}
