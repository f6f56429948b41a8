//! A decision costs the same with 10,000 rules as with ten. `cargo test --release -- --nocapture`
//! prints the figures; the bound here is wide enough for a debug build on a loaded machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use lacre_policy::{Effective, Policy, Subject};
use lacre_types::{CanonicalPath, Digest, ViolationKind};
use rustix::time::{ClockId, clock_gettime};

const RULES: usize = 10_000;

type Key = fn(usize) -> String;

/// So many rules, in all lists together.
fn policy(rules: usize) -> Policy {
    let mut file = String::from("Actions:\n ENTRY_NOT_FOUND:\n");
    let lists: [(&str, Key); 6] = [
        ("ByContainerID", |n| format!("{n:064x}")),
        ("ByContainerImageDigest", |n| format!("{n:064x}")),
        ("ByContainerImageName", |n| match n % 2 {
            0 => format!("app-{n}:1"),
            _ => format!("\"app-{n}:*\""),
        }),
        ("ByLabel", |n| format!("app=a{n}")),
        ("ByNamespace", |n| format!("ns-{n}")),
        ("ByPath", |n| match n % 2 {
            0 => format!("/srv/{n}/bin"),
            _ => format!("/srv/{n}/**"),
        }),
    ];
    for (list, key) in lists {
        let _ = writeln!(file, "  {list}:");
        for n in 0..rules / lists.len() {
            let _ = writeln!(file, "  - {}: SKIP", key(n));
        }
    }
    file.push_str("  Default: STOP\n");
    Policy::parse("p.yaml", file.as_bytes()).unwrap_or_else(|e| panic!("{e}")).0
}

/// The cheapest of several rounds: what it costs when nobody else is in the way.
fn cost(mut decide: impl FnMut()) -> Duration {
    const TIMES: u32 = 2_000;
    (0..20)
        .map(|_| {
            let started = processor_time();
            (0..TIMES).for_each(|_| decide());
            (processor_time() - started) / TIMES
        })
        .min()
        .unwrap()
}

/// This thread's own, so that who else runs does not count.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// Of a container that no rule names: every list is asked. The whole policy, and the
/// effective one.
fn costs(policy: &Policy) -> (Duration, Duration) {
    let id = "f".repeat(64);
    let digests: Vec<Digest> = vec![format!("sha256:{id}").parse().unwrap()];
    let subject = Subject {
        container_id: &id,
        image_digests: &digests,
        image_name: Some("registry.example/team/app-77:3"),
        namespaces: &["k8s.io", "default"],
        labels: &[("app", "none"), ("io.cri-containerd.kind", "container")],
        annotations: &[],
    };
    let path = CanonicalPath::new("/srv/none/lib/x86_64-linux-gnu/libdl-2.27.so").unwrap();
    let kind = ViolationKind::EntryNotFound;
    let effective = Effective::from_json(&policy.effective(&subject).to_json()).unwrap();
    (
        cost(|| drop(black_box(policy.decide(black_box(&subject), kind, Some(&path))))),
        cost(|| drop(black_box(effective.decide(black_box(kind), Some(&path))))),
    )
}

#[test]
fn ten_thousand_rules_cost_no_more_than_a_microsecond() {
    let (few, few_effective) = costs(&policy(12));
    let large = policy(RULES);
    assert!(large.rules() > RULES - 6);
    let (many, many_effective) = costs(&large);
    println!("decide: {few:?} with 12 rules, {many:?} with {RULES}");
    println!("effective: {few_effective:?} with 12 rules, {many_effective:?} with {RULES}");
    let bound = if cfg!(debug_assertions) { 20 } else { 1 };
    assert!(many < Duration::from_micros(bound), "{many:?}");
    assert!(many_effective < Duration::from_micros(bound), "{many_effective:?}");
}
