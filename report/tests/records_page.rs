//! docs/records.md names every word that a record may have, and no other.

#![allow(clippy::expect_used, reason = "a page without the table fails the test")]

use std::collections::BTreeSet;

use lacre_types::{Action, Event, Kind, Mode, Source, ViolationKind};

const PAGE: &str = include_str!("../../docs/records.md");

/// The words that the table of violations has for a field.
fn words(field: &str) -> BTreeSet<&'static str> {
    let (_, table) = PAGE.split_once("## A violation").expect("the section");
    let begins = format!("| `{field}` |");
    let row = table.lines().find(|line| line.starts_with(&begins)).expect("a row of the field");
    row.split('`').skip(1).step_by(2).filter(|word| *word != field).collect()
}

#[test]
fn the_page_has_the_words_of_each_field() {
    macro_rules! same {
        ($field:literal, $ty:ty) => {
            let all = <$ty>::ALL.iter().map(|word| word.as_str()).collect::<BTreeSet<_>>();
            assert_eq!(words($field), all, "{}", $field);
        };
    }
    same!("notificate", ViolationKind);
    same!("source", Source);
    same!("event", Event);
    same!("fileKind", Kind);
    same!("mode", Mode);
    same!("action", Action);
}
