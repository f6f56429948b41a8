//! The file that says what is expected of a node, and the files that it names
//! (docs/attestation.md).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use lacre_baseline::Baseline;
use lacre_types::{Algorithm, CanonicalPath, Digest, Whitelist, escape};
use serde::{Deserialize, Serialize};

use crate::container::{Keeper, Secret};
use crate::evidence::MAX_BYTES;
use crate::tpm2::{EkError, EkRoots, Selection};
use crate::verify::{Expectations, ExpectedContainer, HostPolicy, KernelPolicy, Nonce};

/// Why expectations can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ExpectError {
    /// A file can't be read.
    #[error("cannot read {}", escape(.0.as_os_str().as_encoded_bytes()))]
    Read(PathBuf, #[source] io::Error),
    /// The file itself is of another form.
    #[error("{} is not as docs/attestation.md says", escape(.0.as_os_str().as_encoded_bytes()))]
    Form(PathBuf, #[source] serde_yaml::Error),
    /// A baseline can't be used.
    #[error("the baseline {} can't be used; generate it again", escape(.0.as_os_str().as_encoded_bytes()))]
    Baseline(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// A secret is none.
    #[error("{} is not 64 hex digits", escape(.0.as_os_str().as_encoded_bytes()))]
    Secret(PathBuf),
    /// A certificate is none.
    #[error("{} is no certificate", escape(.0.as_os_str().as_encoded_bytes()))]
    Certificate(PathBuf),
    /// The makers' certificates can't be used.
    #[error("in `makers`")]
    Makers(#[source] EkError),
    /// There is no such PCR.
    #[error("there is no PCR {0}")]
    Pcr(u32),
    /// A program's path is none.
    #[error("{0} is no program's path")]
    Program(String),
}

/// Bytes that are written in hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Hex(pub Vec<u8>);

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

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::bytes::to_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What is expected, as it is written. Names of files are relative to its folder.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Written {
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

impl Written {
    /// The first key in it that only who verifies a single quote has to name: who enrols nodes
    /// knows their keys, and makes up the nonces.
    #[must_use]
    pub fn of_one_quote(&self) -> Option<&'static str> {
        let named = [
            ("attestationKey", self.attestation_key.is_some()),
            ("makers", !self.makers.is_empty()),
            ("nonce", self.nonce.is_some()),
        ];
        named.into_iter().find(|(_, is)| *is).map(|(key, _)| key)
    }
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

/// What is expected, and the files that it names.
#[derive(Debug, Default)]
pub struct Expected {
    written: Written,
    programs: Vec<CanonicalPath>,
    roots: Option<EkRoots>,
    host: Option<Baseline>,
    containers: BTreeMap<String, (Secret, Option<Baseline>)>,
}

impl Expected {
    /// Reads a file of expectations, and those that it names.
    ///
    /// # Errors
    /// When one can't be read, or is not what it should be.
    pub fn read(path: &Path) -> Result<Self, ExpectError> {
        let written = serde_yaml::from_slice(&read(path)?)
            .map_err(|error| ExpectError::Form(path.to_owned(), error))?;
        Self::open(written, path.parent().unwrap_or(Path::new(".")))
    }

    /// Reads the files that expectations name, relative to that folder.
    ///
    /// # Errors
    /// When one can't be read, or is not what it should be.
    pub fn open(written: Written, folder: &Path) -> Result<Self, ExpectError> {
        let host = written.host.as_ref().map(|host| baseline(&folder.join(&host.baseline)));
        let mut containers = BTreeMap::new();
        for (id, container) in &written.containers {
            let secret = secret(&folder.join(&container.secret))?;
            let baseline = container.baseline.as_ref().map(|path| baseline(&folder.join(path)));
            containers.insert(id.clone(), (secret, baseline.transpose()?));
        }
        let roots = match written.makers.is_empty() {
            true => None,
            false => Some(makers(&written.makers, folder)?),
        };
        let pcrs = written.pcrs.iter().flatten();
        if let Some(index) = pcrs.into_iter().find(|index| **index >= crate::pcr::COUNT) {
            return Err(ExpectError::Pcr(*index));
        }
        let program = |path: &PathBuf| {
            let bytes = path.as_os_str().as_encoded_bytes();
            CanonicalPath::new(bytes).map_err(|_| ExpectError::Program(escape(bytes)))
        };
        let programs = written.host.iter().flat_map(|host| &host.programs).map(program);
        let programs = programs.collect::<Result<_, _>>()?;
        Ok(Self { programs, roots, host: host.transpose()?, containers, written })
    }

    /// What to verify by. Waives `waive`, too.
    #[must_use]
    pub fn expectations(&self, nonce: Option<&Hex>, waive: &[String]) -> Expectations<'_> {
        let written = &self.written;
        let nonce = nonce.or(written.nonce.as_ref()).map(|nonce| Nonce {
            value: nonce.0.clone().into(),
            issued: None,
            good_for: 0,
        });
        let host = written.host.as_ref().zip(self.host.as_ref()).map(|(host, baseline)| {
            let programs = self.programs.clone();
            HostPolicy { baseline, programs, everything: host.everything }
        });
        let containers = self.containers.iter().filter_map(|(id, (secret, baseline))| {
            let written = written.containers.get(id)?;
            Some(ExpectedContainer {
                id: id.clone(),
                secret: secret.clone(),
                seq: written.seq,
                keeper: written.keeper,
                baseline: baseline.as_ref().map(|baseline| baseline as &dyn Whitelist),
            })
        });
        Expectations {
            nonce,
            ak_name: written.attestation_key.as_ref().map(|name| name.0.clone()),
            ek_roots: self.roots.clone(),
            bank: self.bank(),
            selection: self.selection(0..=10),
            kernel: written.kernel.clone(),
            host,
            containers: containers.collect(),
            judged_by: Some(self.judged_by()),
            waived: written.waive.iter().chain(waive).cloned().collect::<BTreeSet<_>>(),
            ..Expectations::default()
        }
    }

    /// The PCRs that a quote must be over: those, where the file names none.
    #[must_use]
    pub fn selection(&self, otherwise: impl IntoIterator<Item = u32>) -> Selection {
        match &self.written.pcrs {
            Some(pcrs) => Selection::of(self.bank(), pcrs.iter().copied()),
            None => Selection::of(self.bank(), otherwise),
        }
    }

    /// What tells these expectations of lines from others: a digest over all that a line, or
    /// who keeps it, is judged by. What is asked of a quote, or of the kernel as a whole, is
    /// asked anew each time.
    #[must_use]
    pub fn judged_by(&self) -> Digest {
        #[derive(Serialize)]
        struct Judged<'a> {
            // Another version may judge otherwise.
            version: &'a str,
            bank: Algorithm,
            host: Option<(Digest, Vec<String>, bool)>,
            containers: Vec<Container<'a>>,
        }
        #[derive(Serialize)]
        struct Container<'a> {
            id: &'a str,
            seq: Option<u64>,
            keeper: Option<Keeper>,
            baseline: Option<Digest>,
        }
        let host = self.written.host.as_ref().zip(self.host.as_ref());
        let containers = self.written.containers.iter().map(|(id, written)| {
            let baseline = self.containers.get(id).and_then(|(_, baseline)| baseline.as_ref());
            let (seq, keeper) = (written.seq, written.keeper);
            Container { id, seq, keeper, baseline: baseline.map(Baseline::digest) }
        });
        let judged = Judged {
            version: env!("CARGO_PKG_VERSION"),
            bank: self.bank(),
            host: host.map(|(written, baseline)| {
                let programs = self.programs.iter().map(ToString::to_string).collect();
                (baseline.digest(), programs, written.everything)
            }),
            containers: containers.collect(),
        };
        // Of text, numbers and digests: this cannot fail.
        let text = serde_json::to_vec(&judged).unwrap_or_default();
        crate::pcr::hash(Algorithm::Sha256, &[&text])
    }

    /// The PCRs that the file names.
    #[must_use]
    pub fn pcrs(&self) -> Option<&[u32]> {
        self.written.pcrs.as_deref()
    }

    /// The bank of the PCRs.
    #[must_use]
    pub fn bank(&self) -> Algorithm {
        self.written.bank.unwrap_or(Algorithm::Sha256)
    }

    /// The layer that a container's file came from: its diff ID, or its number.
    #[must_use]
    pub fn layer(&self, container: &str, path: &CanonicalPath) -> Option<String> {
        let (_, baseline) = self.containers.get(container)?;
        Some(baseline.as_ref()?.layer_of(path)?.to_string())
    }
}

/// Reads a file that is no larger than evidence may be.
///
/// # Errors
/// When it can't be read.
pub fn read(path: &Path) -> Result<Vec<u8>, ExpectError> {
    let mut bytes = Vec::new();
    // One byte more than is taken, so that what is too large is told as such.
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| ExpectError::Read(path.to_owned(), error))?;
    Ok(bytes)
}

