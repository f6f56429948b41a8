//! Credentials: a secret that only a TPM which holds both the EK and the named key can
//! open (Part 1, 24). Made here in software, so that the verifier needs no TPM.

use aes::{Aes128, Aes256};
use cfb_mode::Encryptor;
use cfb_mode::cipher::KeyIvInit;
use lacre_types::Algorithm;
use ring::agreement::{
    ECDH_P256, ECDH_P384, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral,
};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::key::Key;
use super::keys::Public;
use super::{algorithm, oaep};
use crate::bytes::Blob;
use crate::pcr;

/// What goes to the TPM's `ActivateCredential`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// `TPM2B_ID_OBJECT`, without its length: the secret, encrypted and bound to the name.
    pub id_object: Blob,
    /// `TPM2B_ENCRYPTED_SECRET`, without its length: the seed, encrypted to the EK.
    pub encrypted_secret: Blob,
}

/// Why no credential could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// It is not a storage key with AES in CFB mode.
    #[error("the endorsement key is no restricted decryption key with AES")]
    NotAnEk,
    /// Its kind is not one that lacre encrypts to.
    #[error("the endorsement key is neither ECC P-256, P-384 nor RSA of 2048, 3072 or 4096 bits")]
    Unsupported,
    /// The secret is longer than the EK's hash.
    #[error("the secret is longer than a credential may be")]
    TooLong,
    /// The system has no randomness.
    #[error("the system gives no random numbers")]
    Random,
}

/// Makes the credential that proves a TPM to hold `ek` and the key of that name.
///
/// # Errors
/// When the key is not one to encrypt to.
pub fn make_credential(
    ek: &Public,
    ak_name: &[u8],
    secret: &[u8],
) -> Result<Credential, CredentialError> {
    let hash = ek.name_algorithm();
    let bits = ek.aes_bits.filter(|_| ek.is_storage()).ok_or(CredentialError::NotAnEk)?;
    if secret.len() > hash.len() {
        return Err(CredentialError::TooLong);
    }
    let (seed, encrypted_secret) = seed(ek, hash)?;
    let key = kdf_a(hash, &seed, b"STORAGE", ak_name, bits.into())?;
    let len = u16::try_from(secret.len()).map_err(|_| CredentialError::TooLong)?;
    let mut identity = [&len.to_be_bytes(), secret].concat();
    let wrong = |_| CredentialError::Unsupported;
    // A key for this message alone, so that the initial vector may be zero.
    match bits {
        128 => Encryptor::<Aes128>::new_from_slices(&key, &[0; 16])
            .map_err(wrong)?
            .encrypt(&mut identity),
        256 => Encryptor::<Aes256>::new_from_slices(&key, &[0; 16])
            .map_err(wrong)?
            .encrypt(&mut identity),
        _ => return Err(CredentialError::Unsupported),
    }
    let key = kdf_a(hash, &seed, b"INTEGRITY", &[], hash.len() * 8)?;
    let integrity = mac(hash, &key, &[&identity, ak_name])?;
    let len = u16::try_from(integrity.len()).map_err(|_| CredentialError::Unsupported)?;
    let id_object = [&len.to_be_bytes(), integrity.as_slice(), &identity].concat();
    Ok(Credential { id_object: id_object.into(), encrypted_secret: encrypted_secret.into() })
}

/// A seed, and the same encrypted to the EK (Part 1, B.10 and C.6.1).
fn seed(ek: &Public, hash: Algorithm) -> Result<(Vec<u8>, Vec<u8>), CredentialError> {
    let random = SystemRandom::new();
    match &ek.key {
        Key::Rsa { modulus, exponent } => {
            let mut seed = vec![0; hash.len()];
            let mut mask = vec![0; hash.len()];
            random.fill(&mut seed).map_err(|_| CredentialError::Random)?;
            random.fill(&mut mask).map_err(|_| CredentialError::Random)?;
            let encrypted = oaep::encrypt(hash, modulus, *exponent, &seed, &mask)
                .ok_or(CredentialError::Unsupported)?;
            Ok((seed, encrypted))
        }
        Key::Ecc { curve, x, y } => {
            let (algorithm, len) = match *curve {
                algorithm::NIST_P256 => (&ECDH_P256, 32),
                algorithm::NIST_P384 => (&ECDH_P384, 48),
                _ => return Err(CredentialError::Unsupported),
            };
            let full = |number: &[u8]| {
                let zeroes = vec![0; usize::saturating_sub(len, number.len())];
                [zeroes.as_slice(), number].concat()
            };
            let (x, y) = (full(x), full(y));
            let private = EphemeralPrivateKey::generate(algorithm, &random)
                .map_err(|_| CredentialError::Random)?;
            let public = private.compute_public_key().map_err(|_| CredentialError::Random)?;
            let (own_x, own_y) = public.as_ref()[1..].split_at(len);
            let peer = UnparsedPublicKey::new(algorithm, [&[4], &x[..], &y[..]].concat());
            let seed = agree_ephemeral(private, &peer, |z| kdf_e(hash, z, own_x, &x))
                .map_err(|_| CredentialError::Unsupported)?;
            let size = u16::try_from(len).unwrap_or(0).to_be_bytes();
            Ok((seed, [&size, own_x, &size, own_y].concat()))
        }
    }
}

fn mac(hash: Algorithm, key: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>, CredentialError> {
    let algorithm = match hash {
        Algorithm::Sha1 => return Err(CredentialError::Unsupported),
        Algorithm::Sha256 => hmac::HMAC_SHA256,
        Algorithm::Sha384 => hmac::HMAC_SHA384,
        Algorithm::Sha512 => hmac::HMAC_SHA512,
    };
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    parts.iter().for_each(|part| context.update(part));
    Ok(context.sign().as_ref().to_vec())
}

/// `KDFa` (Part 1, 11.4.10.2), for no more bits than one block of the hash gives.
fn kdf_a(
    hash: Algorithm,
    key: &[u8],
    label: &[u8],
    context: &[u8],
    bits: usize,
) -> Result<Vec<u8>, CredentialError> {
    let size = u32::try_from(bits).map_err(|_| CredentialError::Unsupported)?.to_be_bytes();
    let mut derived = mac(hash, key, &[&1u32.to_be_bytes(), label, &[0], context, &size])?;
    if derived.len() * 8 < bits {
        return Err(CredentialError::Unsupported);
    }
    derived.truncate(bits / 8);
    Ok(derived)
}

/// `KDFe` (Part 1, 11.4.10.3), for as many bits as the hash gives.
fn kdf_e(hash: Algorithm, z: &[u8], party_u: &[u8], party_v: &[u8]) -> Vec<u8> {
    let parts = [&1u32.to_be_bytes()[..], z, b"IDENTITY\0", party_u, party_v];
    pcr::hash(hash, &parts).as_bytes().to_vec()
}
