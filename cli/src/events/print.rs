//! Rows for people: a line each, or, on a narrow terminal, a few.

use std::io::{self, Write};

use super::row::Row;
use crate::terminal::wrap;
use crate::when::Clock;

/// Terminals with fewer columns than this get rows of several lines.
const WIDE: usize = 100;

/// How rows are written.
pub(crate) enum Form {
    /// One object a line.
    Json,
    /// One line each, whatever its length: to be searched, copied and cut up.
    Lines(Clock),
    /// Blocks of so many columns.
    Blocks(Clock, usize),
}

impl Form {
    /// As standard output wants it.
    pub(crate) fn of(json: bool, utc: bool) -> Self {
        match crate::terminal::size() {
            _ if json => Self::Json,
            Some((columns, _)) if columns < WIDE => Self::Blocks(Clock::new(utc), columns),
            _ => Self::Lines(Clock::new(utc)),
        }
    }

    /// What stands above the rows.
    pub(crate) fn head(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Lines(_) => writeln!(
                out,
                "{:19}  {:19}  {:>6}  {:15}  {:14}  {:24}  {:32}  PATH",
                "FIRST", "LAST", "COUNT", "KIND", "OUTCOME", "CONTAINER", "IMAGE"
            ),
            Self::Json | Self::Blocks(..) => Ok(()),
        }
    }

    pub(crate) fn row(&self, out: &mut impl Write, row: &Row) -> io::Result<()> {
        match self {
            Self::Json => {
                serde_json::to_writer(&mut *out, row).map_err(io::Error::from)?;
                writeln!(out)
            }
            Self::Lines(clock) => {
                let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
                writeln!(
                    out,
                    "{:19}  {:19}  {:>6}  {:15}  {:14}  {:24}  {:32}  {}",
                    clock.show(&row.first),
                    clock.show(&row.last),
                    row.count,
                    row.kind,
                    or_dash(outcome(row)),
                    row.named(),
                    or_dash(image(row)),
                    or_dash(what(row)),
                )
            }
            Self::Blocks(clock, columns) => block(out, row, clock, *columns),
        }
    }
}

fn block(out: &mut impl Write, row: &Row, clock: &Clock, columns: usize) -> io::Result<()> {
    let (first, last) = (clock.show(&row.first), clock.show(&row.last));
    let mut lines = vec![first.clone()];
    let times = if row.count == 1 { String::new() } else { format!(" x{}", row.count) };
    lines.push(format!("  {}{times} {}", row.kind, outcome(row)));
    lines.push(format!("  {}", row.named()));
    for text in [image(row), what(row)] {
        if !text.is_empty() {
            lines.push(format!("  {text}"));
        }
    }
    if last != first {
        lines.push(format!("  last {last}"));
    }
    for line in lines {
        out.write_all(wrap(&line, columns, "    ").as_bytes())?;
    }
    Ok(())
}

/// What became of it, and what was done: once where that is one word.
fn outcome(row: &Row) -> String {
    match (row.outcome.as_str(), row.action.as_str()) {
        (outcome, "") => outcome.to_owned(),
        ("denied", "DENY") => "denied".to_owned(),
        (outcome, action) => format!("{outcome} {action}"),
    }
}

fn image(row: &Row) -> String {
    if row.of.image_name.is_empty() { row.of.image_id.clone() } else { row.of.image_name.clone() }
}

fn what(row: &Row) -> String {
    match (row.path.as_str(), row.detail.as_str()) {
        (path, "") => path.to_owned(),
        ("", detail) => detail.to_owned(),
        (path, detail) => format!("{path} ({detail})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            first: "2026-11-29T15:35:52.294977319Z".to_owned(),
            last: "2026-11-29T16:00:00Z".to_owned(),
            count: 12,
            kind: "ENTRY_NOT_FOUND".to_owned(),
            outcome: "denied".to_owned(),
            action: "DENY".to_owned(),
            namespace: "k8s.io".to_owned(),
            container: "0123456789abcdef".repeat(4),
            path: format!("/tmp/{}", "deep/".repeat(20)),
            ..Row::default()
        }
    }

    #[test]
    fn a_row_fits_forty_columns_and_a_pipe_has_it_in_one_line() {
        let mut out = Vec::new();
        let narrow = Form::Blocks(Clock::new(true), 40);
        narrow.row(&mut out, &row()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.len() <= 40), "{text}");
        assert!(text.starts_with("2026-11-29 15:35:52\n  ENTRY_NOT_FOUND x12 denied\n"), "{text}");
        assert!(text.replace("\n    ", "").contains(&row().path), "nothing is cut off: {text}");
        let mut out = Vec::new();
        Form::Lines(Clock::new(true)).row(&mut out, &row()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.trim_end().ends_with(&row().path) && text.contains("k8s.io/0123456789ab"));
    }
}
