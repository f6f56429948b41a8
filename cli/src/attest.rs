//! `lacre attest`: hold a node's evidence against what is expected of it.

mod now;
mod show;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::{Args as ClapArgs, Subcommand};
use lacre_attest::evidence::Evidence;
use lacre_attest::expect::{Expected, Hex, read};
use lacre_attest::verify::{Conclusion, Given, Seen, verify};

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

/// What evidence is held against.
#[derive(Debug, ClapArgs)]
struct Against {
    /// What is expected of the node (docs/attestation.md)
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// A question that may stay unchecked (repeatable)
    #[arg(long, value_name = "QUESTION")]
    waive: Vec<String>,
    /// What an earlier --keep wrote: only newer lines need be in the evidence, and a
    /// reboot is told from a tampering
    #[arg(long, value_name = "FILE")]
    seen: Option<PathBuf>,
    /// Where to write what was seen, if it is trusted
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
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

impl Against {
    fn files(&self) -> anyhow::Result<Expected> {
        Ok(self.expect.as_deref().map(Expected::read).transpose()?.unwrap_or_default())
    }

    /// Verifies, with the secrets that the node gave besides those that `files` have.
    fn hold(
        &self,
        files: &Expected,
        evidence: &Evidence,
        nonce: Option<&Hex>,
        given: Vec<Given>,
    ) -> anyhow::Result<Exit> {
        let mut expect = files.expectations(nonce, &self.waive);
        expect.add(given);
        let seen: Option<Seen> = match &self.seen {
            Some(path) => {
                let shown = || format!("{} is not what --keep writes", path.display());
                Some(serde_json::from_slice(&read(path)?).with_context(shown)?)
            }
            None => None,
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map(|since| since.as_secs()).unwrap_or_default();
        let verified = verify(evidence, &expect, seen.as_ref(), now);
        let conclusion = verified.verdict.conclusion();
        if self.json {
            show::json(evidence, &verified)?;
        } else {
            show::people(evidence, &verified)?;
        }
        if let (Some(path), Some(seen), Conclusion::Trusted) =
            (&self.keep, &verified.seen, conclusion)
        {
            let text = serde_json::to_vec(seen)?;
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(match conclusion {
            Conclusion::Trusted => Exit::Good,
            Conclusion::Untrusted => Exit::Differs,
            Conclusion::Unproven => Exit::Failed,
        })
    }
}
