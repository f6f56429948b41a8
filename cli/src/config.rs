//! `lacre config`: check the shim's configuration file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args as ClapArgs, Subcommand};
use lacre_doctor::probes::{Absent, absent};
use lacre_policy::yaml;
use lacre_shim::config::Config;
use serde_json::json;

use crate::exit::Exit;

/// How long the policy server may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Check configuration files
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell everything that is wrong with a file, and what it names that can't be had here
    Check(Check),
}

#[derive(Debug, ClapArgs)]
struct Check {
    /// The configuration files; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Look at nothing but the files: not at what they name
    #[arg(long)]
    alone: bool,
    /// Print JSON, a line for each file
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let Command::Check(args) = &args.command;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let checked = check(args, &mut out, &mut err);
    // Whoever closed our standard error does not want it.
    let _ = io::stderr().write_all(&err);
    let written = io::stdout().write_all(&out);
    // Whoever asks by the exit status alone may have closed our standard output.
    match checked {
        Ok(Exit::Good) => written.map(|()| Exit::Good).map_err(Into::into),
        told => told,
    }
}

fn check(args: &Check, out: &mut Vec<u8>, err: &mut Vec<u8>) -> anyhow::Result<Exit> {
    let mut exit = Exit::Good;
    for file in &args.files {
        let name = file.to_string_lossy();
        let name = if name == "-" { "<stdin>".into() } else { name };
        let text = read(file)?;
        let checked = Config::check(&name, &text, |named, config| {
            if args.alone {
                return None;
            }
            absent(named, config, LIMIT).map(|Absent { what, help }| (what, help))
        });
        match checked {
            Ok((config, warnings)) if args.json => {
                let told = json!({
                    "file": name, "ok": true, "mode": config.mode, "diagnostics": warnings,
                });
                writeln!(out, "{told}")?;
            }
            Ok((config, warnings)) => {
                for warning in &warnings {
                    writeln!(err, "{warning}")?;
                }
                let shown = lacre_types::escape(name.as_bytes());
                write!(out, "{shown}: good, mode {}", config.mode)?;
                match warnings.len() {
                    0 => writeln!(out)?,
                    1 => writeln!(out, ", 1 warning")?,
                    count => writeln!(out, ", {count} warnings")?,
                }
            }
            Err(errors) => {
                exit = Exit::Differs;
                if args.json {
                    let told = json!({
                        "file": name, "ok": false, "diagnostics": errors.diagnostics,
                        "more": errors.more,
                    });
                    writeln!(out, "{told}")?;
                } else {
                    write!(err, "{errors}")?;
                }
            }
        }
    }
    Ok(exit)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    let open: io::Result<Box<dyn Read>> = match file.as_os_str() == "-" {
        true => Ok(Box::new(io::stdin().lock())),
        false => File::open(file).map(|file| Box::new(file) as _),
    };
    // One byte more than is taken, so that what is too large is told as such.
    open.and_then(|open| open.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut text))
        .with_context(|| {
            let file = lacre_types::escape(file.as_os_str().as_encoded_bytes());
            format!("cannot read the configuration {file}")
        })?;
    Ok(text)
}
