//! `lacre doctor` on nodes that are real: each containerd, and each thing that a node can lack.

mod certificates;
mod daemons;
mod lacking;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lacre_integration::Output;
use lacre_integration::paths::binaries;
use serde_json::Value;

/// How it is asked.
const DOCTOR: [&str; 2] = ["doctor", "--json"];

fn lacre() -> PathBuf {
    binaries().join("lacre")
}

/// What it says, and its exit status.
struct Said {
    json: Value,
    code: i32,
}

impl Said {
    fn of(command: &mut Command) -> Result<Self> {
        let output = Output::of(command)?;
        let json = serde_json::from_str(&output.stdout)
            .with_context(|| format!("{}{}", output.stdout, output.stderr))?;
        Ok(Self { json, code: output.code })
    }

    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.json["findings"].as_array().into_iter().flatten()
    }

    /// The states of the findings whose words have that text.
    fn states(&self, text: &str) -> Vec<&str> {
        let has = |finding: &&Value| finding["is"].as_str().is_some_and(|is| is.contains(text));
        self.findings().filter(has).filter_map(|finding| finding["state"].as_str()).collect()
    }

    fn has(&self, state: &str, text: &str) -> Result<()> {
        ensure!(
            self.states(text).contains(&state),
            "no {state} that says `{text}`: {:#}",
            self.json["findings"]
        );
        Ok(())
    }

    /// What the first forecast says of a class.
    fn fate(&self, class: &str, column: &str) -> Vec<&str> {
        let classes = self.json["forecasts"][0]["forecast"]["classes"].as_array();
        let row = classes.into_iter().flatten().find(|row| row["class"] == class);
        let words = row.and_then(|row| row[column].as_array()).into_iter().flatten();
        words.filter_map(Value::as_str).collect()
    }

    fn offer(&self, source: &str) -> &Value {
        &self.json["facts"]["offers"][source]
    }
}
