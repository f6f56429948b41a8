//! What `lacre` does: one module for each of its commands.

mod attest;
mod baseline;
mod config;
mod doctor;
mod events;
mod exit;
#[doc(hidden)]
pub mod fuzz;
mod log;
mod node;
mod output;
mod policy;
mod progress;
mod ps;
mod records;
mod release;
mod show;
mod status;
mod terminal;
mod view;
mod when;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Exit;

/// Keeps containers honest: what came with the image runs, nothing else unnoticed
#[derive(Debug, Parser)]
#[command(name = "lacre", version, max_term_width = 100, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Attest(attest::Args),
    Baseline(baseline::Args),
    Config(config::Args),
    Doctor(doctor::Args),
    Events(events::Args),
    Log(log::Args),
    Node(node::Args),
    /// Check and explain policy files
    Policy(policy::PolicyArgs),
    Ps(ps::Args),
    Release(release::Args),
    Show(show::Args),
    Status(status::Args),
}

/// Does what the command line of this process says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Good }.into();
        }
    };
    let done = match cli.command {
        Command::Attest(args) => attest::run(args),
        Command::Baseline(args) => baseline::run(args),
        Command::Config(args) => config::run(&args),
        Command::Doctor(args) => doctor::run(args),
        Command::Events(args) => events::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Node(args) => node::run(args),
        Command::Policy(args) => policy::run(&args),
        Command::Ps(args) => ps::run(&args),
        Command::Release(args) => release::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Status(args) => status::run(&args),
    };
    done.unwrap_or_else(|error| exit::tell(&error)).into()
}