/// The roots of those makers of TPMs, from files relative to that folder.
///
/// # Errors
/// When one can't be read, or is no certificate.
pub fn makers(files: &[PathBuf], folder: &Path) -> Result<EkRoots, ExpectError> {
    let mut makers = Vec::new();
    for file in files {
        makers.extend(certificates(&folder.join(file))?);
    }
    EkRoots::new(makers.iter().map(Vec::as_slice)).map_err(ExpectError::Makers)
}

/// The certificates of a file: one in DER, or all of a PEM.
///
/// # Errors
/// When it can't be read, or has none.
pub fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, ExpectError> {
    let bytes = read(path)?;
    let Some(text) = std::str::from_utf8(&bytes).ok().filter(|t| t.contains("-----BEGIN")) else {
        return Ok(vec![bytes]);
    };
    let blocks = text.split("-----BEGIN").skip(1).map(|block| {
        let lines = block.lines().skip(1);
        let body: String = lines.take_while(|line| !line.starts_with("-----")).collect();
        base64::engine::general_purpose::STANDARD.decode(body).ok()
    });
    let all: Option<Vec<_>> = blocks.collect();
    all.ok_or_else(|| ExpectError::Certificate(path.to_owned()))
}

/// A container's secret, from a file of 64 hex digits.
///
/// # Errors
/// When there is none.
pub fn secret(path: &Path) -> Result<Secret, ExpectError> {
    let text = read(path)?;
    let hex: Option<Hex> =
        std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    let bytes = hex.and_then(|hex| <[u8; 32]>::try_from(hex.0).ok());
    bytes.map(Secret::new).ok_or_else(|| ExpectError::Secret(path.to_owned()))
}

