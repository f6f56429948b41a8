//! The certificate of an endorsement key: who made the TPM (TCG EK Credential Profile).

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring as algorithms};

use super::keys::Public;

/// `tcg-kp-EKCertificate`, 2.23.133.8.1, as its DER content.
const EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

const SIGNATURES: &[&dyn rustls_pki_types::SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
];

/// The makers of TPMs that are trusted: their root certificates.
#[derive(Debug, Clone, Default)]
pub struct EkRoots(Vec<TrustAnchor<'static>>);

/// Why an EK is not known to be of a real TPM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EkError {
    /// A root is no certificate.
    #[error("root certificate {0} can't be read; it should be X.509, DER")]
    Root(usize),
    /// There is no certificate.
    #[error("the evidence brings no endorsement certificate")]
    Missing,
    /// The certificate can't be read, or leads to no root.
    #[error("the endorsement certificate leads to no trusted root: {0}")]
    Chain(String),
    /// It is another key's.
    #[error("the endorsement certificate is of another key")]
    OtherKey,
}

impl EkRoots {
    /// Trusts the makers with these root certificates (DER).
    ///
    /// # Errors
    /// When one can't be read.
    pub fn new<'a>(roots: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, EkError> {
        let anchor = |(at, root): (usize, &[u8])| {
            let certificate = CertificateDer::from(root);
            let anchor = anchor_from_trusted_cert(&certificate).map_err(|_| EkError::Root(at))?;
            Ok(anchor.to_owned())
        };
        roots.into_iter().enumerate().map(anchor).collect::<Result<_, _>>().map(Self)
    }
}

/// A certificate without what stands behind it: makers reserve an NV index that is larger, and
/// leave ones or zeroes there. Anything else is no padding, and left for the parser to refuse.
#[must_use]
pub fn without_padding(der: &[u8]) -> &[u8] {
    // A SEQUENCE whose length has two bytes (X.690, 8.1.3.5), as each certificate's has.
    let [0x30, 0x82, high, low, ..] = *der else { return der };
    let end = 4 + usize::from(u16::from_be_bytes([high, low]));
    match der.split_at_checked(end) {
        Some((certificate, padding)) if padding.iter().all(|byte| matches!(byte, 0 | 0xff)) => {
            certificate
        }
        _ => der,
    }
}

/// Checks that `ek` is the key of the first certificate of the chain (DER), and that the
/// chain leads to a root. `now` is in seconds since 1970.
///
/// # Errors
/// When it does not.
pub fn verify_ek(ek: &Public, chain: &[&[u8]], roots: &EkRoots, now: u64) -> Result<(), EkError> {
    let (first, others) = chain.split_first().ok_or(EkError::Missing)?;
    let certificate = CertificateDer::from(without_padding(first));
    let broken = |error: webpki::Error| EkError::Chain(format!("{error:?}"));
    let certificate = EndEntityCert::try_from(&certificate).map_err(broken)?;
    if !ek.is_in_spki(&certificate.subject_public_key_info()) {
        return Err(EkError::OtherKey);
    }
    let others: Vec<_> = others.iter().map(|der| CertificateDer::from(*der)).collect();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let usage = KeyUsage::required_if_present(EK_CERTIFICATE);
    certificate
        .verify_for_usage(SIGNATURES, &roots.0, &others, now, usage, None, None)
        .map(drop)
        .map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_a_certificate_in_its_index_is_cut_off() {
        let certificate = [&[0x30, 0x82, 1, 0][..], &[7; 256]].concat();
        for padding in [&[][..], &[0xff; 9], &[0; 300], &[0, 0xff]] {
            let read = [&certificate, padding].concat();
            assert_eq!(without_padding(&read), certificate);
        }
        let other = [&certificate[..], &[0xff, 1]].concat();
        assert_eq!(without_padding(&other), other, "that is no padding");
        assert_eq!(without_padding(&certificate[..200]), &certificate[..200]);
        assert_eq!(without_padding(&[]), &[] as &[u8]);
    }
}
