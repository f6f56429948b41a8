//! What runs in a container: programs, opens, a build, a server.
//!
//! Each way has a container of its own in each round and is alone on the machine while it
//! is measured, runc's with nothing of lacre in the kernel: what lacre attaches there runs
//! for every process of the node.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use serde_json::Value;

use super::agent::Agent;
use super::budgets::{Key, Verdict};
use super::image::DATA_FILES;
use super::lab::Lab;
use super::page::{Section, Unit};
use super::plan::Plan;
use super::report::Report;
use super::stats::{Comparison, Series};
use super::variant::{
    AUDIT, BLOCK_ALL, CONTROL, ENFORCE, EXEC_MAP, EXEC_TRACE, FANOTIFY, NO_FETCH, RUNC, Variant,
    of_round,
};

const WAYS: [Variant; 9] =
    [RUNC, CONTROL, AUDIT, ENFORCE, BLOCK_ALL, NO_FETCH, FANOTIFY, EXEC_TRACE, EXEC_MAP];
/// Builds and serves take long: not for every way.
const HEAVY: [Variant; 5] = [RUNC, CONTROL, AUDIT, ENFORCE, BLOCK_ALL];

/// The figures by the table that they stand in.
type Figures = BTreeMap<&'static str, Comparison>;

pub(crate) fn measure(lab: &mut Lab, plan: &Plan) -> Result<Report> {
    let mut figures = Figures::new();
    let mut own_time = Comparison::default();
    let mut recorded = lab.records(0)?.1;
    let mut violations = Vec::new();
    let ways = lab.offered(if plan.is_quick() { &HEAVY } else { &WAYS });
    let rounds = plan.rounds(10);
    for round in 0..=rounds {
        plan.progress("inside a container", round, rounds);
        // The first round warms.
        let mut unused = (Figures::new(), Comparison::default());
        let into =
            if round > 0 { (&mut figures, &mut own_time) } else { (&mut unused.0, &mut unused.1) };
        for variant in of_round(&ways, round) {
            // What another way has left there runs for every process of the node.
            lab.unload()?;
            if variant.lacre.is_some() {
                lab.prime(*variant)?;
            }
            one(lab, plan, *variant, into.0, into.1)?;
        }
        let (entries, end) = lab.records(recorded)?;
        recorded = end;
        violations.extend(entries.into_iter().filter(|entry| entry["notificate"].is_string()));
    }
    let names = || WAYS.iter().map(|variant| variant.name);
    let figures: Figures =
        figures.into_iter().map(|(name, rows)| (name, rows.ordered(names()))).collect();
    Ok(report(&figures, &own_time.ordered(names()), &violations))
}

/// One way, in one round.
fn one(
    lab: &mut Lab,
    plan: &Plan,
    variant: Variant,
    figures: &mut Figures,
    own_time: &mut Comparison,
) -> Result<()> {
    let (made, mut agent, start) = lab.timed_agent(variant)?;
    let mut push = |table, value| {
        figures.entry(table).or_default().push(variant.name, value);
    };
    push("start", start.as_nanos() as f64);
    agent.ask(&format!("pin {}", last_cpu()))?;
    for (first, steady, program) in [
        ("first exec, static", "exec, static", "/bench/static"),
        ("first exec, dynamic", "exec, dynamic", "/bench/dynamic"),
    ] {
        push(first, agent.ask_one(&format!("exec 1 1 {program}"))?);
        agent.ask(&format!("exec 1 20 {program}"))?;
        push(steady, least(&mut agent, &format!("exec 50 {} {program}", plan.count(20)))?);
    }
    for (first, steady, folder, make) in [
        ("first open, image", "open, image", "/bench/data", false),
        ("first open, writable", "open, writable", "/tmp/data", true),
        ("first open, volume", "open, volume", "/ctl/data", true),
    ] {
        if make {
            agent.ask(&format!("make {DATA_FILES} {folder}"))?;
        }
        push(first, agent.ask_one(&format!("open 1 {DATA_FILES} {folder}"))?);
        push(steady, least(&mut agent, &format!("open {} {DATA_FILES} {folder}", plan.count(30)))?);
    }
    if HEAVY.contains(&variant) {
        agent.ask("pin -1")?;
        let before = cpu_time(lab);
        let build = format!("run /bench/configure {}", plan.count(7));
        push("first build", agent.ask_one(&build)?);
        push("build", least_of(plan.rounds(4), || agent.ask_one(&build))?);
        let serve = format!("serve {}", plan.count(750));
        push("server", least_of(plan.rounds(4), || agent.ask_one(&serve))?);
        if variant.lacre.is_some() {
            own_time.push(variant.name, cpu_time(lab) - before);
        }
    }
    lab.end(&made)
}

