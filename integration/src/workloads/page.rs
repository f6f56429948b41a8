//! The tables of `docs/workloads.md`.

use std::fmt::Write as _;

use super::workload::{Held, Workload};
use super::{TABLE, image_name};

/// What stands before and after the tables in the page.
pub const MARKS: [&str; 2] = ["<!-- of the code, from here -->\n", "<!-- to here -->\n"];

/// The tables: what runs untouched, and what runs code that did not come with its image.
#[must_use]
pub fn tables() -> String {
    let all = || TABLE.iter().flat_map(|(image, of)| of.iter().map(move |one| (*image, one)));
    let mut text = String::from("\n### What runs untouched\n\n");
    text += "| workload | packages | what it does |\n|---|---|---|\n";
    for (_, workload) in all().filter(|(_, workload)| workload.foreign.is_empty()) {
        let Workload { name, packages, does, .. } = workload;
        let _ = writeln!(text, "| {name} | {} | {does} |", packages.join(", "));
    }
    text += "\n### What runs code that did not come with its image\n\n";
    text +=
        "| workload | packages | what it does | what is on record, where, with which `block` |\n";
    text += "|---|---|---|---|\n";
    for (_, workload) in all().filter(|(_, workload)| !workload.foreign.is_empty()) {
        let Workload { name, packages, does, foreign, .. } = workload;
        let records: Vec<_> = foreign
            .iter()
            .map(|of| {
                let held = if of.held == Held::Always { "both" } else { "`all`" };
                format!("{}: `{}`, {held}", of.what, of.path)
            })
            .collect();
        let _ = writeln!(
            text,
            "| {name} | {} | {does} | {} |",
            packages.join(", "),
            records.join("; ")
        );
    }
    text += "\n### The policies that allow it\n\nEach is the whole file with which the workload ";
    text += "has run in enforce mode.\n";
    for (image, workload) in all().filter(|(_, workload)| !workload.foreign.is_empty()) {
        let yaml = workload.policy(&image_name(image));
        let _ = write!(text, "\n{}:\n\n```yaml\n{yaml}```\n", workload.name);
    }
    text + "\n"
}

/// The page with the tables as they must be.
#[must_use]
pub fn page(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some(format!("{before}{}{}{}{after}", MARKS[0], tables(), MARKS[1]))
}
