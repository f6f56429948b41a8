//! Record files (docs/records.md).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use super::Row;

/// A record has at most 128 KiB.
const LINE_MAX: u64 = 256 << 10;
/// Older files beside the one that is written: `.1` to `.5`.
const OLDER: u32 = 5;

/// A line; of what is no violation only `record` is there.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Line {
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
    for path in older.filter(|path| path.exists()).chain([newest.to_owned()]) {
        let shown = lacre_types::escape(path.as_os_str().as_encoded_bytes());
        let file = File::open(&path).with_context(|| format!("cannot read {shown}"))?;
        let missing =
            lines(BufReader::new(file), rows).with_context(|| format!("reading {shown}"))?;
        let mut stderr = io::stderr();
        if missing.gaps > 0 {
            let Missing { gaps, lost, .. } = missing;
            writeln!(stderr, "lacre: {shown}: {gaps} gaps: at least {lost} records are missing")?;
        }
        if missing.broken > 0 {
            let broken = missing.broken;
            writeln!(stderr, "lacre: {shown}: {broken} lines are no records (cut short?)")?;
        }
    }
    Ok(())
}

fn lines(mut file: impl BufRead, rows: &mut Vec<Row>) -> io::Result<Missing> {
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
            Ok(line) if line.record.is_some() => {}
            Ok(line) if !line.notificate.is_empty() => rows.push(row(line)),
            _ => missing.broken += 1,
        }
    }
}

/// What the file has for texts is escaped already, or goes through here: it may be anybody's.
fn row(line: Line) -> Row {
    let plain = |text: String| match text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        true => text,
        false => lacre_types::escape(text.as_bytes()),
    };
    let what = format!("{} {}", plain(line.notificate), plain(line.outcome));
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
        what,
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
        let missing = lines(text.as_bytes(), &mut rows).unwrap();
        assert_eq!(missing, Missing { broken: 2, gaps: 1, lost: 3 });
        assert_eq!(rows.len(), 2);
        assert!(!rows[1].path.contains('\u{1b}'), "{:?}", rows[1]);
    }
}
