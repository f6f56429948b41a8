//! What holding back costs. Run with
//! `cargo test --release -p lacre-measure --test fanotify -- --ignored --nocapture latency`.

use std::sync::Arc;

use lacre_measure::fanotify::{Limits, arm_with};
use lacre_measure::{Block, Outcome};
use lacre_types::Mode;

use crate::container::{Container, programs};
use crate::{Baseline, Guarded};

const ROUNDS: usize = 10;

fn samples(container: &Container, what: &str, path: &str, times: usize) -> Vec<f64> {
    let out = container.output(&["/bin/tool", what, path, &times.to_string()]);
    assert!(out.status.success(), "{what} {path}");
    let text = String::from_utf8(out.stdout).unwrap();
    text.split_whitespace().map(|n| n.parse().unwrap()).collect()
}

fn row(name: &str, mut all: Vec<f64>) {
    all.sort_by(f64::total_cmp);
    let at = |p: usize| all[(all.len() - 1) * p / 100];
    println!("{name:44} p50 {:8.2} µs   p99 {:8.2} µs   n {}", at(50), at(99), all.len());
}

/// One container with no group and one per kind of block, asked in turns.
#[test]
#[ignore = "a measurement, not a check"]
fn latency_in_steady_state() {
    let names = ["no group", "block exec", "block all"];
    let bare = Container::start(|_| ());
    let guarded: Vec<_> =
        [Block::Exec, Block::All].map(|block| Guarded::new(Mode::Enforce, block)).into();
    let all: Vec<&Container> =
        std::iter::once(&bare).chain(guarded.iter().map(|it| &it.container)).collect();
    for container in &all {
        assert_eq!(container.tool(&["write", "/tmp/upper", "data"]), 0);
        assert_eq!(container.tool(&["write", "/vol/file", "data"]), 0);
    }
    let cases = [
        ("bench-run", "/bin/good", 200),
        ("bench-open", "/bin/good", 2000),
        ("bench-open", "/data", 2000),
        ("bench-open", "/tmp/upper", 2000),
        ("bench-open", "/vol/file", 2000),
    ];
    for (what, path, times) in cases {
        let mut taken = vec![Vec::new(); all.len()];
        for round in 0..=ROUNDS {
            for (at, container) in all.iter().enumerate() {
                let some = samples(container, what, path, times);
                if round > 0 {
                    taken[at].extend(some);
                }
            }
        }
        for (name, taken) in names.iter().zip(taken) {
            row(&format!("{what} {path}, {name}"), taken);
        }
    }
}

/// 20,000 files of the image's data, ten times, their first time included: alone, with a group
/// that asks about executions, and with one that asks about opens, in turns.
#[test]
#[ignore = "a measurement, not a check"]
fn many_opens() {
    const FILES: usize = 20_000;
    let container = Container::start(|lower| {
        std::fs::create_dir(lower.join("many")).unwrap();
        for file in 0..FILES {
            std::fs::write(lower.join(format!("many/{file}")), "only data\n").unwrap();
        }
    });
    let mut taken = [const { Vec::new() }; 3];
    for round in 0..=ROUNDS {
        let mut alone = 0.0;
        for (at, block) in [None, Some(Block::Exec), Some(Block::All)].into_iter().enumerate() {
            let armed = block.map(|block| {
                let baseline = Arc::new(Baseline::of(&container.lower(), Mode::Enforce));
                let target = container.target(baseline.clone(), Mode::Enforce, block);
                arm_with(&target, baseline, Limits::default()).unwrap()
            });
            let before = answers();
            let passes = samples(&container, "bench-each", "/many", 10);
            let asked = answers() - before;
            drop(armed);
            let all: f64 = passes.iter().sum();
            if at == 0 {
                alone = all;
            }
            let best = passes.iter().copied().fold(f64::MAX, f64::min);
            let each = |time: f64| time * 1000.0 / FILES as f64;
            if round > 0 {
                taken[at].push([all / alone, each(passes[0]), each(best), asked as f64]);
            }
        }
    }
    for (name, taken) in ["no group", "block exec", "block all"].iter().zip(taken) {
        let median = |of: usize| {
            let mut all: Vec<_> = taken.iter().map(|figures| figures[of]).collect();
            all.sort_by(f64::total_cmp);
            [all[0], all[all.len() / 4], all[all.len() / 2], all[all.len() * 3 / 4]]
        };
        println!(
            "{name:10} ratio of all {:.3?}; ns an open: first pass {:.0?}, best pass {:.0?}; \
             writes {:.0?} (least, quartiles)",
            median(0),
            median(1),
            median(2),
            median(3)
        );
    }
}

/// System calls by which this process wrote, each answer one of them.
fn answers() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("syscw: "));
    line.unwrap().parse().unwrap()
}

/// Each file once: with nothing settled, every use is a first touch.
#[test]
#[ignore = "a measurement, not a check"]
fn latency_of_a_first_touch() {
    for block in [Block::Exec, Block::All] {
        for (name, listed) in [("known", true), ("hashed, 800 KiB", false)] {
            let container = Container::start(|_| ());
            let mut baseline = Baseline::of(&container.lower(), Mode::Enforce);
            if !listed {
                let good = std::fs::read(&programs().good).unwrap();
                let digest = crate::baseline::sha256(&good);
                baseline = baseline.list("/bin/good", good.len() as u64, digest);
            }
            let baseline = Arc::new(baseline);
            let target = container.target(baseline.clone(), Mode::Enforce, block);
            let limits = Limits { settled: 0, ..Limits::default() };
            let _armed = arm_with(&target, baseline.clone(), limits).unwrap();
            let runs = samples(&container, "bench-run", "/bin/good", 1000);
            row(&format!("exec, {name}, {block:?}"), runs);
            println!("{} measurements", baseline.all().len());
            if block == Block::All {
                row(&format!("open, {name}"), samples(&container, "bench-open", "/bin/good", 1000));
                row("open, data", samples(&container, "bench-open", "/data", 1000));
            }
            assert!(baseline.all().iter().all(|(_, outcome)| *outcome == Outcome::Ran));
        }
    }
    let bare = Container::start(|_| ());
    row("exec, no group", samples(&bare, "bench-run", "/bin/good", 1000));
    row("open, no group", samples(&bare, "bench-open", "/bin/good", 5000));
}
