//! Measurement lists: those of evidence, and those that this kernel shows.

use std::fs::{self, File};
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use lacre_attest::evidence::{Evidence, ListPart};
use lacre_attest::ima::{Container, Entry, Form, LogError, Stream};
use lacre_types::{Algorithm, CanonicalPath, escape};

use super::failures::Failures;
use super::row::Row;

/// Adds the lines of every list of a node's evidence.
pub(super) fn evidence(evidence: &Evidence, rows: &mut Vec<Row>, failures: &mut Failures) {
    let node = escape(evidence.node.as_bytes());
    if let Some(part) = &evidence.host {
        let done = list(part, |line, entry| {
            let mut row = Row { node: node.clone(), ..row("host", line, entry) };
            // Templates of old patches tell the container in the host's own list.
            row.container = match entry.container() {
                Some(Container::CgroupPath(name) | Container::CgroupName(name)) => escape(name),
                Some(Container::Namespace(id)) => format!("ns {}", escape(id)),
                None => String::new(),
            };
            rows.push(row);
        })
        .with_context(|| format!("the host's list of {node}"));
        failures.note(done);
    }
    for anchor in &evidence.anchors {
        let keeper = anchor.keeper.to_string();
        for part in &anchor.containers {
            let image = escape(part.image.as_deref().unwrap_or_default().as_bytes());
            let done = list(&part.list, |line, entry| {
                let row = of_container(&keeper, &part.id, line, entry);
                rows.push(Row { node: node.clone(), image_name: image.clone(), ..row });
            });
            let id = escape(part.id.as_bytes());
            failures.note(done.with_context(|| format!("the list of {id} of {node}")));
        }
    }
}

/// Adds the lines of every container's list in a folder as a kernel with container-IMA has
/// it. Of a list that breaks off it adds what was there.
pub(super) fn kernel(
    folder: &Path,
    rows: &mut Vec<Row>,
    failures: &mut Failures,
) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", shown(folder)))?;
    for entry in entries {
        let path = entry?.path();
        let Some(id) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let list = path.join("binary_runtime_measurements_sha256");
        let file = match File::open(&list) {
            Ok(file) => Ok(file),
            // No container's folder, or the container ended meanwhile.
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => continue,
            Err(error) => Err(error.into()),
        };
        let each = |line, entry: &Entry<'_>| {
            rows.push(of_container("kernel", id, line, entry));
        };
        let done = file.and_then(|file| all(file, each));
        failures.note(done.with_context(|| format!("cannot read {}", shown(&list))));
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

fn all(mut file: File, mut each: impl FnMut(u64, &Entry<'_>)) -> anyhow::Result<()> {
    let mut stream = Stream::new(Form::Binary, Algorithm::Sha256);
    let mut bytes = vec![0; 64 << 10];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(stream.finish()?),
            count => stream.feed(&bytes[..count], &mut each)?,
        }
    }
}

fn list(part: &ListPart, mut each: impl FnMut(u64, &Entry<'_>)) -> Result<(), LogError> {
    let mut stream = Stream::new(part.form, part.digests);
    stream.feed(&part.data, |line, entry| each(part.first + line, entry))?;
    stream.finish()
}

fn of_container(keeper: &str, id: &str, line: u64, entry: &Entry<'_>) -> Row {
    let mut row = row(keeper, line, entry);
    // `namespace--id`: no name of containerd's holds two dashes in a row.
    let (namespace, container) = id.split_once("--").unwrap_or(("", id));
    row.namespace = escape(namespace.as_bytes());
    row.container = escape(container.as_bytes());
    let path = entry.name().and_then(|name| CanonicalPath::new(name).ok());
    row.listed = path.map(|path| (id.to_owned(), path));
    row
}

fn row(keeper: &str, line: u64, entry: &Entry<'_>) -> Row {
    let digest = entry.file_digest().filter(|_| !entry.is_violation());
    let violation = if entry.is_violation() { " violation" } else { "" };
    Row {
        path: entry.name().map_or_else(|| "(no name)".to_owned(), escape),
        digest: digest.map(|digest| digest.to_string()).unwrap_or_default(),
        container: String::new(),
        namespace: String::new(),
        image_name: String::new(),
        image_id: String::new(),
        layer: String::new(),
        node: String::new(),
        by: keeper.to_owned(),
        what: format!("line {line}{violation}"),
        count: 1,
        time: String::new(),
        listed: None,
    }
}
