//! The files that the file names.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use lacre_baseline::Baseline;

use super::error::ExpectError;
use super::file_format::Hex;
use crate::container::Secret;
use crate::evidence::MAX_BYTES;
use crate::tpm2::EkRoots;

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

pub(super) fn baseline(path: &Path) -> Result<Baseline, ExpectError> {
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
        ExpectError::Baseline(path.to_owned(), error)
    };
    let baseline = Baseline::open(path).map_err(|error| broken(error.into()))?;
    baseline.verify().map_err(|error| broken(error.into()))?;
    Ok(baseline)
}
