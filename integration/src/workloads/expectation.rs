//! What a run must come to.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use lacre_policy::{Policy, Subject};
use lacre_types::{Action, CanonicalPath, ViolationKind};
use serde_json::Value;

use super::workload::{Foreign, Mode, Workload};
use crate::Output;

/// How many wrong records of a run are shown: one cause may bring hundreds.
const SHOWN: usize = 8;

/// What a workload's script said at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    /// Seconds of work.
    pub seconds: u64,
    /// Comparisons, all of which held.
    pub checks: u64,
}

/// Whether the container came to its end with all checks right, and did work.
///
/// # Errors
/// With what it said, if not.
pub(super) fn worked(said: &Output) -> Result<Work> {
    let found = said.stdout.lines().rev().find_map(|line| {
        let mut words = line.strip_prefix("worked ")?.split(' ');
        let (seconds, checks) = (words.next()?.parse().ok()?, words.nth(3)?.parse().ok()?);
        Some(Work { seconds, checks })
    });
    match found {
        Some(work) if said.code == 0 && work.checks > 0 => Ok(work),
        _ => bail!("it did not work: exit code {}: {}", said.code, end_of(said)),
    }
}

/// The end of what a container said.
pub(super) fn end_of(said: &Output) -> String {
    let all = format!("{}{}", said.stdout, said.stderr);
    let lines: Vec<_> = all.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// The violations of a record file, each with the worst that became of it.
///
/// # Errors
/// When a line is no record, or says that records are missing.
pub(super) fn violations(text: &str) -> Result<Vec<Value>> {
    let mut found: BTreeMap<(String, u64), Value> = BTreeMap::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let stream = record["stream"].as_str().unwrap_or_default().to_owned();
        match record["record"].as_str() {
            // What an interpreter read that nothing says to be code is no violation.
            None if record["notificate"] == "REPORT" => {}
            None => {
                let number = record["seq"].as_u64().context("a record without a number")?;
                found.insert((stream, number), record);
            }
            Some("update") => {
                let of = record["of"].as_u64().unwrap_or_default();
                let Some(first) = found.get_mut(&(stream, of)) else { continue };
                for field in ["outcome", "action", "rule"] {
                    if !record[field].is_null() {
                        first[field] = record[field].clone();
                    }
                }
            }
            Some("outcome") => {}
            Some("gap") if record["reason"] == "reports" => {}
            Some(_) => bail!("records are missing: {line}"),
        }
    }
    Ok(found.into_values().collect())
}

/// Whether the policy's path of that code, and its kind, are the record's.
fn is_of(foreign: &Foreign, record: &Value) -> Result<bool> {
    if record["notificate"] != foreign.kind {
        return Ok(false);
    }
    let yaml = format!(
        "Actions: {{{}: {{ByPath: [{:?}: SKIP], Default: KILL}}}}\n",
        foreign.kind, foreign.path
    );
    let (policy, _) = Policy::parse("a workload's path", yaml.as_bytes())?;
    let kind = ViolationKind::ALL.iter().find(|kind| kind.as_str() == foreign.kind);
    let kind = *kind.with_context(|| format!("no kind of violation is {}", foreign.kind))?;
    let path = record["path"].as_str().unwrap_or_default();
    // Memory and sources have none.
    let Ok(path) = CanonicalPath::new(path.as_bytes()) else { return Ok(false) };
    let decision = policy.decide(&Subject::default(), kind, Some(&path));
    Ok(decision.action == Action::Skip)
}

/// What matters of a record, in a line.
fn shown(record: &Value) -> String {
    let word = |field: &str| record[field].as_str().unwrap_or("-").to_owned();
    let mut line = format!("{} {}", word("notificate"), word("path"));
    for field in ["event", "source", "outcome", "action", "unread", "rule"] {
        if let Some(text) = record[field].as_str() {
            line += &format!(", {field}: {text}");
        }
    }
    line
}

/// Whether each record is of code that the workload is known to run, each with the outcome
/// that is due, and none of that code is missing.
///
/// # Errors
/// With each record that is false, and with what ought to be on record and is not.
pub(super) fn records(workload: &Workload, mode: Mode, allowed: bool, all: &[Value]) -> Result<()> {
    let expected: Vec<_> = workload.seen_in(mode).collect();
    let mut missing = expected.clone();
    let mut wrong = Vec::new();
    for record in all {
        let mut of = Vec::new();
        for foreign in &expected {
            if is_of(foreign, record)? {
                of.push(foreign.path);
            }
        }
        missing.retain(|foreign| !of.contains(&foreign.path));
        let outcome = record["outcome"].as_str().unwrap_or_default();
        let due = match (mode, allowed) {
            (Mode::Audit, _) => outcome == "ran",
            (_, true) => outcome == "ran" && record["action"] == "SKIP",
            (_, false) => outcome == "denied" || outcome == "killed",
        };
        if of.is_empty() || !due {
            let what = if of.is_empty() { "false" } else { "of another outcome than is due" };
            wrong.push(format!("{what}: {}", shown(record)));
        }
    }
    // What was refused may have kept the script from the rest.
    let refused = mode != Mode::Audit && !allowed && missing.len() < expected.len();
    if !refused {
        wrong.extend(missing.iter().map(|foreign| format!("not on record: {}", foreign.path)));
    }
    let more = wrong.len().saturating_sub(SHOWN);
    wrong.truncate(SHOWN);
    if more > 0 {
        wrong.push(format!("and {more} more"));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
