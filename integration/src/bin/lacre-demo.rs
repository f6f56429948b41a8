//! `make demo`: four containers, what lacre saw of each, and what became of it.

use std::fs;
use std::io::{IsTerminal, Write as _, stderr, stdout};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lacre_integration::demo_cases::{CASES, Case, POLICY, Row, plain_rootfs, records, state_after};
use lacre_integration::images::{busybox_image, debian_image};
use lacre_integration::output::wait_for;
use lacre_integration::paths::{binaries, cached};
use lacre_integration::{Containerd, Image, Output, Runtime, Version};
use serde_json::Value;

/// Longer than a report takes on a busy machine.
const SOON: Duration = Duration::from_secs(15);

const USAGE: &str = "\
Starts a containerd and a policy server of its own, runs four containers, tells what lacre saw of
each and what became of it, and removes everything. The machine's own containerd is not touched.

Usage: lacre-demo    as root; `make demo` builds and fetches what it needs

  -h, --help         print this

  LACRE_BIN_DIR      the folder of containerd-shim-lacre-v1 and lacre-policyd
  LACRE_CACHE        the folder into which integration/setup.sh has unpacked daemons and images
";

/// A command line that makes no sense (sysexits.h, `EX_USAGE`).
const USAGE_ERROR: u8 = 64;

fn main() -> ExitCode {
    let told = match std::env::args_os().nth(1) {
        None => demonstrate(),
        Some(word) if word == "-h" || word == "--help" => {
            stdout().write_all(USAGE.as_bytes()).map_err(Into::into)
        }
        Some(word) => {
            let word = lacre_types::escape(word.as_encoded_bytes());
            let _ = writeln!(stderr(), "lacre-demo: it takes no `{word}`; see lacre-demo --help");
            return USAGE_ERROR.into();
        }
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "lacre-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> Result<()> {
    let own = fs::metadata("/proc/self")?.uid();
    anyhow::ensure!(own == 0, "it makes containers: run it as root");
    let begun = Instant::now();
    say("starting a private containerd and a lacre-policyd");
    let demo = Demo::start()?;
    let mut table = Vec::new();
    for case in CASES {
        say(&format!("{}: {}", case.id, case.what));
        table.push(demo.run(&case)?);
    }
    print_table(&table)?;
    let wrong: Vec<_> = CASES
        .iter()
        .zip(&table)
        .filter(|(case, row)| !row.is_of(case))
        .map(|(case, _)| case.id)
        .collect();
    demo.end()?;
    writeln!(stdout(), "\n{:.0} s, and nothing is left behind.", begun.elapsed().as_secs_f64())?;
    anyhow::ensure!(wrong.is_empty(), "not as expected: {}", wrong.join(", "));
    Ok(())
}

struct Demo {
    daemon: Containerd,
    policyd: Child,
    rootfs: PathBuf,
}

impl Demo {
    fn start() -> Result<Self> {
        let daemon = Containerd::builder(Version::V1_6)
            .lacre("mode: enforce\nserver: unix:///run/lacre/policyd.sock\n")
            .start()?;
        let folder = daemon.node().folder().to_owned();
        fs::write(folder.join("policy.yaml"), POLICY)?;
        fs::create_dir_all(folder.join("run/lacre"))?;
        let log = fs::File::create(folder.join("policyd.log"))?;
        let policyd = daemon
            .node()
            .command(binaries().join("lacre-policyd"))
            .arg("--policy")
            .arg(folder.join("policy.yaml"))
            .args(["--listen", "unix:///run/lacre/policyd.sock", "--state"])
            .arg(folder.join("policyd"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting lacre-policyd")?;
        let socket = folder.join("run/lacre/policyd.sock");
        wait_for("lacre-policyd listening", SOON, || Ok(socket.exists().then_some(())))
            .with_context(|| fs::read_to_string(folder.join("policyd.log")).unwrap_or_default())?;
        let rootfs = plain_rootfs(&folder, &cached("tools/bin/busybox")?)?;
        daemon.import(&busybox_image()?)?;
        daemon.import(&debian_image()?)?;
        Ok(Self { daemon, policyd, rootfs })
    }

    fn run(&self, case: &Case) -> Result<Row> {
        let script = ["/bin/sh", "-c", case.script];
        match case.image {
            Some(name) => {
                self.daemon.spawn(Runtime::Lacre, &Image::new(name), case.id, &script)?;
            }
            // A refusal to start is one of the ways in which this may end.
            None => drop(self.run_without_image(case.id, &script)?),
        }
        let records = match case.expected {
            Some(_) => wait_for(format!("a record of {}", case.id), SOON, || {
                let records = self.records(case.id)?;
                Ok((!records.is_empty()).then_some(records))
            })?,
            // The script's last program runs: all the others have.
            None => {
                wait_for("the clean run's end", SOON, || Ok(self.sleeps(case.id)?.then_some(())))?;
                self.records(case.id)?
            }
        };
        let state = self.settled_state(case.id, &records)?;
        Ok(Row::new(case, &self.records(case.id)?, state))
    }

    fn run_without_image(&self, id: &str, script: &[&str]) -> Result<Output> {
        let mut command = self.daemon.ctr_command(self.daemon.namespace());
        command
            .args(["run", "--detach", "--runtime", Runtime::Lacre.name(), "--rootfs"])
            .arg(&self.rootfs)
            .arg(id)
            .args(script);
        Output::of(&mut command)
    }

    /// The container's state as containerd tells it, once the action that was decided has
    /// had its effect.
    fn settled_state(&self, id: &str, records: &[Value]) -> Result<String> {
        if let Some(wanted) = state_after(records) {
            self.daemon.await_status(id, Some(wanted))?;
        }
        Ok(self.daemon.status(id)?.unwrap_or_else(|| "no task".to_owned()))
    }

    fn sleeps(&self, id: &str) -> Result<bool> {
        let list = self.daemon.ctr(&["tasks", "ps", id])?.ok()?;
        Ok(list.lines().filter_map(|line| line.split_whitespace().next()?.parse::<i32>().ok()).any(
            |pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c == "sleep\n"),
        ))
    }

    fn records(&self, id: &str) -> Result<Vec<Value>> {
        records(&self.daemon.record_file(), id)
    }

    fn end(mut self) -> Result<()> {
        // It is of the same node, where nothing may be left when the daemon goes.
        let pid = i32::try_from(self.policyd.id())?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM)?;
        self.policyd.wait()?;
        drop(self.daemon);
        Ok(())
    }
}

fn say(text: &str) {
    if stdout().is_terminal() {
        let _ = writeln!(stdout(), "  {text}");
    }
}

fn print_table(rows: &[Row]) -> Result<()> {
    let head = ["container", "violations", "kind", "action", "outcome", "state afterwards"];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        let count = row.violations.to_string();
        [
            row.id.clone(),
            count,
            row.kind.clone(),
            row.action.clone(),
            row.outcome.clone(),
            row.state.clone(),
        ]
    }));
    let widths: Vec<_> = (0..head.len())
        .map(|at| lines.iter().map(|line| line[at].len()).max().unwrap_or(0))
        .collect();
    let mut out = stdout();
    writeln!(out)?;
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    writeln!(out, "\nWhat was measured:")?;
    for row in rows.iter().filter(|row| row.violations > 0) {
        writeln!(out, "  {:10}{}", row.id, row.line)?;
    }
    Ok(())
}
