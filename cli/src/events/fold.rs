//! Records, folded as they are read, in bounded memory.

use std::collections::{HashMap, VecDeque};

use super::row::{Of, Row};
use crate::records::Line;

/// Different rows that are in memory: some 12 MiB. Of more, the older half is given out as it is,
/// and what equals one of those is a row of its own from then on.
const ROWS: usize = 20_000;
/// Records of which it is remembered where they went, for the updates that are about them: some
/// 10 MiB. Of more, those that were read first are forgotten.
const PLACES: usize = 100_000;
/// Containers of which it is remembered whose they are; a node has some hundred at a time.
const CONTAINERS: usize = 4096;

/// Equal records, as rows.
#[derive(Default)]
pub(crate) struct Fold {
    rows: HashMap<u128, Row>,
    /// Where each record went, and how many uses of the row are its.
    places: HashMap<(u64, u64), (u128, u64)>,
    order: VecDeque<(u64, u64)>,
    containers: HashMap<(String, String, String), Of>,
    /// Whether some rows were given out before all was read.
    pub(crate) is_in_parts: bool,
}

impl Fold {
    /// Takes a record; the row that it is in.
    pub(crate) fn take(&mut self, line: &Line<'_>) -> Option<&Row> {
        if line.record.as_deref() == Some("update") {
            return self.update(line);
        }
        let row = self.known(Row::of(line));
        let place = line.stream.as_deref().zip(line.seq).map(place);
        self.add(row, place)
    }

    /// Rows that there is no room for, the oldest first. Asked after each record.
    pub(crate) fn surplus(&mut self) -> Vec<Row> {
        if self.rows.len() <= ROWS {
            return Vec::new();
        }
        self.is_in_parts = true;
        let mut lasts: Vec<(String, u128)> =
            self.rows.iter().map(|(key, row)| (row.last.clone(), *key)).collect();
        lasts.sort_unstable();
        lasts.truncate(ROWS / 2);
        let mut rows: Vec<Row> =
            lasts.into_iter().filter_map(|(_, key)| self.rows.remove(&key)).collect();
        let left = &self.rows;
        self.places.retain(|_, (key, _)| left.contains_key(key));
        rows.sort_by(|a, b| a.first.cmp(&b.first));
        rows
    }

    /// All rows that there are now, the oldest first.
    pub(crate) fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.values().collect();
        rows.sort_by(|a, b| a.first.cmp(&b.first));
        rows
    }

    /// All rows that are left, the oldest first.
    pub(crate) fn finish(&mut self) -> Vec<Row> {
        let mut rows: Vec<Row> = std::mem::take(&mut self.rows).into_values().collect();
        rows.sort_by(|a, b| {
            (&a.first, &a.container, &a.path).cmp(&(&b.first, &b.container, &b.path))
        });
        rows
    }

    /// Outcomes, updates and gaps do not say whose they are beyond the id; violations do.
    fn known(&mut self, mut row: Row) -> Row {
        let of = (row.node.clone(), row.namespace.clone(), row.container.clone());
        if row.of.is_known() {
            if self.containers.len() >= CONTAINERS && !self.containers.contains_key(&of) {
                self.containers.clear();
            }
            self.containers.entry(of).or_insert_with(|| row.of.clone());
        } else if let Some(known) = self.containers.get(&of) {
            row.of = known.clone();
        }
        row
    }

    fn add(&mut self, row: Row, place: Option<(u64, u64)>) -> Option<&Row> {
        let (key, count) = (row.key(), row.count);
        let held = match self.rows.entry(key) {
            std::collections::hash_map::Entry::Vacant(free) => free.insert(row),
            std::collections::hash_map::Entry::Occupied(held) => {
                let held = held.into_mut();
                held.count = held.count.saturating_add(count);
                if row.first < held.first {
                    held.first = row.first;
                }
                if row.last > held.last {
                    held.last = row.last;
                }
                held
            }
        };
        if let Some(place) = place {
            if self.places.insert(place, (key, count)).is_none() {
                self.order.push_back(place);
            }
            if self.order.len() > PLACES
                && let Some(oldest) = self.order.pop_front()
            {
                self.places.remove(&oldest);
            }
        }
        Some(held)
    }

    /// A violation was seen again, or went worse.
    fn update(&mut self, line: &Line<'_>) -> Option<&Row> {
        let of = line.stream.as_deref().zip(line.of).map(place);
        let count = line.count.unwrap_or(1);
        let known = of.and_then(|of| self.places.get(&of).copied().zip(Some(of)));
        let Some(((key, before), of)) = known else {
            let mut row = self.known(Row::of(line));
            row.kind = "AGAIN".to_owned();
            row.detail = "its record is not among what was read".to_owned();
            return self.add(row, of);
        };
        let row = self.rows.get_mut(&key)?;
        let worse = *row.outcome != *line.outcome || *row.action != *line.action;
        if !worse || line.outcome.is_empty() {
            row.count = row.count.saturating_sub(before).saturating_add(count);
            if *line.last > *row.last {
                row.last = crate::records::plain(&line.last).into_owned();
            }
            self.places.insert(of, (key, count));
            return self.rows.get(&key);
        }
        // It is of another row from now on.
        let mut moved = row.clone();
        row.count = row.count.saturating_sub(before);
        if row.count == 0 {
            self.rows.remove(&key);
        }
        let own = |text: &str| crate::records::plain(text).into_owned();
        moved.count = count;
        (moved.outcome, moved.action) = (own(&line.outcome), own(&line.action));
        (moved.rule, moved.last) = (own(&line.rule), own(&line.last));
        self.add(moved, Some(of))
    }
}

