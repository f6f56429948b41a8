//! `make bench`: what lacre costs, against plain runc in the same run.
//!
//! Everything is measured in rounds; in a round each way has its turn, in another order
//! each time, and is compared with the runc of the same round.

mod agent;
mod api;
mod baseline;
mod budgets;
mod image;
mod lab;
mod machine;
mod opens;
mod page;
mod pause;
mod plan;
mod processor_time;
mod report;
mod scale;
mod start;
mod stats;
mod template;
mod variant;
mod work;

use std::fs;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::path::Path;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use lacre_types::rfc3339;

use lab::Lab;
use page::Section;
use plan::Plan;
use report::Report;

type Part = fn(&mut Lab, &Plan) -> Result<Report>;

const PARTS: [(&str, Part); 7] = [
    ("Container start", start::measure),
    ("Programs", work::measure),
    ("Many files", opens::measure),
    ("From measurement to PAUSE", pause::measure),
    ("Baselines", baseline::measure),
    ("Memory", scale::measure),
    ("A call of the Task API", api::measure),
];

/// What to measure.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// So little that the figures mean nothing, to see that it works.
    pub quick: bool,
    /// Only the part of which this is the heading, or begins it.
    pub only: Option<String>,
}

/// Measures, and writes the page to `to`.
///
/// # Errors
/// When something could not be measured: the page, which is written all the same, says what
/// and why.
pub fn run(to: &Path, Request { quick, only }: Request) -> Result<()> {
    let begun = Instant::now();
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.starts_with(only));
    ensure!(
        PARTS.iter().any(|(name, _)| wanted(name)),
        "there is no such part; there are {}",
        PARTS.map(|(name, _)| name).join(", ")
    );
    let plan = Plan { quick };
    plan.progress("starting a private containerd", 0, 1);
    let mut lab = Lab::start()?;
    let mut machine = machine::section(lab.daemon())?;
    for (source, why) in lab.missing() {
        machine.paragraph(&format!("Left out: `{source}`. {why}"));
    }
    let mut all = Report::default();
    let mut failed = Vec::new();
    for (name, part) in PARTS.into_iter().filter(|(name, _)| wanted(name)) {
        match part(&mut lab, &plan) {
            Ok(report) => {
                all.sections.extend(report.sections);
                all.verdicts.extend(report.verdicts);
            }
            Err(error) => {
                let why = format!("Not measured: {error:#}.");
                failed.push(format!("{name}: {error:#}"));
                all.sections.push(Section::new(name, &why));
                // What the part has left running would disturb the next one.
                lab.daemon().clear()?;
            }
        }
    }
    let mut text = head(quick);
    let sections = [budgets::section(&all.verdicts), machine].into_iter().chain(all.sections);
    for section in sections {
        text.push('\n');
        text.push_str(&section.into_text());
    }
    let load = machine::load()?;
    text.push_str(&format!(
        "\nThe whole run took {:.0} s; the load average at its end was {load}.\n",
        begun.elapsed().as_secs_f64()
    ));
    fs::write(to, text).with_context(|| format!("writing {}", to.display()))?;
    plan.progress("tidying", 0, 1);
    lab.unload()?;
    drop(lab);
    if stderr().is_terminal() {
        let _ = writeln!(stderr(), "\r\x1b[K  {}: written", to.display());
    }
    ensure!(failed.is_empty(), "not everything was measured: {}", failed.join("; "));
    Ok(())
}

fn head(quick: bool) -> String {
    let now = rfc3339(SystemTime::now());
    let date = &now[..10];
    let warning = if quick {
        "\n**A trial of the benchmark itself: too few rounds for any figure to mean anything.**\n"
    } else {
        ""
    };
    format!(
        "# Benchmarks\n\nWritten by `make bench` on {date} (UTC). Each \
         figure is measured against plain runc\non the same machine in the same run, round by \
         round, in an order that changes with\neach round; ratios are those of a round. A \
         container of lacre is alone on the machine\nwhile it is measured. \"runc again\" is \
         runc, measured as if it were another runtime:\nwhat it differs by, this run cannot \
         tell.\n{warning}"
    )
}
