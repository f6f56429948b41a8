//! Signatures of a TPM, by RSA and on elliptic curves.

use lacre_types::Algorithm;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};

use super::algorithm::{self, hash_of};
use super::key::Key;
use super::keys::Public;
use super::reader::{Malformed, Reader};

/// Why a signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The bytes are no `TPMT_SIGNATURE`.
    #[error("the signature is no TPMT_SIGNATURE")]
    Malformed(#[source] Malformed),
    /// It is of another scheme or hash than the key's.
    #[error("the signature is of another scheme than its key")]
    Scheme,
    /// The key's curve, size or scheme is not one that lacre verifies.
    #[error("keys of this kind are not verified; use ECC P-256, P-384 or RSA of 2048 bits on")]
    Unsupported,
    /// The key did not sign these bytes.
    #[error("the key did not sign these bytes")]
    Bad,
}

impl From<Malformed> for SignatureError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Checks a `TPMT_SIGNATURE` over a message, and answers the hash that was signed.
///
/// # Errors
/// When it does not hold.
pub fn verify(key: &Public, message: &[u8], signature: &[u8]) -> Result<Algorithm, SignatureError> {
    let mut reader = Reader::new(signature);
    let scheme = reader.u16("scheme")?;
    let id = reader.u16("hash")?;
    let hash = hash_of(id).ok_or(Malformed::Value { what: "hash", value: id.into() })?;
    if key.scheme.is_some_and(|expected| expected != (scheme, hash)) {
        return Err(SignatureError::Scheme);
    }
    match &key.key {
        Key::Rsa { modulus, exponent } => {
            let bytes = reader.sized("signature")?;
            reader.end()?;
            let algorithm = match (scheme, hash) {
                (algorithm::RSASSA, Algorithm::Sha256) => &RSA_PKCS1_2048_8192_SHA256,
                (algorithm::RSASSA, Algorithm::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
                (algorithm::RSASSA, Algorithm::Sha512) => &RSA_PKCS1_2048_8192_SHA512,
                (algorithm::RSAPSS, Algorithm::Sha256) => &RSA_PSS_2048_8192_SHA256,
                (algorithm::RSAPSS, Algorithm::Sha384) => &RSA_PSS_2048_8192_SHA384,
                (algorithm::RSAPSS, Algorithm::Sha512) => &RSA_PSS_2048_8192_SHA512,
                _ => return Err(SignatureError::Unsupported),
            };
            let exponent = exponent.to_be_bytes();
            let zeroes = exponent.iter().take_while(|byte| **byte == 0).count();
            RsaPublicKeyComponents { n: modulus.as_slice(), e: &exponent[zeroes..] }
                .verify(algorithm, message, bytes)
                .map_err(|_| SignatureError::Bad)?;
        }
        Key::Ecc { curve, x, y } => {
            if scheme != algorithm::ECDSA {
                return Err(SignatureError::Scheme);
            }
            let (algorithm, len): (&dyn VerificationAlgorithm, usize) = match (*curve, hash) {
                (algorithm::NIST_P256, Algorithm::Sha256) => (&ECDSA_P256_SHA256_FIXED, 32),
                (algorithm::NIST_P384, Algorithm::Sha384) => (&ECDSA_P384_SHA384_FIXED, 48),
                _ => return Err(SignatureError::Unsupported),
            };
            let (r, s) = (reader.sized("r")?, reader.sized("s")?);
            reader.end()?;
            let mut point = vec![4];
            let mut bytes = Vec::with_capacity(2 * len);
            for number in [x, y] {
                pad(number, len, &mut point)?;
            }
            for number in [r, s] {
                pad(number, len, &mut bytes)?;
            }
            UnparsedPublicKey::new(algorithm, point)
                .verify(message, &bytes)
                .map_err(|_| SignatureError::Bad)?;
        }
    }
    Ok(hash)
}

/// A number at its full length: TPMs may leave out leading zeroes.
fn pad(number: &[u8], len: usize, into: &mut Vec<u8>) -> Result<(), SignatureError> {
    let missing = len.checked_sub(number.len()).ok_or(SignatureError::Bad)?;
    into.resize(into.len() + missing, 0);
    into.extend_from_slice(number);
    Ok(())
}
