//! Record files (docs/records.md), and the reports of a policy server.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;

use super::row::Row;
use crate::records::{Line, Lines, Next, Opened, Place, Said, plain};
use crate::view::shown;

/// Where the row of each numbered violation is.
type Places = HashMap<(String, u64), usize>;

/// What of a file is no violation that could be shown.
#[derive(Debug, Default, PartialEq, Eq)]
struct Missing {
    broken: u64,
    gaps: u64,
    lost: u64,
}

/// Adds the violations of a record file and of the older ones beside it, or of a server's reports,
/// and says on standard error what is missing in them.
pub(super) fn read(newest: &Path, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let mut places = Places::new();
    let place = Place::of(newest);
    let files = place.open(None)?;
    let there = match &place {
        // The older ones alone are no node's file.
        Place::File(path) => files.last().is_some_and(|last| last.path == *path),
        Place::Reports(_) => !files.is_empty(),
    };
    if !there {
        anyhow::bail!("cannot read {}: there are no records", shown(newest));
    }
    for Opened { path, file } in files {
        let shown = shown(&path);
        let missing = lines(file, rows, &mut places).with_context(|| format!("reading {shown}"))?;
        let mut stderr = io::stderr();
        if missing.gaps > 0 {
            let Missing { gaps, lost, .. } = missing;
            writeln!(stderr, "lacre: {shown}: {gaps} gaps: at least {lost} records are missing")?;
        }
        if missing.broken > 0 {
            let broken = missing.broken;
            let are = if broken == 1 { "line is no record" } else { "lines are no records" };
            writeln!(stderr, "lacre: {shown}: {broken} {are} (cut short?)")?;
        }
    }
    Ok(())
}

fn lines(file: File, rows: &mut Vec<Row>, places: &mut Places) -> io::Result<Missing> {
    let mut missing = Missing::default();
    let mut file = Lines::of(file);
    loop {
        let line = match file.next(false)? {
            Next::End => return Ok(missing),
            Next::NoRecord => {
                missing.broken += 1;
                continue;
            }
            Next::Whole(line) => line,
        };
        match Said::of(line) {
            Said::Record(line) => take(&line, rows, places, &mut missing),
            Said::Nothing => {}
            Said::Missing(count) => {
                missing.gaps += 1;
                missing.lost = missing.lost.saturating_add(count);
            }
            Said::Broken => missing.broken += 1,
        }
    }
}

fn take(line: &Line<'_>, rows: &mut Vec<Row>, places: &mut Places, missing: &mut Missing) {
    match line.record.as_deref() {
        Some("gap") => {
            missing.gaps += 1;
            missing.lost = missing.lost.saturating_add(line.lost.unwrap_or(1));
        }
        Some("update") => {
            let place = line.stream.as_ref().map(ToString::to_string).zip(line.of);
            let place = place.and_then(|of| places.get(&of));
            if let Some(row) = place.and_then(|place| rows.get_mut(*place)) {
                row.count = line.count.unwrap_or(row.count);
                row.what = what(row.what.split(' ').next().unwrap_or_default(), &line.outcome);
            }
        }
        Some(_) => {}
        None => {
            let place = line.stream.as_ref().map(ToString::to_string).zip(line.seq);
            places.extend(place.map(|place| (place, rows.len())));
            rows.push(row(line));
        }
    }
}

fn what(kind: &str, outcome: &str) -> String {
    format!("{} {}", plain(kind), plain(outcome))
}

fn row(line: &Line<'_>) -> Row {
    let own = |text: &str| plain(text).into_owned();
    Row {
        path: own(&line.path),
        digest: own(&line.digest),
        container: own(&line.container),
        namespace: own(&line.namespace),
        image_name: own(&line.image_name),
        image_id: own(&line.image_id),
        layer: own(&line.layer),
        node: own(&line.node),
        by: own(&line.source),
        what: what(&line.notificate, &line.outcome),
        count: line.count.unwrap_or(1),
        time: own(&line.time),
        listed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Row>, Missing) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut rows = Vec::new();
        let file = File::open(file.path()).unwrap();
        let missing = lines(file, &mut rows, &mut Places::new()).unwrap();
        (rows, missing)
    }

    #[test]
    fn gaps_and_broken_lines_are_counted_and_the_rest_is_read() {
        let long = "x".repeat(300 << 10);
        let (rows, missing) = read(&format!(
            "{{\"containerID\":\"a\",\"notificate\":\"INVALID_HASH\",\"path\":\"/x\",\"new\":1}}\n\
             {{\"record\":\"gap\",\"lost\":3}}\n{{\"record\":\"outcome\"}}\n{{\"cont\n{long}\n\
             {{\"containerID\":\"b\",\"notificate\":\"FILELESS\",\"path\":\"\\u001b[2J\"}}\n"
        ));
        assert_eq!(missing, Missing { broken: 2, gaps: 1, lost: 3 });
        assert_eq!(rows.len(), 2);
        assert!(!rows[1].path.contains('\u{1b}'), "{:?}", rows[1]);
    }

    #[test]
    fn a_row_has_the_count_and_the_outcome_that_came_later() {
        let (rows, _) = read(
            "{\"stream\":\"s\",\"seq\":7,\"notificate\":\"INVALID_HASH\",\"outcome\":\"killed\"}\n\
            {\"record\":\"update\",\"stream\":\"s\",\"of\":7,\"count\":9,\"outcome\":\"ran\"}\n\
            {\"record\":\"update\",\"stream\":\"other\",\"of\":7,\"count\":99,\"outcome\":\"ran\"}\n",
        );
        assert_eq!((rows[0].count, rows[0].what.as_str()), (9, "INVALID_HASH ran"));
    }
}
