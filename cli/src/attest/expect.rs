//! The file that says what is expected of a node, and the files that it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use lacre_attest::container::{Keeper, Secret};
use lacre_attest::tpm2::{EkRoots, Selection};
use lacre_attest::verify::{Expectations, ExpectedContainer, HostPolicy, KernelPolicy, Nonce};
use lacre_baseline::Baseline;
use lacre_types::{Algorithm, CanonicalPath, Whitelist};
use serde::Deserialize;

/// Bytes that are written in hex.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Hex(Vec<u8>);

impl FromStr for Hex {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let (pairs, odd) = text.as_bytes().as_chunks::<2>();
        let bytes = pairs.iter().map(|[a, b]| Some(digit(*a)? << 4 | digit(*b)?));
        match bytes.collect() {
            Some(bytes) if odd.is_empty() => Ok(Self(bytes)),
            _ => Err("expected an even number of hex digits"),
        }
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The file as it is written. Names of files are relative to its folder.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Written {
    attestation_key: Option<Hex>,
    makers: Vec<PathBuf>,
    nonce: Option<Hex>,
    pcrs: Option<Vec<u32>>,
    bank: Option<Algorithm>,
    kernel: Option<KernelPolicy>,
    host: Option<WrittenHost>,
    containers: BTreeMap<String, WrittenContainer>,
    waive: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenHost {
    baseline: PathBuf,
    #[serde(default)]
    programs: Vec<PathBuf>,
    #[serde(default)]
    everything: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenContainer {
    /// A file of 64 hex digits.
    secret: PathBuf,
    seq: Option<u64>,
    keeper: Option<Keeper>,
    baseline: Option<PathBuf>,
}

/// The file, and what it names.
#[derive(Debug, Default)]
pub(crate) struct Files {
    written: Written,
    roots: Option<EkRoots>,
    host: Option<Baseline>,
    containers: BTreeMap<String, (Secret, Option<Baseline>)>,
}

impl Files {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = super::read(path)?;
        let written: Written = serde_yaml::from_slice(&text)
            .with_context(|| format!("{} is not as docs/attestation.md says", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let baseline = |path: &PathBuf| super::super::baseline::open(&folder.join(path));
        let host = written.host.as_ref().map(|host| baseline(&host.baseline)).transpose()?;
        let mut containers = BTreeMap::new();
        for (id, container) in &written.containers {
            let secret = secret(&folder.join(&container.secret))?;
            let baseline = container.baseline.as_ref().map(baseline).transpose()?;
            containers.insert(id.clone(), (secret, baseline));
        }
        let mut makers = Vec::new();
        for maker in &written.makers {
            makers.push(certificate(&folder.join(maker))?);
        }
        let roots = EkRoots::new(makers.iter().map(Vec::as_slice)).context("in `makers`")?;
        let roots = (!makers.is_empty()).then_some(roots);
        Ok(Self { written, roots, host, containers })
    }

    pub(crate) fn expectations(
        &self,
        nonce: Option<&Hex>,
        waive: &[String],
    ) -> anyhow::Result<Expectations<'_>> {
        let written = &self.written;
        let bank = written.bank.unwrap_or(Algorithm::Sha256);
        let nonce = nonce.or(written.nonce.as_ref()).map(|nonce| Nonce {
            value: nonce.0.clone().into(),
            issued: None,
            good_for: 0,
        });
        let pcrs = written.pcrs.clone().unwrap_or_else(|| (0..=10).collect());
        if let Some(index) = pcrs.iter().find(|index| **index >= lacre_attest::pcr::COUNT) {
            bail!("there is no PCR {index}");
        }
        let host = match (&written.host, &self.host) {
            (Some(host), Some(baseline)) => {
                let path = |path: &PathBuf| {
                    CanonicalPath::new(path.as_os_str().as_encoded_bytes())
                        .with_context(|| format!("{} is no program's path", path.display()))
                };
                let programs = host.programs.iter().map(path).collect::<anyhow::Result<_>>()?;
                Some(HostPolicy { baseline, programs, everything: host.everything })
            }
            _ => None,
        };
        let containers = self.containers.iter().map(|(id, (secret, baseline))| {
            let written = &written.containers[id];
            ExpectedContainer {
                id: id.clone(),
                secret: secret.clone(),
                seq: written.seq,
                keeper: written.keeper,
                baseline: baseline.as_ref().map(|baseline| baseline as &dyn Whitelist),
            }
        });
        Ok(Expectations {
            nonce,
            ak_name: written.attestation_key.as_ref().map(|name| name.0.clone()),
            ek_roots: self.roots.clone(),
            bank,
            selection: Selection::of(bank, pcrs),
            kernel: written.kernel.clone(),
            host,
            containers: containers.collect(),
            waived: written.waive.iter().chain(waive).cloned().collect(),
            ..Expectations::default()
        })
    }

    /// The layer that a container's file came from: its diff ID, or its number.
    pub(crate) fn layer(&self, container: &str, path: &CanonicalPath) -> Option<String> {
        let (_, baseline) = self.containers.get(container)?;
        Some(baseline.as_ref()?.layer_of(path)?.to_string())
    }
}

fn secret(path: &Path) -> anyhow::Result<Secret> {
    let text = super::read(path)?;
    let hex: Option<Hex> =
        std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    let bytes = hex.and_then(|hex| <[u8; 32]>::try_from(hex.0).ok());
    let bytes = bytes.with_context(|| format!("{} is not 64 hex digits", path.display()))?;
    Ok(Secret::new(bytes))
}

/// A certificate, DER or PEM.
fn certificate(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = super::read(path)?;
    let Some(text) = std::str::from_utf8(&bytes).ok().filter(|t| t.contains("-----BEGIN")) else {
        return Ok(bytes);
    };
    let begin = text.lines().skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    let body: String = begin.take_while(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD
        .decode(body)
        .with_context(|| format!("{} is no certificate", path.display()))
}
