//! How long a container takes to start, and a command in it.

use std::fs;

use anyhow::Result;

use super::budgets::{Key, Verdict};
use super::lab::{Base, Lab};
use super::page::{Section, Unit};
use super::plan::Plan;
use super::report::Report;
use super::stats::{Comparison, Series};
use super::variant::{AUDIT, ENFORCE, MAIN, RUNC, Variant, of_round};

pub(crate) fn measure(lab: &mut Lab, plan: &Plan) -> Result<Report> {
    let (mut by_ctr, mut by_api, mut execs) = <(Comparison, Comparison, Comparison)>::default();
    let mut used = Comparison::default();
    for round in 0..=plan.rounds(16) {
        plan.progress("container start", round, plan.rounds(16));
        for variant in of_round(&MAIN, round) {
            let before = lab.processor_time()?;
            let took = lab.ctr_run(*variant, Base::Busybox, "true")?;
            let spent = lab.processor_time()?.saturating_sub(before);
            let made = lab.make(*variant, Base::Busybox, &["sleep", "1000"], None)?;
            let started = lab.run(&made)?;
            let exec = (0..3)
                .map(|_| Ok(lab.exec(&made, Base::Busybox, &["true"])?.as_nanos() as f64))
                .collect::<Result<Series>>()?;
            lab.end(&made)?;
            // The first round warms.
            if round > 0 {
                by_ctr.push(variant.name, took.as_nanos() as f64);
                used.push(variant.name, spent.as_nanos() as f64);
                by_api.push(variant.name, started.as_nanos() as f64);
                execs.push(variant.name, exec.median());
            }
        }
    }
    let names = || MAIN.iter().map(|variant| variant.name);
    let mut section = Section::new(
        "Container start",
        "`ctr run --rm --null-io` of busybox's `true`, from the start of `ctr` to its end, \
         removal included. Then without `ctr`: the task's Create and Start by containerd's \
         gRPC API, and (the median of three a round) Exec and Start of a `true` in the \
         running container. The baseline is cached. *exempt* is the wrapper alone, which \
         forwards and does not guard. *Processor time* is that of containerd and all shims \
         together for one `ctr run`, as their cgroup counts it; the container itself and \
         `ctr` are not in it.",
    );
    let by_api = by_api.ordered(names());
    section.comparison("`ctr run`", Unit::Nanoseconds, &by_ctr.ordered(names()));
    let used = used.ordered(names());
    section.comparison("`ctr run`, processor time", Unit::Nanoseconds, &used);
    section.comparison("Create, Start", Unit::Nanoseconds, &by_api);
    section.comparison("Exec, Start", Unit::Nanoseconds, &execs.ordered(names()));
    let of = |key, table| {
        let each = move |variant: &Variant| Verdict::of(key, "busybox: ", table, variant.name);
        [AUDIT, ENFORCE].iter().filter_map(each)
    };
    let verdicts = of(Key::Start, &by_api).chain(of(Key::StartProcessor, &used)).collect();
    cold(lab, plan, &mut section)?;
    Ok(Report { sections: vec![section], verdicts })
}

/// The same with nothing cached: lacre hashes the image before the container may start.
fn cold(lab: &mut Lab, plan: &Plan, section: &mut Section) -> Result<()> {
    const WAYS: [Variant; 2] = [RUNC, ENFORCE];
    section.paragraph(
        "Cold: lacre's state directory is emptied before each start, so that every layer is \
         read and hashed (from the page cache) before the container may run.",
    );
    for (base, title) in [
        (Base::Busybox, "Create, Start, cold, busybox (2 MB)"),
        (Base::Debian, "Create, Start, cold, Debian-like (46 MB)"),
    ] {
        let mut starts = Comparison::default();
        for round in 0..plan.rounds(8) {
            plan.progress(title, round + 1, plan.rounds(8));
            for variant in of_round(&WAYS, round) {
                if lab.state().exists() {
                    fs::remove_dir_all(lab.state())?;
                }
                let made = lab.make(*variant, base, &["sleep", "1000"], None)?;
                starts.push(variant.name, lab.run(&made)?.as_nanos() as f64);
                lab.end(&made)?;
            }
        }
        let starts = starts.ordered(WAYS.iter().map(|variant| variant.name));
        section.comparison(title, Unit::Nanoseconds, &starts);
    }
    Ok(())
}
