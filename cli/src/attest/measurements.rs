//! Every measurement of an evidence file, one row each: two files of one name in two
//! containers are two rows that say so.

use lacre_attest::evidence::{Evidence, ListPart};
use lacre_attest::ima::{Container, Entry, Stream};
use lacre_types::{CanonicalPath, escape};
use serde_json::json;

use crate::output;
use lacre_attest::expect::Expected;

struct Row {
    keeper: String,
    container: String,
    image: String,
    layer: String,
    line: u64,
    digest: String,
    path: String,
}

pub(crate) fn show(
    evidence: &Evidence,
    files: Option<&Expected>,
    as_json: bool,
) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    if let Some(part) = &evidence.host {
        list(part, |line, entry| {
            // Templates of old patches tell the container in the host's own list.
            let container = match entry.container() {
                Some(Container::CgroupPath(name) | Container::CgroupName(name)) => escape(name),
                Some(Container::Namespace(id)) => format!("ns {}", escape(id)),
                None => String::new(),
            };
            rows.push(row("host", container, String::new(), line, entry));
        })?;
    }
    for anchor in &evidence.anchors {
        for part in &anchor.containers {
            let image = part.image.as_deref().unwrap_or_default();
            let (id, image) = (escape(part.id.as_bytes()), escape(image.as_bytes()));
            let keeper = anchor.keeper.to_string();
            list(&part.list, |line, entry| {
                let mut row = row(&keeper, id.clone(), image.clone(), line, entry);
                let path = entry.name().and_then(|name| CanonicalPath::new(name).ok());
                let layer = path.and_then(|path| files?.layer(&part.id, &path));
                row.layer = layer.unwrap_or_default();
                rows.push(row);
            })?;
        }
    }
    if as_json {
        for row in rows {
            output::json(&json!({
                "keeper": row.keeper, "containerID": row.container, "imageName": row.image,
                "layer": row.layer, "line": row.line, "digest": row.digest, "path": row.path,
            }))?;
        }
        return Ok(());
    }
    let rows = rows.into_iter().map(|row| {
        let line = row.line.to_string();
        [row.keeper, row.container, row.image, row.layer, line, row.digest, row.path]
    });
    output::table(["KEEPER", "CONTAINER", "IMAGE", "LAYER", "LINE", "DIGEST", "PATH"], rows)
}

fn list(part: &ListPart, mut each: impl FnMut(u64, &Entry<'_>)) -> anyhow::Result<()> {
    let mut stream = Stream::new(part.form, part.digests);
    stream.feed(&part.data, |line, entry| each(part.first + line, entry))?;
    Ok(stream.finish()?)
}

fn row(keeper: &str, container: String, image: String, line: u64, entry: &Entry<'_>) -> Row {
    let digest = match entry.file_digest() {
        _ if entry.is_violation() => "violation".to_owned(),
        Some(digest) => digest.to_string(),
        None => "-".to_owned(),
    };
    let path = entry.name().map_or_else(|| "(no name)".to_owned(), escape);
    let layer = String::new();
    Row { keeper: keeper.to_owned(), container, image, layer, line, digest, path }
}