fn baseline(path: &Path) -> Result<Baseline, ExpectError> {
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
        ExpectError::Baseline(path.to_owned(), error)
    };
    let baseline = Baseline::open(path).map_err(|error| broken(error.into()))?;
    baseline.verify().map_err(|error| broken(error.into()))?;
    Ok(baseline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_lines_are_judged_by_tells_expectations_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("expect.yaml");
        fs::write(dir.path().join("secret"), "07".repeat(32)).unwrap();
        let judged_by = |text: &str| {
            fs::write(&file, text).unwrap();
            Expected::read(&file).unwrap().judged_by()
        };
        let one = judged_by("containers: {a: {secret: secret}}\n");
        assert_eq!(judged_by("containers: {a: {secret: secret}}\nwaive: [kernel]\n"), one);
        for other in [
            "waive: [kernel]\n",
            "bank: sha384\ncontainers: {a: {secret: secret}}\n",
            "containers: {b: {secret: secret}}\n",
            "containers: {a: {secret: secret, seq: 1}}\n",
            "containers: {a: {secret: secret, keeper: kernel}}\n",
        ] {
            assert_ne!(judged_by(other), one, "{other}");
        }
        let expected = Expected::read(&file).unwrap();
        assert_eq!(expected.expectations(None, &[]).judged_by, Some(expected.judged_by()));
    }
}