/// A stream is 128 random bits in digits: half of them tell it from others.
fn place((stream, number): (&str, u64)) -> (u64, u64) {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    stream.hash(&mut hasher);
    (hasher.finish(), number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Said;

    fn fold(fold: &mut Fold, line: &str) -> Vec<Row> {
        let Said::Record(line) = Said::of(line.as_bytes()) else { panic!("{line}") };
        fold.take(&line);
        fold.surplus()
    }

    fn violation(seq: u64, second: u64, path: &str) -> String {
        format!(
            r#"{{"containerID":"web","notificate":"INVALID_HASH","imageName":"demo:1","time":"2026-01-01T00:00:{second:02}Z","stream":"s","seq":{seq},"namespace":"default","path":"{path}","action":"DENY","outcome":"denied"}}"#
        )
    }

    #[test]
    fn equal_records_are_one_row_and_updates_count_in_it() {
        let mut all = Fold::default();
        fold(&mut all, &violation(1, 1, "/x"));
        fold(&mut all, &violation(2, 5, "/x"));
        fold(&mut all, &violation(3, 2, "/y"));
        fold(
            &mut all,
            r#"{"containerID":"web","record":"update","of":1,"count":7,"last":"2026-01-01T00:00:09Z","outcome":"denied","action":"DENY","time":"t","stream":"s","seq":4,"namespace":"default"}"#,
        );
        fold(
            &mut all,
            r#"{"containerID":"web","record":"outcome","action":"PAUSE","result":"done","time":"2026-01-01T00:00:06Z","stream":"s","seq":5,"namespace":"default"}"#,
        );
        let rows = all.finish();
        let told: Vec<_> = rows
            .iter()
            .map(|row| (&*row.kind, row.count, &row.first[17..19], &row.last[17..19]))
            .collect();
        assert_eq!(
            told,
            [
                ("INVALID_HASH", 8, "01", "09"),
                ("INVALID_HASH", 1, "02", "02"),
                ("OUTCOME", 1, "06", "06")
            ]
        );
        assert_eq!(rows[2].of.image_name, "demo:1", "as the container's violations say");
    }

    #[test]
    fn what_went_worse_is_another_row_and_what_is_not_known_is_told() {
        let mut all = Fold::default();
        fold(&mut all, &violation(1, 1, "/x"));
        let worse = r#"{"containerID":"web","record":"update","of":1,"count":2,"last":"2026-01-01T00:00:09Z","outcome":"ran","action":"KILL","stream":"s","seq":4,"namespace":"default"}"#;
        fold(&mut all, worse);
        fold(&mut all, &worse.replace(r#""of":1"#, r#""of":99"#));
        let rows = all.finish();
        let told: Vec<_> = rows.iter().map(|row| (&*row.kind, row.count, &*row.outcome)).collect();
        assert_eq!(told, [("AGAIN", 2, "ran"), ("INVALID_HASH", 2, "ran")]);
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut all = Fold::default();
        let mut given = 0;
        for number in 0..120_000_u64 {
            given += fold(&mut all, &violation(number, number % 60, &format!("/{number}"))).len();
            assert!(all.rows.len() <= ROWS + 1);
        }
        assert!(all.places.len() <= PLACES && all.order.len() <= PLACES);
        assert_eq!(given + all.finish().len(), 120_000);
        assert!(all.is_in_parts);
    }
}
