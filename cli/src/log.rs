//! `lacre log`: what is written down of every container, joined.

mod lists;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde::Serialize;

use crate::exit::Exit;
use crate::output;
use lacre_attest::expect::Expected;

/// Where a kernel with container-IMA shows its lists (kernel/INTERFACE.md).
const LISTS: &str = "/sys/kernel/security/ima/containers";
/// Where shims write their records, unless their configuration says otherwise.
const RECORDS: &str = "/var/log/lacre/violations.jsonl";

/// Join records, kernel lists and evidence: which file of which container, image and layer
///
/// Expected of one name in several containers stand beneath each other, each with the
/// container, the image and the layer that it belongs to. Without --records, --lists and
/// --evidence, this node's own records and lists are shown.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A shim's or a server's record file; the older ones beside it (.1 to .5) too
    #[arg(long, value_name = "FILE")]
    records: Vec<PathBuf>,
    /// The folder of a kernel's measurement lists
    #[arg(long, value_name = "DIR")]
    lists: Vec<PathBuf>,
    /// An evidence file; what it says is shown as it stands, verified or not
    #[arg(long, value_name = "FILE")]
    evidence: Vec<PathBuf>,
    /// What is expected of the node: its baselines tell the layers of what lists have
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Only files whose path ends in this
    #[arg(long, value_name = "TEXT")]
    path: Option<String>,
    /// Only containers whose id begins with this
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// Only paths under which there were several contents
    #[arg(long)]
    differing: bool,
    /// As JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// One file that was seen, where, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// Escaped.
    path: String,
    /// Empty where the bytes could not be read.
    digest: String,
    #[serde(rename = "containerID")]
    container: String,
    /// containerd's; empty where the log does not tell it.
    namespace: String,
    image_name: String,
    #[serde(rename = "imageID")]
    image_id: String,
    layer: String,
    node: String,
    /// A source, `kernel` or `shim` as the keeper of a container's list, `host` for IMA's own.
    by: String,
    /// A kind of violation and what became of it, or the number of a list's line.
    what: String,
    /// RFC 3339; lists have no time.
    time: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let files = args.expect.as_deref().map(Expected::read).transpose()?;
    let mut rows = Vec::new();
    let own = args.records.is_empty() && args.lists.is_empty() && args.evidence.is_empty();
    if own {
        match Path::new(RECORDS).try_exists() {
            Ok(false) => writeln!(
                io::stderr(),
                "lacre: there is no {RECORDS}: nothing was recorded yet, or the shim's \
                 configuration names another file (--records)"
            )?,
            _ => records::read(Path::new(RECORDS), &mut rows)?,
        }
        if Path::new(LISTS).exists() {
            lists::kernel(Path::new(LISTS), files.as_ref(), &mut rows)?;
        }
    }
    for file in &args.records {
        records::read(file, &mut rows)?;
    }
    for folder in &args.lists {
        lists::kernel(folder, files.as_ref(), &mut rows)?;
    }
    for file in &args.evidence {
        lists::evidence(&crate::attest::evidence(file)?, files.as_ref(), &mut rows)?;
    }
    name_images(&mut rows);
    rows.retain(|row| {
        args.path.as_ref().is_none_or(|end| row.path.ends_with(end.as_str()))
            && args.container.as_ref().is_none_or(|id| row.container.starts_with(id.as_str()))
    });
    if args.differing {
        keep_differing(&mut rows);
    }
    rows.sort();
    show(rows, args.json)?;
    Ok(Exit::Good)
}

/// Lists name no image; the records of the same container do.
fn name_images(rows: &mut [Row]) {
    let images: BTreeMap<_, _> = rows
        .iter()
        .filter(|row| !row.image_name.is_empty() || !row.image_id.is_empty())
        .map(|row| {
            let image = (row.image_name.clone(), row.image_id.clone());
            ((row.namespace.clone(), row.container.clone()), image)
        })
        .collect();
    for row in rows.iter_mut().filter(|row| row.image_name.is_empty() && row.image_id.is_empty()) {
        let container = (row.namespace.clone(), row.container.clone());
        if let Some((name, id)) = images.get(&container) {
            row.image_name.clone_from(name);
            row.image_id.clone_from(id);
        }
    }
}

fn keep_differing(rows: &mut Vec<Row>) {
    let mut contents: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.digest.is_empty()) {
        contents.entry(row.path.clone()).or_default().insert(row.digest.clone());
    }
    rows.retain(|row| contents.get(&row.path).is_some_and(|digests| digests.len() > 1));
}

fn show(rows: Vec<Row>, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return rows.iter().try_for_each(output::json);
    }
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let rows = rows.into_iter().map(|row| {
        let container = match row.namespace.as_str() {
            "" => row.container,
            namespace => format!("{namespace}/{}", row.container),
        };
        let image = if row.image_name.is_empty() { row.image_id } else { row.image_name };
        [container, image, row.layer, row.by, row.what, row.digest, row.path].map(or_dash)
    });
    output::table(["CONTAINER", "IMAGE", "LAYER", "BY", "WHAT", "DIGEST", "PATH"], rows)
}
