//! Real programs of Debian's packages, at work in every mode ([`lacre_integration::workloads`]).
//!
//! Each run of the tests has a few, for a moment each; `make soak PART=workloads_tools` and its
//! like have all of an image, for a minute each. `LACRE_WORKLOADS` names those that are wanted,
//! `LACRE_WORKLOAD_SECONDS` says how long each works.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use lacre_integration::paths::repository;
use lacre_integration::workloads::{self, TABLE, Workload, page, run};

fn wanted(workload: &Workload) -> bool {
    let Ok(names) = std::env::var("LACRE_WORKLOADS") else { return true };
    names.split(',').any(|name| name == workload.name)
}

fn seconds(default: u64) -> Duration {
    let said = std::env::var("LACRE_WORKLOAD_SECONDS").ok();
    Duration::from_secs(said.and_then(|said| said.parse().ok()).unwrap_or(default))
}

fn all(image: &str, tell: fn(&str)) -> Result<()> {
    // The harness's own line is not over yet.
    tell("");
    run::run(image, seconds(60), wanted, tell)
}

fn a_part(image: &str, tell: fn(&str)) -> Result<()> {
    run::run(image, seconds(1), |one| one.ci && wanted(one), tell)
}

#[test]
#[ignore = "run by make soak PART=workloads_tools"]
fn all_tools() -> Result<()> {
    all("tools", |line| println!("{line}"))
}

#[test]
fn some_tools() -> Result<()> {
    a_part("tools", |line| println!("{line}"))
}

#[test]
#[ignore = "run by make soak PART=workloads_servers"]
fn all_servers() -> Result<()> {
    all("servers", |line| println!("{line}"))
}

#[test]
#[ignore = "run by make soak PART=workloads_languages"]
fn all_languages() -> Result<()> {
    all("languages", |line| println!("{line}"))
}

#[test]
#[ignore = "run by make soak PART=workloads_runtimes"]
fn all_runtimes() -> Result<()> {
    all("runtimes", |line| println!("{line}"))
}

#[test]
#[ignore = "run by make soak PART=workloads_daemons"]
fn all_daemons() -> Result<()> {
    all("daemons", |line| println!("{line}"))
}

#[test]
#[ignore = "run by make soak PART=workloads_compilers"]
fn all_compilers() -> Result<()> {
    all("compilers", |line| println!("{line}"))
}

#[test]
#[ignore = "run by make soak PART=workloads_utilities"]
fn all_utilities() -> Result<()> {
    all("utilities", |line| println!("{line}"))
}

#[test]
fn some_servers() -> Result<()> {
    a_part("servers", |line| println!("{line}"))
}

#[test]
fn each_is_of_packages_that_its_image_has() {
    // What every Debian has.
    let minimal = ["apt", "bash", "coreutils", "dash", "dpkg", "findutils", "libc-bin", "login"];
    let minimal = [&minimal[..], &["passwd", "perl", "python3", "sed", "tar"]].concat();
    for (image, all) in TABLE {
        let packages = workloads::packages(image);
        for workload in *all {
            for package in workload.packages {
                assert!(
                    packages.contains(package) || minimal.contains(package),
                    "{}: integration/workloads/images has no {package} for {image}",
                    workload.name
                );
            }
        }
    }
}

#[test]
fn there_are_forty_of_different_names_and_ten_for_each_run() {
    let names: BTreeSet<_> = TABLE.iter().flat_map(|(_, all)| *all).map(|one| one.name).collect();
    let all: Vec<_> = TABLE.iter().flat_map(|(_, all)| *all).collect();
    assert_eq!(names.len(), all.len(), "two of them share a name");
    assert!(all.len() >= 40, "{} are too few", all.len());
    assert!(all.iter().filter(|one| one.ci).count() >= 10);
}

/// `LACRE_WORKLOADS_PAGE=write` writes it.
#[test]
fn the_page_tells_of_each() -> Result<()> {
    let path = repository().join("docs/workloads.md");
    let text = std::fs::read_to_string(&path)?;
    let due = page::page(&text).context("docs/workloads.md has no place for the tables")?;
    if std::env::var_os("LACRE_WORKLOADS_PAGE").is_some() {
        std::fs::write(&path, &due)?;
        return Ok(());
    }
    assert!(text == due, "docs/workloads.md is not of the code: LACRE_WORKLOADS_PAGE=write");
    Ok(())
}
