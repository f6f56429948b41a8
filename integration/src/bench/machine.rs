//! Where it was measured, in the words of the machine itself.

use std::fs;

use anyhow::Result;

use super::page::Section;
use crate::Containerd;
use crate::output::Output;

pub(crate) fn section(daemon: &Containerd) -> Result<Section> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, value)| value)
    };
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let guest = field("flags").split(' ').any(|flag| flag == "hypervisor");
    let memory: u64 = fs::read_to_string("/proc/meminfo")?
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or_default();
    let system = fs::read_to_string("/etc/os-release")?;
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let says = |program: &str, argument: &str| -> Result<String> {
        let said = Output::of(daemon.command(program).arg(argument))?.ok()?;
        Ok(said.lines().next().unwrap_or_default().to_owned())
    };
    let mut section = Section::new("The machine", "");
    let rows = [
        (
            "processor",
            format!(
                "{cores} × {}{}",
                field("model name"),
                if guest { ", a virtual machine" } else { "" }
            ),
        ),
        ("memory", format!("{:.0} GiB", memory as f64 / f64::from(1 << 20))),
        ("kernel", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned()),
        ("system", system.unwrap_or("unknown").trim_matches('"').to_owned()),
        ("containerd", says("containerd", "--version")?),
        ("runc", says("runc", "--version")?),
        (
            "lacre",
            format!(
                "{}, {} build",
                env!("CARGO_PKG_VERSION"),
                if cfg!(debug_assertions) { "debug" } else { "release" }
            ),
        ),
        ("load average at the start", load()?),
    ];
    let rows: Vec<_> = rows.into_iter().map(|(what, is)| vec![what.to_owned(), is]).collect();
    section.table(&["what", "is"], &rows);
    Ok(section)
}

/// The load average of the last minute.
pub(crate) fn load() -> Result<String> {
    let line = fs::read_to_string("/proc/loadavg")?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}
