//! Record files (docs/records.md).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use super::row::Row;

/// A record has at most 128 KiB.
const LINE_MAX: u64 = 256 << 10;
/// Older files beside the one that is written: `.1` to `.5`.
const OLDER: u32 = 5;

/// A line; of what is no violation only `record` is there.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Line {
    stream: Option<String>,
    seq: Option<u64>,
    of: Option<u64>,
    count: Option<u64>,
    record: Option<String>,
    lost: Option<u64>,
    #[serde(rename = "containerID")]
    container: String,
    notificate: String,
    image_name: String,
    #[serde(rename = "imageID")]
    image_id: String,
    namespace: String,
    node: String,
    source: String,
    path: String,
    digest: String,
    layer: String,
    outcome: String,
    time: String,
}

/// Where the row of each numbered violation is.
type Places = HashMap<(String, u64), usize>;

/// What of a file is no violation that could be shown.
#[derive(Debug, Default, PartialEq, Eq)]
struct Missing {
    broken: u64,
    gaps: u64,
    lost: u64,
}

/// Adds the violations of a record file and of the older ones beside it, and says on
/// standard error what is missing in them.
pub(super) fn read(newest: &Path, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let older = (1..=OLDER).rev().map(|number| {
        let mut name = newest.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    });
    let mut places = Places::new();
    for path in older.filter(|path| path.exists()).chain([newest.to_owned()]) {
        let shown = lacre_types::escape(path.as_os_str().as_encoded_bytes());
        let file = File::open(&path).with_context(|| format!("cannot read {shown}"))?;
        let missing = lines(BufReader::new(file), rows, &mut places)
            .with_context(|| format!("reading {shown}"))?;
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

fn lines(mut file: impl BufRead, rows: &mut Vec<Row>, places: &mut Places) -> io::Result<Missing> {
    let mut missing = Missing::default();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        file.by_ref().take(LINE_MAX).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(missing);
        }
        if bytes.last() != Some(&b'\n') && bytes.len() as u64 == LINE_MAX {
            file.skip_until(b'\n')?;
        }
        match serde_json::from_slice::<Line>(&bytes) {
            Ok(line) if line.record.as_deref() == Some("gap") => {
                missing.gaps += 1;
                missing.lost += line.lost.unwrap_or(1);
            }
            Ok(line) if line.record.as_deref() == Some("update") => {
                let place = line.stream.clone().zip(line.of).and_then(|of| places.get(&of));
                if let Some(row) = place.and_then(|place| rows.get_mut(*place)) {
                    row.count = line.count.unwrap_or(row.count);
                    row.what = what(row.what.split(' ').next().unwrap_or_default(), line.outcome);
                }
            }
            Ok(line) if line.record.is_some() => {}
            Ok(line) if !line.notificate.is_empty() => {
                places.extend(line.stream.clone().zip(line.seq).map(|place| (place, rows.len())));
                rows.push(row(line));
            }
            _ => missing.broken += 1,
        }
    }
}

fn what(kind: &str, outcome: String) -> String {
    format!("{} {}", plain(kind.to_owned()), plain(outcome))
}

fn plain(text: String) -> String {
    match text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        true => text,
        false => lacre_types::escape(text.as_bytes()),
    }
}

/// What the file has for texts is escaped already, or goes through here: it may be anybody's.
fn row(line: Line) -> Row {
    Row {
        path: plain(line.path),
        digest: plain(line.digest),
        container: plain(line.container),
        namespace: plain(line.namespace),
        image_name: plain(line.image_name),
        image_id: plain(line.image_id),
        layer: plain(line.layer),
        node: plain(line.node),
        by: plain(line.source),
        what: what(&line.notificate, line.outcome),
        count: line.count.unwrap_or(1),
        time: plain(line.time),
        listed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_broken_lines_are_counted_and_the_rest_is_read() {
        let long = "x".repeat(LINE_MAX as usize + 10);
        let text = format!(
            "{{\"containerID\":\"a\",\"notificate\":\"INVALID_HASH\",\"path\":\"/x\",\"new\":1}}\n\
             {{\"record\":\"gap\",\"lost\":3}}\n{{\"record\":\"outcome\"}}\n{{\"cont\n{long}\n\
             {{\"containerID\":\"b\",\"notificate\":\"FILELESS\",\"path\":\"\\u001b[2J\"}}"
        );
        let mut rows = Vec::new();
        let missing = lines(text.as_bytes(), &mut rows, &mut Places::new()).unwrap();
        assert_eq!(missing, Missing { broken: 2, gaps: 1, lost: 3 });
        assert_eq!(rows.len(), 2);
        assert!(!rows[1].path.contains('\u{1b}'), "{:?}", rows[1]);
    }

    #[test]
    fn a_row_has_the_count_and_the_outcome_that_came_later() {
        let text = "{\"stream\":\"s\",\"seq\":7,\"notificate\":\"INVALID_HASH\",\"outcome\":\"killed\"}\n\
            {\"record\":\"update\",\"stream\":\"s\",\"of\":7,\"count\":9,\"outcome\":\"ran\"}\n\
            {\"record\":\"update\",\"stream\":\"other\",\"of\":7,\"count\":99,\"outcome\":\"ran\"}\n";
        let mut rows = Vec::new();
        lines(text.as_bytes(), &mut rows, &mut Places::new()).unwrap();
        assert_eq!((rows[0].count, rows[0].what.as_str()), (9, "INVALID_HASH ran"));
    }
}
