//! The files that the file names.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use lacre_baseline::Baseline;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};

use super::error::{CertificateError, ExpectError};
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

/// The certificates of a file: one in DER, or all of a PEM, which holds nothing else but text.
///
/// # Errors
/// When it can't be read, has none, or holds anything else.
pub fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, ExpectError> {
    of_bytes(read(path)?).map_err(|error| ExpectError::Certificate(path.to_owned(), error))
}

fn of_bytes(bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, CertificateError> {
    const BEGIN: &[u8] = b"-----BEGIN";
    // Wherever they are in a line: what the library passes over is missed.
    let blocks = bytes.windows(BEGIN.len()).filter(|part| *part == BEGIN).count();
    if blocks == 0 {
        // A certificate is a SEQUENCE (RFC 5280, 4.1; X.690, 8.9.1).
        return match bytes.first() {
            Some(0x30) => Ok(vec![bytes]),
            _ => Err(CertificateError::Neither),
        };
    }
    let all = CertificateDer::pem_slice_iter(&bytes).map(|one| one.map(|der| der.to_vec()));
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| match error {
        pem::Error::MissingSectionEnd { .. } => CertificateError::Cut,
        pem::Error::IllegalSectionStart { .. } => CertificateError::Begin,
        _ => CertificateError::Damaged,
    })?;
    match blocks.checked_sub(all.len()) {
        Some(0) => Ok(all),
        others => Err(CertificateError::Others { others: others.unwrap_or_default(), blocks }),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use std::fs;

    /// A sequence of one number: DER, and enough for who only takes it out.
    const ONE: &[u8] = &[0x30, 3, 2, 1, 1];
    const TWO: &[u8] = &[0x30, 3, 2, 1, 2];

    fn block(label: &str, der: &[u8]) -> String {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn of(bytes: impl AsRef<[u8]>) -> Result<Vec<Vec<u8>>, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("maker");
        fs::write(&file, bytes).unwrap();
        certificates(&file).map_err(|error| lacre_types::chain(&error))
    }

    #[test]
    fn what_operators_have_is_read() {
        let (one, two) = (block("CERTIFICATE", ONE), block("CERTIFICATE", TWO));
        assert_eq!(of(ONE).unwrap(), [ONE], "DER");
        assert_eq!(of(&one).unwrap(), [ONE]);
        let several = format!("{one}{two}");
        assert_eq!(of(&several).unwrap(), [ONE, TWO]);
        assert_eq!(of(several.replace('\n', "\r\n")).unwrap(), [ONE, TWO], "CRLF");
        assert_eq!(of(several.trim_end()).unwrap(), [ONE, TWO], "no line feed at the end");
        let bags =
            format!("Bag Attributes\n    name: a\n{one}subject=CN = b\n\n{two}that was it\n");
        assert_eq!(of(bags).unwrap(), [ONE, TWO], "text around them");
        // `openssl x509 -text` of a name in another character set.
        assert_eq!(of([b"Issuer: O=M\xfcnze\n", one.as_bytes()].concat()).unwrap(), [ONE]);
    }

    #[test]
    fn what_is_no_certificate_is_told_with_what_to_do() {
        let one = block("CERTIFICATE", ONE);
        let cut = one.replace("-----END CERTIFICATE-----\n", "");
        for (file, says) in [
            (cut.clone(), "the file ends within a certificate: copy it again"),
            (one.replace("-----END", "----END"), "the file ends within a certificate"),
            (format!("{cut}{one}"), "-----END CERTIFICATE-----"),
            (one.replace("MAMC", "M*MC"), "not base64: copy it again"),
            (block("PRIVATE KEY", ONE), "1 of its 1 PEM blocks is no certificate"),
            (format!("{one}{}", block("RSA PRIVATE KEY", ONE)), "1 of its 2 PEM blocks"),
            (block("TRUSTED CERTIFICATE", ONE), "openssl x509"),
            (format!("  {one}"), "at the beginning of a line"),
            (one.replace("E-----\n", "E----\n"), "-----BEGIN CERTIFICATE-----"),
            ("makers".to_owned(), "neither PEM, -----BEGIN CERTIFICATE-----, nor DER"),
            (String::new(), "neither PEM"),
        ] {
            let told = of(&file).expect_err(&file);
            assert!(told.contains(says), "{file}: {told}");
        }
    }
}
