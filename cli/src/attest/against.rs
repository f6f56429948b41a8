//! The arguments that say what evidence is held against, for each command that verifies.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::Args as ClapArgs;
use lacre_attest::evidence::Evidence;
use lacre_attest::expect::{Expected, Hex, WrittenWaiver, read};
use lacre_attest::tpm2::Selection;
use lacre_attest::verify::{Conclusion, Given, Seen, verify};

use super::show;
use crate::exit::Exit;

/// What evidence is held against.
#[derive(Debug, ClapArgs)]
pub(super) struct Against {
    /// What is expected of the node (docs/attestation.md)
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// A question that may stay unchecked; with a reason, whatever leaves it open (repeatable)
    #[arg(long, value_name = "QUESTION[=REASON]")]
    waive: Vec<WrittenWaiver>,
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

impl Against {
    pub(super) fn files(&self) -> anyhow::Result<Expected> {
        Ok(self.expect.as_deref().map(Expected::read).transpose()?.unwrap_or_default())
    }

    /// Verifies, with the secrets that the node gave besides those that `files` have.
    pub(super) fn hold(
        &self,
        files: &Expected,
        evidence: &Evidence,
        nonce: Option<&Hex>,
        given: Vec<Given>,
    ) -> anyhow::Result<Exit> {
        let mut expect = files.expectations(nonce, &self.waive);
        if self.expect.is_none() {
            // Nobody said who keeps lists.
            expect.selection = Selection::of(files.bank(), 0..=10);
        }
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
