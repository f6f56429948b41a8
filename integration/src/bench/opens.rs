//! Many files: what a backup, an unpacker or a web server opens.
//!
//! Each way has a container of its own in each round, and opens everything for the first time.

use anyhow::{Result, bail};

use super::budgets::{Key, Verdict};
use super::lab::{Base, Lab};
use super::page::{Section, Unit};
use super::plan::Plan;
use super::report::Report;
use super::stats::Comparison;
use super::variant::{AUDIT, AUDIT_ALL, BLOCK_ALL, CONTROL, ENFORCE, RUNC, Variant, of_round};
use super::work::cpu_time;

const WAYS: [Variant; 6] = [RUNC, CONTROL, AUDIT, ENFORCE, AUDIT_ALL, BLOCK_ALL];

/// What is done: the order, how the page calls it, and whether it is held against the budget.
const WORK: [(&str, &str, bool); 6] = [
    ("read 10 0 /many/opened", "data of the image, opened ten times", true),
    ("read 10 1 /many/read", "data of the image, read ten times", true),
    ("read 1 1 /many/mixed", "code and data of the image, read once", false),
    ("read 9 1 /many/mixed", "code and data of the image, read nine times more", true),
    ("read 1 1 /tmp/copy", "written copies of the data, read once", false),
    ("read 9 1 /tmp/copy", "written copies of the data, read nine times more", true),
];

pub(crate) fn measure(lab: &mut Lab, plan: &Plan) -> Result<Report> {
    let files = plan.count(20_000);
    lab.with_many(files)?;
    let mut figures: Vec<Comparison> = WORK.iter().map(|_| Comparison::default()).collect();
    let mut processor = figures.clone();
    let rounds = plan.rounds(5);
    for round in 0..rounds {
        plan.progress("many files", round + 1, rounds);
        for variant in of_round(&WAYS, round) {
            lab.unload()?;
            if variant.lacre.is_some() {
                lab.prime(*variant)?;
            }
            let (made, mut agent, _) = lab.agent_in(*variant, Base::Many)?;
            for (((order, ..), figures), processor) in
                WORK.iter().zip(&mut figures).zip(&mut processor)
            {
                if order.contains("read 1 1 /tmp") {
                    agent.ask("copy /many/read /tmp/copy")?;
                }
                let before = cpu_time(lab);
                let taken = agent.ask(order)?;
                let [time, used] = taken[..] else { bail!("{order}: {taken:?}") };
                figures.push(variant.name, time);
                processor.push(variant.name, used + cpu_time(lab) - before);
            }
            lab.end(&made)?;
        }
    }
    let names = || WAYS.iter().map(|way| way.name);
    let mut section = Section::new(
        "Many files",
        &format!(
            "The same static program opens {files} files of 2 KiB, or reads them to their end, \
             one after the other: the time of all, their first time included. The files are in \
             the image, data alone or every fourth named `.py`, and copies that the program \
             wrote just before. Processor time is the program's and lacre's together."
        ),
    );
    let mut verdicts = Vec::new();
    for (((_, name, judged), figures), processor) in WORK.iter().zip(figures).zip(processor) {
        let figures = figures.ordered(names());
        section.comparison(name, Unit::Nanoseconds, &figures);
        let title = format!("{name}: processor time");
        section.comparison(&title, Unit::Nanoseconds, &processor.ordered(names()));
        for variant in [ENFORCE, BLOCK_ALL].iter().filter(|_| *judged) {
            let way = format!("{name}: ");
            verdicts.extend(Verdict::of(Key::ManyFiles, &way, &figures, variant.name));
        }
    }
    Ok(Report { sections: vec![section], verdicts })
}
