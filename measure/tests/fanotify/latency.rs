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