fn least(agent: &mut Agent, order: &str) -> Result<f64> {
    Ok(agent.ask(order)?.into_iter().collect::<Series>().least())
}

fn least_of(times: usize, mut run: impl FnMut() -> Result<f64>) -> Result<f64> {
    Ok((0..times).map(|_| run()).collect::<Result<Series>>()?.least())
}

/// Interrupts and daemons like the first.
fn last_cpu() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get) - 1
}

/// The CPU time of the lacre processes of the node so far, ns.
pub(super) fn cpu_time(lab: &Lab) -> f64 {
    let mut sum = 0.0;
    for process in lab.daemon().node().processes() {
        if process.name() != "containerd-shim-lacre-v1" {
            continue;
        }
        for task in fs::read_dir(format!("/proc/{}/task", process.pid)).into_iter().flatten() {
            let Ok(task) = task else { continue };
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            sum += text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
        }
    }
    sum
}

fn report(figures: &Figures, own_time: &Comparison, violations: &[Value]) -> Report {
    let mut verdicts = Vec::new();
    let mut judge = |key, table: &str, title: &str, ways: &[Variant]| {
        for variant in ways {
            if let Some(rows) = figures.get(table) {
                verdicts.extend(Verdict::of(key, title, rows, variant.name));
            }
        }
    };
    judge(Key::Start, "start", "Debian-like: ", &[AUDIT, ENFORCE]);
    judge(Key::Exec, "exec, static", "static: ", &[AUDIT, ENFORCE, NO_FETCH]);
    judge(Key::Exec, "exec, dynamic", "dynamic: ", &[AUDIT, ENFORCE, NO_FETCH]);
    for (table, title) in [
        ("open, image", "in the image: "),
        ("open, writable", "in the writable layer: "),
        ("open, volume", "on a volume: "),
    ] {
        judge(Key::Opens, table, title, &[ENFORCE, BLOCK_ALL]);
    }
    judge(Key::Build, "build", "", &[AUDIT, ENFORCE, BLOCK_ALL]);
    judge(Key::Server, "server", "", &[AUDIT, ENFORCE, BLOCK_ALL]);

    let tables = |section: &mut Section, names: &[(&str, &str)]| {
        for (name, title) in names {
            if let Some(rows) = figures.get(name) {
                section.comparison(title, Unit::Nanoseconds, rows);
            }
        }
    };
    let mut programs = Section::new(
        "Programs",
        "A static program in the image, on one CPU, starts another of the image with \
         `posix_spawn` and waits for its end: the time of each, in the fastest of 50 \
         chunks of 20 (what else runs only adds), after 21 that do not count. *First* is the very first start of that program \
         in that container.",
    );
    tables(
        &mut programs,
        &[
            ("exec, static", "static program"),
            ("exec, dynamic", "dynamic program"),
            ("first exec, static", "static program, first"),
            ("first exec, dynamic", "dynamic program, first"),
            ("start", "Create, Start of these containers"),
        ],
    );
    programs.paragraph(&format!(
        "Violations recorded in all rounds, where none is right: {}.",
        violations.len()
    ));
    for violation in violations {
        programs.paragraph(&format!("`{violation}`"));
    }
    let mut opens = Section::new(
        "Opens of data files",
        "The same program opens and closes 500 files of 4 KiB: the time of each, in the \
         fastest of 30 passes; *first* is the pass before. The files are in the image, in the \
         writable layer (written just before, by the same program), and on a volume.",
    );
    tables(
        &mut opens,
        &[
            ("open, image", "in the image"),
            ("open, writable", "in the writable layer"),
            ("open, volume", "on a volume"),
            ("first open, image", "in the image, first"),
            ("first open, writable", "in the writable layer, first"),
            ("first open, volume", "on a volume, first"),
        ],
    );
    let mut build = Section::new(
        "An exec-heavy build",
        "A configure-like shell script of 7 checks: some 120 short programs (expr, tr, sed, \
         grep, cat, mv, perl, awk…), on all cores. The first time in that container, and the \
         fastest of four after it.",
    );
    tables(&mut build, &[("build", "build"), ("first build", "build, first")]);
    let mut server = Section::new(
        "A server",
        "A server and a client in one container, on the loopback: 750 connections one \
         after the other, for each of which the server opens a file of the image and sends \
         it. Time for all, the fastest of four.",
    );
    tables(&mut server, &[("server", "server")]);
    server.paragraph("CPU time of lacre's own process during build and server together:");
    server.series("lacre's CPU time", Unit::Nanoseconds, own_time.rows());
    Report { sections: vec![programs, opens, build, server], verdicts }
}
