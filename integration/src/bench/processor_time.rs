//! The processor time of a daemon and all that it starts, its shims included; not that of the
//! containers, which have cgroups of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// Where the kernel counts: the controller's mount, the file, and nanoseconds in one of its
/// units (cgroup-v1/cpuacct.rst, cgroup-v2.rst).
const WAYS: [(&str, &str, u64); 2] =
    [("/sys/fs/cgroup/cpuacct", "cpuacct.usage", 1), ("/sys/fs/cgroup", "cpu.stat", 1000)];

/// A cgroup that counts; it goes with this, once nobody is in it.
#[derive(Debug)]
pub(crate) struct ProcessorTime {
    cgroup: PathBuf,
    file: &'static str,
    unit: u64,
}

impl ProcessorTime {
    /// Counts for the process `pid`, and what it starts from now on.
    pub(crate) fn of(pid: i32, name: &str) -> Result<Self> {
        let way = WAYS.iter().find(|(mount, file, _)| Path::new(mount).join(file).exists());
        let (mount, file, unit) = way.context("no cgroup here counts processor time")?;
        let own = Self { cgroup: Path::new(mount).join(name), file, unit: *unit };
        fs::create_dir(&own.cgroup).with_context(|| own.cgroup.display().to_string())?;
        fs::write(own.cgroup.join("cgroup.procs"), pid.to_string())?;
        own.now()?;
        Ok(own)
    }

    /// What they have used.
    pub(crate) fn now(&self) -> Result<Duration> {
        let text = fs::read_to_string(self.cgroup.join(self.file))?;
        let value = text.lines().find_map(|line| match line.split_once(' ') {
            None => line.parse::<u64>().ok(),
            Some(("usage_usec", value)) => value.parse().ok(),
            Some(_) => None,
        });
        let value = value.with_context(|| format!("{} says nothing of it", self.file))?;
        Ok(Duration::from_nanos(value * self.unit))
    }
}

impl Drop for ProcessorTime {
    fn drop(&mut self) {
        // Whoever is still in it keeps it.
        let _ = fs::remove_dir(&self.cgroup);
    }
}
