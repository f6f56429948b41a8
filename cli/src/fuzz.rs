//! Entries for fuzzing: each takes any bytes, and fails by panicking.

use crate::events::{Fold, Form, Row};
use crate::records::Said;
use crate::when::Clock;

/// The columns of a narrow terminal.
const COLUMNS: usize = 40;

/// A file of records, as `lacre events` reads, folds and shows it. The records are a node's, and
/// on a server anybody's who may report to it.
pub fn fuzz_records(data: &[u8]) {
    let (mut fold, mut records) = (Fold::default(), 0);
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let Said::Record(line) = Said::of(line) else { continue };
        records += 1;
        fold.take(&line);
        fold.surplus().iter().for_each(show);
    }
    let rows = fold.finish();
    assert!(rows.len() <= records, "a row is of a record");
    rows.iter().for_each(show);
}

/// However it is shown, it is what a terminal shows as it stands.
#[allow(clippy::expect_used, reason = "a fuzz entry fails by panicking")]
fn show(row: &Row) {
    let said = |form: &Form| {
        let mut out = Vec::new();
        form.row(&mut out, row).expect("memory takes all");
        String::from_utf8(out).expect("text")
    };
    // As `escape` leaves it: letters of any script, and nothing that deceives a reader.
    let is_shown = |c: char| {
        matches!(c, '\n' | '\\') || lacre_types::escape(c.to_string().as_bytes()) == c.to_string()
    };
    for form in [Form::Json, Form::Lines(Clock::new(true))] {
        let text = said(&form);
        assert!(text.chars().all(is_shown), "{text:?}");
        assert_eq!(text.lines().count(), 1, "{text:?}");
    }
    let json = said(&Form::Json);
    serde_json::from_str::<serde_json::Value>(&json).expect("an object a line");
    let blocks = said(&Form::Blocks(Clock::new(true), COLUMNS));
    assert!(blocks.chars().all(is_shown), "{blocks:?}");
    assert!(blocks.lines().all(|line| line.chars().count() <= COLUMNS), "{blocks}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A line of a field that is in any record, and of others.
    fn line() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec![
            "record",
            "notificate",
            "stream",
            "time",
            "last",
            "outcome",
            "action",
            "path",
            "reason",
        ]);
        let text = prop::sample::select(vec![
            "update",
            "outcome",
            "gap",
            "release",
            "LATER",
            "s",
            "\u{202e}",
            "2026-01-01T00:00:00Z",
        ]);
        let number = prop::sample::select(vec!["seq", "of", "count", "lost", "uid"]);
        let numbers = prop::sample::select(vec![0, 1, 2, u64::MAX]);
        let texts = prop::collection::btree_map(name, text, 0..6);
        let numbers = prop::collection::btree_map(number, numbers, 0..4);
        (texts, numbers).prop_map(|(texts, numbers)| {
            let mut all = serde_json::Map::new();
            all.extend(texts.into_iter().map(|(name, text)| (name.to_owned(), text.into())));
            all.extend(numbers.into_iter().map(|(name, number)| (name.to_owned(), number.into())));
            serde_json::Value::Object(all).to_string()
        })
    }

    proptest! {
        #[test]
        fn whatever_a_file_holds_is_shown_as_text(lines in prop::collection::vec(line(), 0..12)) {
            fuzz_records(lines.join("\n").as_bytes());
        }

        #[test]
        fn no_bytes_make_it_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz_records(&data);
        }
    }
}
