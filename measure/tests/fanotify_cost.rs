//! What an armed container costs its process: descriptors, memory, groups. Alone in its
//! own process, which it counts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

#[path = "fanotify/baseline.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the other tests")]
mod baseline;
#[path = "fanotify/container.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the other tests")]
mod container;
#[path = "common/place.rs"]
mod place;

use std::sync::Arc;

use baseline::Baseline;
use container::{Container, programs};
use lacre_measure::Block;
use lacre_measure::fanotify::arm;
use lacre_types::Mode;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Private memory of this process, in KiB.
fn private() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let lines = rollup.lines().filter(|line| line.starts_with("Private_"));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

/// In one test, since each counts the whole process.
#[test]
fn an_armed_container_costs_little_and_leaves_nothing() {
    let container = Container::start(|_| ());
    let baseline = Arc::new(Baseline::of(&container.lower(), Mode::Enforce));
    let target = container.target(baseline.clone(), Mode::Enforce, Block::All);
    drop(arm(&target, baseline.clone()).unwrap());

    let before = descriptors();
    for n in 0..20 {
        let armed = arm(&target, baseline.clone()).unwrap();
        assert_eq!(container.tool(&["run", "/bin/good"]), 0);
        let dropped = format!("/tmp/{n}");
        container.put(&programs().evil, &dropped);
        assert_eq!(container.tool(&["run", &dropped]), 1);
        drop(armed);
    }
    // A reader that is still idle holds no descriptor; one that is still at work, whom
    // nobody can wait for, may until it has read its file.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while descriptors() > before && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(descriptors(), before);

    let before = private();
    let armed: Vec<_> = (0..20).map(|_| arm(&target, baseline.clone()).unwrap()).collect();
    let each = private().saturating_sub(before) / 20;
    println!("{each} KiB private per idle container");
    assert!(each < 256, "{each} KiB");
    drop(armed);

    // One user has fs.fanotify.max_user_groups, 128 by default; a shim each, they all have one.
    let armed: Vec<_> = (0..200).map(|_| arm(&target, baseline.clone()).unwrap()).collect();
    let dropped = "/tmp/past-the-limit";
    container.put(&container::programs().evil, dropped);
    assert_eq!(container.tool(&["run", dropped]), 1);
    drop(armed);
    assert_eq!(baseline.lost_any(), []);
}
