//! From a measurement to a container that stands still.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::budgets::{Key, Verdict};
use super::lab::Lab;
use super::page::{Section, Unit};
use super::plan::Plan;
use super::report::Report;
use super::stats::Series;
use super::variant::Variant;
use crate::output::wait_for;

/// A pause that takes longer has failed.
const SOON: Duration = Duration::from_secs(10);

/// In the form of Sarmento 2023, figure 3.
const POLICY: &str = "Actions:
  ENTRY_NOT_FOUND: {Default: PAUSE}
  INVALID_HASH: {Default: PAUSE}
  NO_WHITELIST: {Default: PAUSE}
";

const fn way(key: &'static str, name: &'static str, settings: &'static str) -> Variant {
    Variant { name, lacre: Some(settings), key }
}

const WAYS: [Variant; 4] = [
    way("pause", "auto", "mode: enforce\npolicy: FOLDER/pause.yaml\n"),
    way(
        "pausef",
        "`[fanotify]`",
        "mode: enforce\npolicy: FOLDER/pause.yaml\nsources: [fanotify]\n",
    ),
    way(
        "pausex",
        "`[exec-trace]`",
        "mode: enforce\npolicy: FOLDER/pause.yaml\nsources: [exec-trace]\n",
    ),
    way(
        "pausem",
        "`[exec-map]`",
        "mode: enforce\npolicy: FOLDER/pause.yaml\nsources: [exec-map]\n",
    ),
];

/// One pause, as the records tell of it.
struct Pause {
    /// From the violation's time to the outcome's, ns.
    whole: f64,
    /// What the executor took of that, ns.
    acting: f64,
}

pub(crate) fn measure(lab: &mut Lab, plan: &Plan) -> Result<Report> {
    let (mut whole, mut acting, mut verdicts) = (Vec::new(), Vec::new(), Vec::new());
    let rounds = plan.rounds(100);
    for variant in lab.offered(if plan.is_quick() { &WAYS[..1] } else { &WAYS }) {
        plan.progress(&format!("PAUSE, {}", variant.name), 0, rounds);
        lab.add(variant, "pause.yaml", POLICY)?;
        let pauses =
            pauses(lab, variant, rounds).with_context(|| format!("pausing by {}", variant.name))?;
        let series: Series = pauses.iter().map(|pause| pause.whole).collect();
        verdicts.push(Verdict::new(Key::Pause, variant.name, series.quantile(0.99)));
        whole.push((variant.name.to_owned(), series));
        acting.push((
            variant.name.to_owned(),
            pauses.iter().map(|pause| pause.acting).collect::<Series>(),
        ));
    }
    let mut section = Section::new(
        "From measurement to PAUSE",
        "A container runs a program that its image does not have, another one each time; the \
         policy says PAUSE. From the records: from the violation's `time` (when the source \
         saw it) to the outcome's `time` (when the container stood still), and the outcome's \
         `micros` (what the freezing itself took). The container is resumed in between, by \
         containerd.",
    );
    section.series("seen to paused", Unit::Nanoseconds, &whole);
    section.series("freezing alone", Unit::Nanoseconds, &acting);
    Ok(Report { sections: vec![section], verdicts })
}

fn pauses(lab: &mut Lab, variant: Variant, rounds: usize) -> Result<Vec<Pause>> {
    let (made, mut agent) = lab.agent(variant)?;
    let mut pauses = Vec::new();
    let mut end = lab.records(0)?.1;
    for round in 0..rounds {
        let program = format!("/tmp/new-{round}");
        agent.ask(&format!("drop {}-{round} /bench/static {program}", variant.key))?;
        agent.tell(&format!("spawn {program}"))?;
        let mut entries = VecDeque::new();
        let (violation, outcome) = wait_for("a pause in the records", SOON, || {
            let (new, now) = lab.records(end)?;
            end = now;
            entries.extend(new.into_iter().filter(|entry| entry["containerID"] == made.id[..]));
            Ok(pair(&entries))
        })?;
        ensure!(outcome["result"] == "done", "the pause failed: {outcome}");
        let whole = nanoseconds(&outcome["time"])? - nanoseconds(&violation["time"])?;
        let acting = outcome["micros"].as_f64().context("an outcome without `micros`")? * 1e3;
        pauses.push(Pause { whole, acting });
        lab.resume(&made)?;
        agent.answer().context("after the resume")?;
    }
    lab.end(&made)?;
    Ok(pauses)
}

/// The first violation, and the PAUSE that answers it.
fn pair(entries: &VecDeque<Value>) -> Option<(Value, Value)> {
    let violation = entries.iter().find(|entry| entry["notificate"].is_string())?;
    let done = |entry: &&Value| entry["record"] == "outcome" && entry["action"] == "PAUSE";
    Some((violation.clone(), entries.iter().find(done)?.clone()))
}

/// `…T12:34:56.789012345Z` as nanoseconds since the year began to be divided into equal
/// days: differences are all that is asked of it.
fn nanoseconds(time: &Value) -> Result<f64> {
    let parse = || {
        let (date, clock) = time.as_str()?.trim_end_matches('Z').split_once('T')?;
        let day: f64 = date.rsplit('-').next()?.parse().ok()?;
        let mut parts = clock.split(':').map(|part| part.parse::<f64>().ok());
        let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
        Some((((day * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds) * 1e9)
    };
    parse().with_context(|| format!("{time} is not a time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_differ_by_nanoseconds() {
        let at = |text: &str| nanoseconds(&Value::from(text)).unwrap();
        let took = at("2026-01-31T00:00:00.000250000Z") - at("2026-01-30T23:59:59.999750000Z");
        assert!((took - 500_000.0).abs() < 1000.0, "{took}");
        assert!(nanoseconds(&Value::from("yesterday")).is_err());
    }
}
