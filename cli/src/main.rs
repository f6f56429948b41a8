//! The one command a person types

mod policy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "lacre", version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check and explain policy files
    Policy(policy::PolicyArgs),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Policy(args) => policy::run(&args),
    }
}
