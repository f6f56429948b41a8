//! `lacre attest`: a quote of this node, now, and its verification here.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use clap::Args as ClapArgs;
use lacre_attest::evidence::Evidence;
use lacre_attest::expect::{Expected, Hex};
use lacre_attest::verify::Given;

use super::against::Against;
use crate::exit::Exit;

/// The program that talks to the TPM, so that this one needs no libtss2.
const AGENT: &str = "lacre-attestd";

#[derive(Debug, ClapArgs)]
pub(super) struct Now {
    #[command(flatten)]
    against: Against,
    /// Keep the evidence in this file, too
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// The program that talks to the TPM; where that is, its environment says
    /// (`lacre-attestd --help`)
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

pub(super) fn run(args: &Now) -> anyhow::Result<Exit> {
    let mut nonce = [0; 32];
    let filled = rustix::rand::getrandom(&mut nonce[..], rustix::rand::GetRandomFlags::empty());
    if filled.context("the kernel gives no random bytes")? != nonce.len() {
        bail!("the kernel gives too few random bytes");
    }
    let nonce = Hex(nonce.to_vec());
    let files = args.against.files()?;
    let agent = args.agent.clone().unwrap_or_else(beside);
    let quoted = Command::new(&agent)
        .args(["quote", "--with-secrets", "--nonce", &nonce.to_string()])
        .args(selection(&files))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}; is it installed?", agent.display()))?;
    if !quoted.status.success() {
        bail!("{} gave no evidence", agent.display());
    }
    let unusable = || format!("cannot use what {} gave", agent.display());
    // Two lines: the evidence, and the secrets, which are kept nowhere.
    let mut lines = quoted.stdout.splitn(2, |byte| *byte == b'\n');
    let text = lines.next().unwrap_or_default();
    let evidence = Evidence::parse(text).with_context(unusable)?;
    let given: Vec<Given> =
        serde_json::from_slice(lines.next().unwrap_or_default()).with_context(unusable)?;
    if let Some(path) = &args.save {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    args.against.hold(&files, &evidence, Some(&nonce), given)
}

/// What the quote must be over.
fn selection(files: &Expected) -> Vec<String> {
    let selection = files.selection();
    let pcrs = selection.0.iter().flat_map(|(_, pcrs)| pcrs).map(ToString::to_string);
    let pcrs = pcrs.collect::<Vec<_>>().join(",");
    vec!["--bank".to_owned(), files.bank().to_string(), "--pcrs".to_owned(), pcrs]
}

/// Where this program is, else on `PATH`.
fn beside() -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|own| Some(own.parent()?.join(AGENT)));
    beside.filter(|path| path.exists()).unwrap_or_else(|| AGENT.into())
}
