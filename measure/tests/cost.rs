//! What the sources cost, interleaved against nothing at all. By hand:
//! `cargo test --release -p lacre-measure --test cost -- --ignored --nocapture`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails where it must"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Container, Image, Node, Recorder};
use lacre_measure::{Armed, Judge, exec_map, exec_trace};
use lacre_types::Mode;

const ROUNDS: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq)]
enum With {
    Nothing,
    Trace,
    TraceAndFetch,
    /// Another container of the node is guarded; this one is not.
    Neighbour,
    Map,
}

const ALL: [With; 5] =
    [With::Nothing, With::Trace, With::TraceAndFetch, With::Neighbour, With::Map];

/// Nanoseconds that one unit of `command` took.
fn once(image: &Image, with: With, command: &str) -> u64 {
    let node = Node::new();
    let mut container = Container::new(image);
    let mut other = Container::new(image);
    let judge = Recorder::new(Mode::Enforce, image) as Arc<dyn Judge>;
    let guarded = if with == With::Neighbour { &other } else { &container };
    let target = guarded.target(image, Mode::Enforce);
    let options = exec_trace::Options { fetch: with != With::Trace, ..node.options() };
    let armed: Option<Box<dyn Armed>> = match with {
        With::Nothing => None,
        With::Map => {
            Some(Box::new(exec_map::arm(&target, judge, &exec_map::Options::default()).unwrap()))
        }
        _ => Some(Box::new(exec_trace::arm(&target, judge, &options).unwrap())),
    };
    if with == With::Neighbour {
        other.start("/bin/t pause");
    }
    container.pin();
    container.start(command);
    let nanoseconds = container.line().parse().expect("the command failed");
    drop(armed);
    nanoseconds
}

#[test]
#[ignore = "a measurement, not a test"]
fn cost() {
    let image = Image::new();
    for (what, command) in [
        ("fork and exec of a dynamic program", "/bin/t loop 250 /bin/t"),
        ("fork and exec of sh -c :", "/bin/t loop 200 /bin/sh -c :"),
        ("page fault", "/bin/t fault 200000"),
    ] {
        let mut figures = vec![Vec::new(); ALL.len()];
        for round in 0..ROUNDS {
            for step in 0..ALL.len() {
                // Each round begins elsewhere, so that none is always first.
                let index = (round + step) % ALL.len();
                figures[index].push(once(&image, ALL[index], command));
            }
        }
        let ratios = |index: usize| {
            let mut ratios: Vec<f64> = figures[index]
                .iter()
                .zip(&figures[0])
                .map(|(this, nothing)| *this as f64 / *nothing as f64)
                .collect();
            ratios.sort_by(f64::total_cmp);
            ratios
        };
        println!("{what}, {ROUNDS} rounds");
        for (index, with) in ALL.iter().enumerate() {
            let mut sorted = figures[index].clone();
            sorted.sort_unstable();
            let ratios = ratios(index);
            println!(
                "  {:14} median {:>9} ns, quarters {} to {}, least {}; to nothing {:.3} ({:.3} to {:.3})",
                format!("{with:?}"),
                sorted[ROUNDS / 2],
                sorted[ROUNDS / 4],
                sorted[ROUNDS * 3 / 4],
                sorted[0],
                ratios[ROUNDS / 2],
                ratios[ROUNDS / 4],
                ratios[ROUNDS * 3 / 4],
            );
        }
    }
}

/// What one program in the kernel took so far, and how often it ran.
type Spent = (u64, u64);

/// The programs of lacre's in the kernel, by number: other nodes of the machine have theirs.
fn programs() -> BTreeMap<u32, (String, Spent)> {
    libbpf_rs::query::ProgInfoIter::default()
        .map(|it| (it.id, (it.name.to_string_lossy().into_owned(), (it.run_time_ns, it.run_cnt))))
        .filter(|(_, (name, _))| name.starts_with("lacre_"))
        .collect()
}

