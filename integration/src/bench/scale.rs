//! What many containers cost: memory, and time beside them.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use super::agent::Agent;
use super::budgets::{Key, Verdict};
use super::lab::{Lab, Made};
use super::page::{Section, Unit};
use super::plan::Plan;
use super::report::Report;
use super::stats::{Comparison, Series};
use super::variant::{ENFORCE, RUNC, of_round};
use crate::output::wait_for;

/// Longer than lacre waits before it rests.
const QUIET: Duration = Duration::from_millis(2500);
/// For all of them.
const REST: Duration = Duration::from_secs(60);

pub(crate) fn measure(lab: &mut Lab, plan: &Plan) -> Result<Report> {
    let mut verdicts = Vec::new();
    let sections = vec![memory(lab, plan, &mut verdicts)?, flat(lab, plan, &mut verdicts)?];
    Ok(Report { sections, verdicts })
}

/// Containers that run and do nothing; each has done a little first, as any has.
fn idle(lab: &mut Lab, count: usize) -> Result<Vec<(Made, Agent)>> {
    (0..count)
        .map(|_| {
            let (made, mut agent) = lab.agent(ENFORCE)?;
            agent.ask("run /bench/configure 1")?;
            Ok((made, agent))
        })
        .collect()
}

fn end(lab: &mut Lab, containers: Vec<(Made, Agent)>) -> Result<()> {
    containers.iter().try_for_each(|(made, _)| lab.end(made))
}

/// Lines of `smaps_rollup`, in KiB.
fn memory_of(pid: i32) -> Result<BTreeMap<String, f64>> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let parse = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        Some((name.to_owned(), rest.trim().strip_suffix(" kB")?.parse().ok()?))
    };
    Ok(text.lines().filter_map(parse).collect())
}

/// Waits until every shim takes what it takes while nothing happens: lacre lets go of what
/// its start needed a second later.
fn at_rest(lab: &mut Lab) -> Result<()> {
    let mut before = Vec::new();
    wait_for("shims at rest", REST, || {
        let now: Vec<_> = lab
            .daemon()
            .node()
            .processes()
            .into_iter()
            .filter(|process| process.name().starts_with("containerd-shim-lacre"))
            .map(|process| (process.pid, process.resident_kib()))
            .collect();
        let rests = now == before;
        before = now;
        if !rests {
            sleep(QUIET);
        }
        Ok(rests.then_some(()))
    })
}

fn memory(lab: &mut Lab, plan: &Plan, verdicts: &mut Vec<Verdict>) -> Result<Section> {
    let mut section = Section::new(
        "Memory",
        "`smaps_rollup` of lacre's process and of the inner shim's, medians, with 1 and with \
         10 containers of the Debian-like image, each with a shim of its own and each having \
         run some programs, at rest: resident (private and shared), private, and proportional (a page \
         that n processes share counts as 1/n of a page in each).",
    );
    let mut rows = Vec::new();
    for count in if plan.is_quick() { vec![1] } else { vec![1, 10] } {
        plan.progress("memory", count, 10);
        let containers = idle(lab, count)?;
        at_rest(lab)?;
        for (name, of) in
            [("containerd-shim-lacre-v1", "lacre"), ("containerd-shim-runc-v2", "the inner shim")]
        {
            let shims: Vec<_> = lab
                .daemon()
                .node()
                .processes()
                .into_iter()
                .filter(|process| process.name() == name)
                .map(|process| memory_of(process.pid))
                .collect::<Result<_>>()?;
            let median = |parts: &[&str]| {
                let sum = |shim: &BTreeMap<String, f64>| {
                    parts.iter().filter_map(|part| shim.get(*part)).sum::<f64>()
                };
                shims.iter().map(sum).collect::<Series>().median()
            };
            let each =
                [median(&["Rss"]), median(&["Private_Clean", "Private_Dirty"]), median(&["Pss"])];
            let with =
                if count == 1 { "1 container".to_owned() } else { format!("{count} containers") };
            let mut row = vec![format!("{of}, {with}"), shims.len().to_string()];
            row.extend(each.map(|value| Unit::Kibibytes.show(value)));
            rows.push(row);
            if of == "lacre" {
                let [resident, _, proportional] = each;
                let of = |what| format!("{what}, {with}");
                verdicts.push(Verdict::new(Key::Memory, &of("resident"), resident));
                verdicts.push(Verdict::new(Key::Memory, &of("proportional"), proportional));
            }
        }
        end(lab, containers)?;
    }
    section.table(&["of", "processes", "resident", "private", "proportional"], &rows);
    Ok(section)
}

fn flat(lab: &mut Lab, plan: &Plan, verdicts: &mut Vec<Verdict>) -> Result<Section> {
    let many = if plan.is_quick() { 1 } else { 20 };
    let names = [
        "runc beside none".to_owned(),
        format!("runc beside {many}"),
        "lacre, enforce, beside none".to_owned(),
        format!("lacre, enforce, beside {many}"),
    ];
    let (mut starts, mut execs) = (Comparison::default(), Comparison::default());
    let rounds = plan.rounds(3);
    for round in 0..rounds {
        plan.progress("beside idle containers", round + 1, rounds);
        for beside in of_round(&[0, many], round) {
            let idle = idle(lab, *beside)?;
            let of = usize::from(*beside > 0);
            for (at, variant) in of_round(&[(of, RUNC), (2 + of, ENFORCE)], round) {
                let (mut start, mut exec) = <(Series, Series)>::default();
                for _ in 0..plan.rounds(3) {
                    let (made, mut agent, took) = lab.timed_agent(*variant)?;
                    start.push(took.as_nanos() as f64);
                    agent.ask("pin 0")?;
                    agent.ask("exec 1 20 /bench/static")?;
                    let order = format!("exec 20 {} /bench/static", plan.count(20));
                    exec.push(agent.ask(&order)?.into_iter().collect::<Series>().least());
                    lab.end(&made)?;
                }
                starts.push(&names[*at], start.median());
                execs.push(&names[*at], exec.least());
            }
            end(lab, idle)?;
        }
    }
    let order = || names.iter().map(String::as_str);
    let (starts, execs) = (starts.ordered(order()), execs.ordered(order()));
    for (own, rows, key) in
        [(0, &execs, Key::FlatExec), (2, &starts, Key::FlatStart), (2, &execs, Key::FlatExec)]
    {
        if let (Some(none), Some(beside)) = (rows.series(&names[own]), rows.series(&names[own + 1]))
        {
            verdicts.push(Verdict::new(key, &names[own + 1], beside.over(none).median()));
        }
    }
    let mut section = Section::new(
        "Beside idle containers",
        &format!(
            "The start of a container, and the static program of above in it, with no other \
             container and beside {many} idle ones of lacre (enforce), three of each a round."
        ),
    );
    section.comparison("Create, Start", Unit::Nanoseconds, &starts);
    section.comparison("static program", Unit::Nanoseconds, &execs);
    Ok(section)
}
