//! Races for a verified file: between the reading of a file and its running, somebody changes
//! it. Whatever the way, what ran must be what was read: no foreign execution in any try.
//!
//! `LACRE_RACES` says how many tries of each; a soak has 50,000. Needs root and BPF.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails where it must"
)]

mod both_sources;
#[path = "../common/mod.rs"]
mod common;
mod metadata;
mod shared_groups;

use both_sources::Guarded;
use lacre_measure::Block;

fn tries() -> u32 {
    std::env::var("LACRE_RACES").ok().and_then(|tries| tries.parse().ok()).unwrap_or(100)
}

/// How often each of these happened: it ran changed, ran as it came, did not run.
fn race(how: &str, victim: &str, block: Block) -> [u64; 3] {
    let mut it = Guarded::new(block, false);
    it.container.start(&format!("/bin/t race {how} {victim} {}", tries()));
    let line = it.container.line();
    println!("{how} {victim} {block:?}: {line} (ran changed, as it came, not at all)");
    assert_eq!(it.container.finish(), 0);
    let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers.iter().sum::<u64>(), u64::from(tries()));
    numbers.try_into().unwrap()
}

fn no_foreign_execution(how: &str, victim: &str) {
    for block in [Block::Exec, Block::All] {
        let how = if (how, block) == ("learn", Block::All) { "learn-held" } else { how };
        let [foreign, ..] = race(how, victim, block);
        assert_eq!(foreign, 0, "{how} {victim} {block:?}");
    }
}

#[test]
fn a_writer_that_waits_for_the_lease_on_a_program() {
    no_foreign_execution("lease", "/bin/victim");
}

#[test]
fn a_writer_that_waits_for_the_lease_on_a_library() {
    no_foreign_execution("lease", "/opt/victim.so");
}

#[test]
fn a_program_that_is_learnt_and_then_changed_through_a_mapping() {
    no_foreign_execution("learn", "/bin/victim");
}

#[test]
fn a_library_that_is_learnt_and_then_changed_through_a_mapping() {
    no_foreign_execution("learn", "/opt/victim.so");
}

#[test]
fn a_program_on_a_tmpfs_over_its_own_name() {
    no_foreign_execution("tmpfs", "/bin/victim");
}

#[test]
fn a_library_on_a_tmpfs_over_its_own_name() {
    no_foreign_execution("tmpfs", "/opt/victim.so");
}
