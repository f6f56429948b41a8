//! What is on record about one container, in all places where records are.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use lacre_types::rfc3339;

use crate::config::Config;
use crate::entry::Entry;
use crate::record::Record;
use crate::spool::reader::SpoolReader;
use crate::spool::{SpoolError, io};

/// What is read of a spool at a time: records, and bytes.
const BATCH: (usize, usize) = (256, 1 << 20);

/// Each violation of a container since that time that is on record: in the record file, in
/// those that were put aside from it, and in the spools. Each is told once, with the number
/// of [uses](Record::uses) that it came to.
///
/// # Errors
/// When a file or a spool can't be read. One that is not there is none.
pub fn recorded(
    config: &Config,
    namespace: &str,
    container: &str,
    since: SystemTime,
    mut each: impl FnMut(Record),
) -> Result<(), SpoolError> {
    let from = rfc3339(since);
    let mut found: BTreeMap<(Arc<str>, u64), Record> = BTreeMap::new();
    let mut counts: HashMap<(Arc<str>, u64), u64> = HashMap::new();
    let mut tell = |line: &[u8]| {
        // A record is ASCII; most are of others.
        if !std::str::from_utf8(line).is_ok_and(|line| line.contains(container)) {
            return;
        }
        match Entry::parse(line) {
            Ok(Entry::Violation(record)) => {
                let is_it = record.container_id == container && record.namespace == namespace;
                let place = record.place.stream.clone().zip(record.place.seq);
                match place.filter(|_| is_it && record.time >= from) {
                    Some(place) => drop(found.insert(place, *record)),
                    // Without a number it is in a file alone.
                    None if is_it && record.time >= from => each(*record),
                    None => {}
                }
            }
            Ok(Entry::Update(update)) => {
                if let Some(of) = update.place.stream.clone().zip(update.of) {
                    let count = counts.entry(of).or_default();
                    *count = update.count.max(*count);
                }
            }
            _ => {}
        }
    };
    for (path, file) in files(config, since)? {
        for line in BufReader::new(file).split(b'\n') {
            tell(&line.map_err(io("reading", &path))?);
        }
    }
    for spool in fs::read_dir(config.spools()).into_iter().flatten().flatten() {
        let Ok(mut reader) = SpoolReader::open(&spool.path()) else { continue };
        loop {
            let batch = reader.batch(u64::MAX, BATCH.0, BATCH.1)?;
            if batch.records.is_empty() {
                break;
            }
            batch.records.iter().for_each(|line| tell(line));
            reader.seek(batch.first + batch.records.len() as u64);
        }
    }
    for (place, mut record) in found {
        if let Some(count) = counts.get(&place) {
            record.count = Some(*count);
        }
        each(record);
    }
    Ok(())
}

/// The record file, and those that were put aside from it since: all opened before one is
/// read, as the next may be put aside meanwhile.
fn files(config: &Config, since: SystemTime) -> Result<Vec<(PathBuf, File)>, SpoolError> {
    let mut files = Vec::new();
    let Some(path) = &config.records else { return Ok(files) };
    let aside = (1..=config.rotation.keep).map(|n| path.with_added_extension(n.to_string()));
    for path in std::iter::once(path.clone()).chain(aside) {
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(io("opening", &path))?,
        };
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        if modified.map_err(io("looking at", &path))? >= since {
            files.push((path, file));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spool;
    use std::time::Duration;

    fn record(namespace: &str, container: &str, path: &str, time: SystemTime) -> Record {
        use lacre_types::{
            Action, CanonicalPath, Content, Digest, Event, Measurement, Mode, Process, Source,
            Violation, ViolationKind,
        };
        let measurement = Measurement {
            source: Source::ContainerIma,
            event: Event::Exec,
            path: CanonicalPath::new(path).ok(),
            content: Content::Digest(Digest::sha256([7; 32])),
            process: Process::default(),
            time,
        };
        let kind = ViolationKind::EntryNotFound;
        let violation = Violation { kind, measurement, expected: None };
        let origin = crate::Origin {
            container_id: container.to_owned(),
            namespace: namespace.to_owned(),
            ..crate::Origin::default()
        };
        let verdict = crate::Verdict {
            mode: Mode::Audit,
            action: Action::Skip,
            became: crate::Became::Ran,
            rule: None,
            file_kind: None,
            layer: None,
        };
        Record::new(&origin, &violation, &verdict)
    }

    #[test]
    fn what_is_on_record_of_a_container_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new("n", dir.path());
        let path = dir.path().join("log/violations.jsonl");
        config.records = Some(path.clone());
        fs::create_dir(config.spools()).unwrap();
        let begun = SystemTime::now();
        let found = |config: &Config| {
            let mut found = Vec::new();
            let each = |record: Record| found.push(record.path.unwrap());
            recorded(config, "ns", "web", begun, each).unwrap();
            found.sort();
            found
        };
        assert_eq!(found(&config), [""; 0]);

        let mut spool = Spool::create(&config.spools(), 1 << 20, "n").unwrap();
        let (now, before) = (SystemTime::now(), begun - Duration::from_secs(1));
        let of = |container, path, time| record("ns", container, path, time);
        let (mut both, mut spooled) =
            (Entry::from(of("web", "/both", now)), Entry::from(of("web", "/spooled", now)));
        spool.append(&mut both).unwrap();
        spool.append(&mut spooled).unwrap();
        let write = |entries: Vec<Entry>| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let lines: Vec<_> = entries.iter().flat_map(|e| [e.encode(), b"\n".to_vec()]).collect();
            fs::write(&path, lines.concat()).unwrap();
        };
        write(vec![both, of("web", "/aside", now).into()]);
        fs::rename(&path, path.with_added_extension("1")).unwrap();
        let other = record("other", "web", "/other", now).into();
        let more =
            [of("web-2", "/other", now), of("web", "/early", before), of("web", "/now", now)];
        write(more.map(Entry::from).into_iter().chain([other]).collect());
        assert_eq!(found(&config), ["/aside", "/both", "/now", "/spooled"]);
    }
}
