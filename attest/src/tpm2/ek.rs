//! The certificate of an endorsement key: who made the TPM (TCG EK Credential Profile).

use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::ring as algorithms;

use super::certificate::Certificate;
use super::der::{Der, extent, tag};
use super::keys::Public;

const SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// The most certificates that are looked at: makers have three or four, and a node brings
/// whatever it likes.
const CERTIFICATES: usize = 16;

/// The most signatures that are checked for one chain: names may be the same.
const CHECKS: usize = 64;

/// The makers of TPMs that are trusted: their root certificates.
#[derive(Debug, Clone, Default)]
pub struct EkRoots(Vec<Root>);

#[derive(Debug, Clone)]
struct Root {
    subject: Vec<u8>,
    key: Vec<u8>,
}

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
    Chain(#[from] ChainError),
    /// It is another key's.
    #[error("the endorsement certificate is of another key")]
    OtherKey,
}

/// What is wrong on the way to a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// It is no X.509.
    #[error("it can't be read as X.509, DER")]
    Malformed,
    /// It is for something else.
    #[error("it is not for an endorsement key")]
    Usage,
    /// It must not be passed over, and is not understood.
    #[error("a critical extension is not known here")]
    Critical,
    /// One is too old or too young.
    #[error("one of them is not valid at this time")]
    Time,
    /// Nobody has that name.
    #[error("the issuer is not there: bring the certificates between (`--ek-chain`)")]
    Issuer,
    /// Whoever has it may not sign others.
    #[error("the issuer may not sign it")]
    Authority,
    /// By an algorithm that is too weak, or not known.
    #[error("it is signed by an algorithm that is not taken")]
    Algorithm,
    /// The signature is another's.
    #[error("the issuer's signature is wrong")]
    Signature,
    /// There are too many.
    #[error("there are too many certificates of the same names")]
    Long,
}

impl EkRoots {
    /// Trusts the makers with these root certificates (DER).
    ///
    /// # Errors
    /// When one can't be read.
    pub fn new<'a>(roots: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, EkError> {
        let root = |(at, root): (usize, &[u8])| {
            let read = Certificate::parse(without_padding(root)).map_err(|_| EkError::Root(at))?;
            Ok(Root { subject: read.subject.to_vec(), key: read.key.to_vec() })
        };
        roots.into_iter().enumerate().map(root).collect::<Result<_, _>>().map(Self)
    }
}

/// A certificate without what stands behind it: makers reserve an NV index that is larger, and
/// leave ones or zeroes there. Anything else is no padding, and left for the parser to refuse.
#[must_use]
pub fn without_padding(der: &[u8]) -> &[u8] {
    let cut = split(der);
    match *cut {
        [one] => one,
        _ => der,
    }
}

/// The certificates that stand behind each other, as an index of a chain holds them (TCG EK
/// Credential Profile, 2.2.1.5), without padding; all of it as one where it is something else.
fn split(der: &[u8]) -> Vec<&[u8]> {
    let (mut all, mut rest) = (Vec::new(), der);
    while rest.first() == Some(&tag::SEQUENCE) {
        let Some((one, behind)) = extent(rest).and_then(|at| rest.split_at_checked(at.end)) else {
            return vec![der];
        };
        all.push(one);
        rest = behind;
    }
    match rest.iter().all(|byte| matches!(byte, 0 | 0xff)) {
        true => all,
        false => vec![der],
    }
}

/// Checks that `ek` is the key of the first certificate of the chain (DER), and that the
/// chain, in whatever order, leads to a root. `now` is in seconds since 1970.
///
/// # Errors
/// When it does not.
pub fn verify_ek(ek: &Public, chain: &[&[u8]], roots: &EkRoots, now: u64) -> Result<(), EkError> {
    let all: Vec<&[u8]> = chain.iter().flat_map(|der| split(der)).collect();
    let (first, others) = all.split_first().ok_or(EkError::Missing)?;
    let certificate = Certificate::parse(first).map_err(|_| ChainError::Malformed)?;
    if !ek.is_in_spki(certificate.key) {
        return Err(EkError::OtherKey);
    }
    if !certificate.may_be_ek() {
        return Err(ChainError::Usage.into());
    }
    // One that can't be read is not needed, or else its issuer is not there.
    let others = others.iter().take(CERTIFICATES).filter_map(|der| Certificate::parse(der).ok());
    let others: Vec<Certificate<'_>> = others.collect();
    let mut chain = Chain { others: &others, roots, now, checks: 0 };
    Ok(chain.lead(&certificate, &mut Vec::new())?)
}

/// The way from a certificate to a root.
struct Chain<'a> {
    others: &'a [Certificate<'a>],
    roots: &'a EkRoots,
    now: u64,
    checks: usize,
}

impl Chain<'_> {
    /// `below`: those that were passed on the way.
    fn lead(&mut self, from: &Certificate<'_>, below: &mut Vec<usize>) -> Result<(), ChainError> {
        if from.has_unknown() {
            return Err(ChainError::Critical);
        }
        if !(from.valid.0..=from.valid.1).contains(&self.now) {
            return Err(ChainError::Time);
        }
        let mut why = ChainError::Issuer;
        for root in &self.roots.0 {
            if root.subject == from.issuer {
                match self.signed(from, &root.key) {
                    Ok(()) => return Ok(()),
                    Err(error) => why = error,
                }
            }
        }
        for (at, other) in self.others.iter().enumerate() {
            if other.subject != from.issuer || below.contains(&at) {
                continue;
            }
            // Its own signature first: who only has the name says nothing.
            let next = match self.signed(from, other.key) {
                Ok(()) if !other.may_sign(below.len()) => Err(ChainError::Authority),
                Ok(()) => {
                    below.push(at);
                    let led = self.lead(other, below);
                    below.pop();
                    led
                }
                Err(error) => Err(error),
            };
            match next {
                Ok(()) => return Ok(()),
                // What is known best is what went furthest.
                Err(ChainError::Signature) if why != ChainError::Issuer => {}
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Whether the key (`SubjectPublicKeyInfo`) signed that.
    fn signed(&mut self, from: &Certificate<'_>, key: &[u8]) -> Result<(), ChainError> {
        self.checks += 1;
        if self.checks > CHECKS {
            return Err(ChainError::Long);
        }
        let mut key = Der::new(key);
        let (algorithm, key) = key
            .take(tag::SEQUENCE)
            .and_then(|algorithm| Ok((algorithm, key.bits()?)))
            .map_err(|_| ChainError::Malformed)?;
        let mut known = SIGNATURES.iter().filter(|known| {
            known.signature_alg_id().as_ref() == from.algorithm
                && known.public_key_alg_id().as_ref() == algorithm
        });
        let known = known.next().ok_or(ChainError::Algorithm)?;
        known.verify_signature(key, from.signed, from.signature).map_err(|_| ChainError::Signature)
    }
}

#[cfg(test)]
mod tests;
