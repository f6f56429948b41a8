//! Baselines and their differences, for people and for machines.

use lacre_baseline::{Baseline, Difference, Entry, Provenance};
use lacre_types::escape;
use serde_json::{Value, json};

use crate::output;

/// What it is, in a few lines.
pub(crate) fn summary(baseline: &Baseline, as_json: bool) -> anyhow::Result<()> {
    let provenance = baseline.provenance()?;
    if as_json {
        return output::json(&Value::Object(head(baseline, provenance.as_ref())));
    }
    let algorithms: Vec<_> = baseline.algorithms().iter().map(|one| one.as_str()).collect();
    output::line(format!("baseline    {}", baseline.digest()))?;
    output::line(format!("algorithms  {}", algorithms.join(", ")))?;
    output::line(format!("files       {}", baseline.len()))?;
    output::line(format!("links       {}", baseline.links().len()))?;
    for (index, layer) in provenance.iter().flat_map(Provenance::layers).enumerate() {
        let known = layer.map_or_else(|| "diff ID unknown".to_owned(), |layer| layer.to_string());
        output::line(format!("layer {index:<5} {known}"))?;
    }
    Ok(())
}

fn head(
    baseline: &Baseline,
    provenance: Option<&Provenance<'_>>,
) -> serde_json::Map<String, Value> {
    let algorithms: Vec<_> = baseline.algorithms().iter().map(|one| one.as_str()).collect();
    let layers = provenance.map(|known| known.layers().collect::<Vec<_>>());
    let mut head = serde_json::Map::new();
    head.insert("digest".to_owned(), json!(baseline.digest()));
    head.insert("algorithms".to_owned(), json!(algorithms));
    head.insert("files".to_owned(), json!(baseline.len()));
    head.insert("links".to_owned(), json!(baseline.links().len()));
    head.insert("layers".to_owned(), json!(layers));
    head
}

/// All of it.
pub(crate) fn show(baseline: &Baseline, as_json: bool) -> anyhow::Result<()> {
    let provenance = baseline.provenance()?;
    let layer_of = |index| provenance.as_ref().and_then(|known| known.layer_of(index));
    if as_json {
        let mut all = head(baseline, provenance.as_ref());
        let files = baseline.files().enumerate().filter_map(|(index, entry)| {
            let mut file = file(&entry?);
            file["layer"] = json!(layer_of(index));
            Some(file)
        });
        let links = baseline.links().flatten();
        let links =
            links.map(|link| json!({"path": escape(link.path), "target": escape(link.target)}));
        all.insert("files".to_owned(), files.collect());
        all.insert("links".to_owned(), links.collect());
        return output::json(&Value::Object(all));
    }
    summary(baseline, false)?;
    output::line("")?;
    let files = baseline.files().enumerate().filter_map(|(index, entry)| {
        let entry = entry?;
        Some([
            entry.kind.to_string(),
            entry.size.to_string(),
            entry.sha256().to_string(),
            layer_of(index).map_or_else(|| "-".to_owned(), |layer| layer.to_string()),
            escape(entry.path),
        ])
    });
    output::table(["KIND", "SIZE", "DIGEST", "LAYER", "PATH"], files)?;
    if baseline.links().len() > 0 {
        output::line("")?;
        let links = baseline.links().flatten();
        let links = links.map(|link| [escape(link.path), escape(link.target)]);
        output::table(["LINK", "TARGET"], links)?;
    }
    Ok(())
}

fn file(entry: &Entry<'_>) -> Value {
    json!({
        "path": escape(entry.path),
        "kind": entry.kind,
        "size": entry.size,
        "digests": entry.digests().collect::<Vec<_>>(),
    })
}

/// Every difference; nothing when there is none.
pub(crate) fn differences(all: &[Difference<'_>], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::json(&all.iter().map(difference).collect::<Vec<_>>());
    }
    if all.is_empty() {
        return Ok(());
    }
    let told = |entry: &Entry<'_>| format!("{} {}", entry.kind, entry.sha256());
    let rows = all.iter().map(|difference| {
        let (how, was, is) = match difference {
            Difference::Removed(was) => ("removed", told(was), String::new()),
            Difference::Added(is) => ("added", String::new(), told(is)),
            Difference::Changed(was, is) => ("changed", told(was), told(is)),
            Difference::LinkRemoved(was) => ("link removed", escape(was.target), String::new()),
            Difference::LinkAdded(is) => ("link added", String::new(), escape(is.target)),
            Difference::LinkChanged(was, is) => {
                ("link changed", escape(was.target), escape(is.target))
            }
        };
        [how.to_owned(), escape(difference.path()), was, is]
    });
    output::table(["DIFFERENCE", "PATH", "WAS", "IS"], rows)
}

fn difference(difference: &Difference<'_>) -> Value {
    let path = escape(difference.path());
    let target = |target: &[u8]| json!({"target": escape(target)});
    let (how, was, is) = match difference {
        Difference::Removed(was) => ("removed", Some(file(was)), None),
        Difference::Added(is) => ("added", None, Some(file(is))),
        Difference::Changed(was, is) => ("changed", Some(file(was)), Some(file(is))),
        Difference::LinkRemoved(was) => ("link removed", Some(target(was.target)), None),
        Difference::LinkAdded(is) => ("link added", None, Some(target(is.target))),
        Difference::LinkChanged(was, is) => {
            ("link changed", Some(target(was.target)), Some(target(is.target)))
        }
    };
    json!({"difference": how, "path": path, "was": was, "is": is})
}
