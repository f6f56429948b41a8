//! The page: Markdown, and nothing that was not measured.

use std::fmt::Write as _;

use super::stats::{Comparison, Series};

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Kibibytes,
}

impl Unit {
    /// The number as a person reads it: three digits that count.
    pub(crate) fn show(self, value: f64) -> String {
        let (value, unit) = match self {
            Self::Nanoseconds if value >= 1e9 => (value / 1e9, "s"),
            Self::Nanoseconds if value >= 1e6 => (value / 1e6, "ms"),
            Self::Nanoseconds if value >= 1e3 => (value / 1e3, "µs"),
            Self::Nanoseconds => (value, "ns"),
            Self::Kibibytes if value.abs() >= 1024.0 => (value / 1024.0, "MiB"),
            Self::Kibibytes => (value, "KiB"),
        };
        let digits = match value.abs() {
            small if small < 10.0 => 2,
            middle if middle < 100.0 => 1,
            _ => 0,
        };
        format!("{value:.digits$} {unit}")
    }
}

/// A part of the page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Section {
    text: String,
}

impl Section {
    /// A section with a heading and what was done, in a few lines.
    pub(crate) fn new(heading: &str, method: &str) -> Self {
        let mut section = Self { text: format!("## {heading}\n") };
        section.paragraph(method);
        section
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let _ = write!(self.text, "\n{}\n", wrap(text));
    }

    /// A table of ways against the first of them.
    pub(crate) fn comparison(&mut self, title: &str, unit: Unit, of: &Comparison) {
        let mut rows = Vec::new();
        for (name, series) in of.rows() {
            let ratio = of.ratio(name).unwrap_or_default();
            let mut row = vec![name.clone()];
            row.extend(spread(series, unit));
            row.push(format!("{:.3}", ratio.median()));
            row.push(format!("{:.3} – {:.3}", ratio.quantile(0.25), ratio.quantile(0.75)));
            rows.push(row);
        }
        let count = of.rows().first().map_or(0, |(_, series)| series.len());
        let title = format!("{title}, {count} rounds");
        let base = of.rows().first().map_or("", |(name, _)| name);
        let ratio = format!("× {base}");
        let head = [&title, "median", "min", "quartiles", "max", &ratio, "its quartiles"];
        self.table(&head, &rows);
    }

    /// A table of series that are not compared.
    pub(crate) fn series(&mut self, title: &str, unit: Unit, rows: &[(String, Series)]) {
        let table: Vec<Vec<String>> = rows
            .iter()
            .map(|(name, series)| {
                let mut row = vec![name.clone(), series.len().to_string()];
                row.extend(spread(series, unit));
                row.insert(5, unit.show(series.quantile(0.99)));
                row
            })
            .collect();
        self.table(&[title, "samples", "median", "min", "quartiles", "p99", "max"], &table);
    }

    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        self.text.push('\n');
        self.text.push_str(&line(head.to_vec()));
        let rule = (0..head.len()).map(|at| if at == 0 { "---" } else { "--:" }).collect();
        self.text.push_str(&line(rule));
        for row in rows {
            self.text.push_str(&line(row.iter().map(String::as_str).collect()));
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Median, minimum, quartiles, maximum.
fn spread(series: &Series, unit: Unit) -> [String; 4] {
    let show = |at| unit.show(series.quantile(at));
    [show(0.5), show(0.0), format!("{} – {}", show(0.25), show(0.75)), show(1.0)]
}

/// Lines of at most 90 columns.
fn wrap(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full =
            lines.last().is_some_and(|line| line.chars().count() + word.chars().count() >= 90);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_their_unit() {
        let shown: Vec<_> = [12.3, 1234.0, 45_600.0, 7_891_000.0, 2.5e9]
            .map(|value| Unit::Nanoseconds.show(value))
            .into();
        assert_eq!(shown, ["12.3 ns", "1.23 µs", "45.6 µs", "7.89 ms", "2.50 s"]);
        assert_eq!(Unit::Kibibytes.show(5000.0), "4.88 MiB");
        assert_eq!(Unit::Kibibytes.show(-12.0), "-12.0 KiB");
    }

    #[test]
    fn a_comparison_names_its_base_first() {
        let mut both = Comparison::default();
        for (a, b) in [(100.0, 103.0), (200.0, 206.0)] {
            both.push("runc", a);
            both.push("lacre", b);
        }
        let mut section = Section::new("Starts", "how");
        section.comparison("start", Unit::Nanoseconds, &both);
        let text = section.into_text();
        assert!(text.contains("| start, 2 rounds | median |"), "{text}");
        assert!(text.contains("| runc | 150 ns | 100 ns | 125 ns – 175 ns | 200 ns | 1.000 |"));
        assert!(text.contains("| 1.030 | 1.030 – 1.030 |"), "{text}");
    }
}
