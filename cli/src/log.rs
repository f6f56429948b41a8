//! `lacre log`: what is written down of every container, joined.

mod failures;
mod lists;
mod records;
mod row;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use crate::exit::Exit;
use crate::output;
use crate::records::STANDARD;
use lacre_attest::expect::Expected;

use failures::Failures;
use row::Row;

/// Where a kernel with container-IMA shows its lists (kernel/INTERFACE.md).
const LISTS: &str = "/sys/kernel/security/ima/containers";

/// Join records, kernel lists and evidence: which file of which container, image and layer
///
/// Files of one name in several containers stand beneath each other, each with the
/// container, the image and the layer that it belongs to. Without --records, --lists and
/// --evidence, this node's own records and lists are shown.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A shim's or a server's record file; the older ones beside it (.1 to .5) too
    #[arg(long, value_name = "FILE")]
    records: Vec<PathBuf>,
    /// The directory of a kernel's measurement lists
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
    /// Only containers whose id, or NAMESPACE/ID, begins with this
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// Only paths under which there were several contents, by digests of one algorithm
    #[arg(long)]
    differing: bool,
    /// As JSON, one object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let files = args.expect.as_deref().map(Expected::read).transpose()?;
    let (mut rows, mut failures) = (Vec::new(), Failures::default());
    let own = args.records.is_empty() && args.lists.is_empty() && args.evidence.is_empty();
    if own {
        match Path::new(STANDARD).try_exists() {
            Ok(false) => writeln!(
                io::stderr(),
                "lacre: there is no {STANDARD}: nothing was recorded yet, or the shim's \
                 configuration names another file (--records)"
            )?,
            _ => failures.note(records::read(Path::new(STANDARD), &mut rows)),
        }
        if Path::new(LISTS).exists() {
            let done = lists::kernel(Path::new(LISTS), &mut rows, &mut failures);
            failures.note(done);
        }
    }
    for file in &args.records {
        failures.note(records::read(file, &mut rows));
    }
    for folder in &args.lists {
        let done = lists::kernel(folder, &mut rows, &mut failures);
        failures.note(done);
    }
    for file in &args.evidence {
        let read = crate::attest::evidence(file);
        let read = read.map(|read| lists::evidence(&read, &mut rows, &mut failures));
        failures.note(read);
    }
    name_images(&mut rows);
    if let Some(files) = &files {
        name_layers(&mut rows, files);
    }
    rows.retain(|row| {
        args.path.as_ref().is_none_or(|end| row.path.ends_with(end.as_str()))
            && args.container.as_ref().is_none_or(|id| {
                row.container.starts_with(id.as_str()) || row.named().starts_with(id.as_str())
            })
    });
    if args.differing {
        keep_differing(&mut rows);
    }
    rows.sort();
    show(rows, args.json)?;
    Ok(if failures.any() { Exit::Failed } else { Exit::Good })
}

/// Lists name no image; the records of the same container do. Those of a kernel do not name
/// the node either: it is the one that has such a container, if no other has.
fn name_images(rows: &mut [Row]) {
    let mut images: BTreeMap<_, BTreeMap<String, _>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.image_name.is_empty() || !row.image_id.is_empty()) {
        let image = (row.image_name.clone(), row.image_id.clone());
        let container = (row.namespace.clone(), row.container.clone());
        images.entry(container).or_default().insert(row.node.clone(), image);
    }
    for row in rows.iter_mut().filter(|row| row.image_name.is_empty() && row.image_id.is_empty()) {
        let container = (row.namespace.clone(), row.container.clone());
        let Some(nodes) = images.get(&container) else { continue };
        let only = nodes.values().next().filter(|_| nodes.len() == 1 && row.node.is_empty());
        if let Some((name, id)) = nodes.get(&row.node).or(only) {
            row.image_name.clone_from(name);
            row.image_id.clone_from(id);
        }
    }
}

/// A record names its layer; of a list's line only the baseline of its container or image does.
fn name_layers(rows: &mut [Row], files: &Expected) {
    for row in rows {
        let Some((id, path)) = &row.listed else { continue };
        row.layer = files.layer(id, &row.image_name, path).unwrap_or_default();
    }
}

/// Digests of two algorithms say nothing of whether two contents differ.
fn keep_differing(rows: &mut Vec<Row>) {
    let algorithm = |digest: &str| digest.split(':').next().unwrap_or_default().to_owned();
    let mut contents: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.digest.is_empty()) {
        let of = (row.path.clone(), algorithm(&row.digest));
        contents.entry(of).or_default().insert(row.digest.clone());
    }
    contents.retain(|_, digests| digests.len() > 1);
    let differing: BTreeSet<String> = contents.into_keys().map(|(path, _)| path).collect();
    rows.retain(|row| differing.contains(&row.path));
}

fn show(rows: Vec<Row>, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return rows.iter().try_for_each(output::json);
    }
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let nodes: BTreeSet<&str> = rows.iter().map(|row| row.node.as_str()).collect();
    let several = nodes.into_iter().filter(|node| !node.is_empty()).count() > 1;
    let rows = rows.into_iter().map(|row| {
        let container = row.named();
        let what = match row.count {
            1 => row.what,
            count => format!("{} ×{count}", row.what),
        };
        let image = if row.image_name.is_empty() { row.image_id } else { row.image_name };
        [row.node, container, image, row.layer, row.by, what, row.digest, row.path].map(or_dash)
    });
    let head = ["NODE", "CONTAINER", "IMAGE", "LAYER", "BY", "WHAT", "DIGEST", "PATH"];
    if several {
        return output::table(head, rows);
    }
    let [_, head @ ..] = head;
    output::table(head, rows.map(|[_, row @ ..]| row))
}