/// Where a fork and exec's share of the programs' time goes, some 40 ns for the counting
/// included. The kernel's own share (the tracepoints, what is freed later) is not in it.
#[test]
#[ignore = "a measurement, not a test; it turns the node's BPF statistics on"]
fn where_the_time_goes() {
    const COUNT: u64 = 250;
    let statistics = |on: &str| std::fs::write("/proc/sys/kernel/bpf_stats_enabled", on).unwrap();
    let image = Image::new();
    for program in ["/bin/t", "/bin/sh -c :"] {
        let node = Node::new();
        let others = programs();
        let mut container = Container::new(&image);
        let target = container.target(&image, Mode::Enforce);
        let judge = Recorder::new(Mode::Enforce, &image) as Arc<dyn Judge>;
        let _armed = exec_trace::arm(&target, judge, &node.options()).unwrap();
        container.pin();
        statistics("1");
        container.start(&format!("/bin/t loop {COUNT} {program}"));
        let nanoseconds = container.line();
        statistics("0");
        println!("{program}: {nanoseconds} ns");
        for (id, (name, (time, count))) in programs() {
            if !others.contains_key(&id) {
                println!(
                    "  {name:12} {:7} ns a time, {:4} times, {:7} ns in all",
                    time / count.max(1),
                    count / COUNT,
                    time / COUNT
                );
            }
        }
    }
}

/// What a container's Create, Start and Delete wait for, and what nobody waits for: of a node
/// where nothing is loaded, where the programs are and no container, and where there is one.
#[test]
#[ignore = "a measurement, not a test"]
fn arming() {
    for (case, rounds) in [("nothing loaded", 8), ("the only one", 40), ("one of two", 40)] {
        let (node, image) = (Node::new(), Image::new());
        exec_trace::probe(&node.options()).unwrap();
        let other = Container::new(&image);
        let judge = || Recorder::new(Mode::Enforce, &image) as Arc<dyn Judge>;
        let neighbour = (case == "one of two").then(|| {
            let target = other.target(&image, Mode::Enforce);
            exec_trace::arm(&target, judge(), &node.options()).unwrap()
        });
        let mut figures: [Vec<[u128; 2]>; 4] = Default::default();
        for _ in 0..rounds {
            if case == "nothing loaded" {
                exec_trace::unpin_all(&node.folder()).unwrap();
            }
            let container = Container::new(&image);
            let target = container.target(&image, Mode::Enforce);
            let mut since = now();
            let mut lap = |figures: &mut Vec<[u128; 2]>| {
                let until = now();
                figures.push([0, 1].map(|clock| (until[clock] - since[clock]).as_micros()));
                since = until;
            };
            let ready = exec_trace::prepare(&target.container, &*target.known, &node.options());
            lap(&mut figures[0]);
            let armed = ready.unwrap().arm(&target, judge()).unwrap();
            lap(&mut figures[1]);
            let rest = Box::new(armed).disarm().unwrap();
            lap(&mut figures[2]);
            rest();
            lap(&mut figures[3]);
        }
        println!("{case}:");
        for (what, figures) in ["prepare", "arm", "disarm", "the rest"].iter().zip(figures) {
            let [wall, processor] = [0, 1].map(|clock| {
                let mut figures: Vec<_> = figures.iter().map(|figure| figure[clock]).collect();
                figures.sort_unstable();
                format!("{:>6} us, least {:>6}", figures[rounds / 2], figures[0])
            });
            println!("  {what:8} median {wall}; of the processor {processor}");
        }
        drop(neighbour);
    }
}

/// The time, and this process's time of the processor.
fn now() -> [std::time::Duration; 2] {
    use rustix::time::{ClockId, clock_gettime};
    [ClockId::Monotonic, ClockId::ProcessCPUTime].map(|clock| {
        let time = clock_gettime(clock);
        std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    })
}
