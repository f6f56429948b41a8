//! `lacre attest`: hold a node's evidence against what is expected of it.

pub(crate) mod expect;
mod show;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use clap::{Args as ClapArgs, Subcommand};
use lacre_attest::evidence::{Evidence, MAX_BYTES};
use lacre_attest::verify::{Conclusion, Seen, verify};

use crate::exit::Exit;

/// Verify what a node shows of itself
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
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
    /// What is expected of the node (docs/attestation.md)
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// The nonce that the node was asked with
    #[arg(long, value_name = "HEX")]
    nonce: Option<expect::Hex>,
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
        Command::Verify(args) => verify_file(&args),
    }
}

/// Reads a file that is no larger than evidence may be.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown =
        || format!("cannot read {}", lacre_types::escape(path.as_os_str().as_encoded_bytes()));
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(shown)?;
    // One byte more than is taken, so that what is too large is told as such.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).with_context(shown)?;
    Ok(bytes)
}

pub(crate) fn evidence(path: &Path) -> anyhow::Result<Evidence> {
    let shown = || lacre_types::escape(path.as_os_str().as_encoded_bytes());
    Evidence::parse(&read(path)?).with_context(|| format!("cannot use {}", shown()))
}

fn verify_file(args: &Verify) -> anyhow::Result<Exit> {
    let evidence = evidence(&args.evidence)?;
    let files = match &args.expect {
        Some(path) => expect::Files::read(path)?,
        None => expect::Files::default(),
    };
    let expect = files.expectations(args.nonce.as_ref(), &args.waive)?;
    let seen: Option<Seen> = match &args.seen {
        Some(path) => {
            let shown = || format!("{} is not what --keep writes", path.display());
            Some(serde_json::from_slice(&read(path)?).with_context(shown)?)
        }
        None => None,
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map(|since| since.as_secs()).unwrap_or_default();
    let verified = verify(&evidence, &expect, seen.as_ref(), now);
    let conclusion = verified.verdict.conclusion();
    if args.json {
        show::json(&evidence, &verified)?;
    } else {
        show::people(&evidence, &verified)?;
    }
    if let (Some(path), Some(seen), Conclusion::Trusted) = (&args.keep, &verified.seen, conclusion)
    {
        let text = serde_json::to_vec(seen)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(match conclusion {
        Conclusion::Trusted => Exit::Good,
        Conclusion::Untrusted => Exit::Differs,
        Conclusion::Unproven => Exit::Failed,
    })
}
