//! `lacre attest`: hold a node's evidence against what is expected of it.

mod against;
mod now;
mod show;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args as ClapArgs, Subcommand};
use lacre_attest::evidence::Evidence;
use lacre_attest::expect::{Hex, read};

use against::Against;

use crate::exit::Exit;

/// Quote this node now and verify it, or verify what another shows
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    now: now::Now,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(Box<Verify>),
}

/// Verify an evidence file, with neither a node nor a TPM; exit status 0 trusted, 1 something
/// is wrong, 2 nothing is wrong but not all was checked
#[derive(Debug, ClapArgs)]
struct Verify {
    /// The evidence
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// The nonce that the node was asked with
    #[arg(long, value_name = "HEX")]
    nonce: Option<Hex>,
    #[command(flatten)]
    against: Against,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    match args.command {
        None => now::run(&args.now),
        Some(Command::Verify(args)) => {
            let files = args.against.files()?;
            if let Some(id) = files.without_secret() {
                bail!(
                    "the container {} has no `secret`: a file of evidence brings none, so name it",
                    lacre_types::escape(id.as_bytes())
                );
            }
            args.against.hold(&files, &evidence(&args.evidence)?, args.nonce.as_ref(), Vec::new())
        }
    }
}

pub(crate) fn evidence(path: &Path) -> anyhow::Result<Evidence> {
    let shown = || lacre_types::escape(path.as_os_str().as_encoded_bytes());
    Evidence::parse(&read(path)?).with_context(|| format!("cannot use {}", shown()))
}
