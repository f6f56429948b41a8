//! The public part of a TPM's key, and whether such a key signs nothing but what the TPM made.

use lacre_types::Algorithm;

use super::algorithm::{self, hash_of, id_of};
use super::key::Key;
use super::reader::{Malformed, Reader};
use super::{der, spki};
use crate::pcr;

/// Bits of `TPMA_OBJECT` (Part 2, 8.3).
mod attribute {
    pub(super) const FIXED_TPM: u32 = 1 << 1;
    pub(super) const FIXED_PARENT: u32 = 1 << 4;
    pub(super) const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    pub(super) const RESTRICTED: u32 = 1 << 16;
    pub(super) const DECRYPT: u32 = 1 << 17;
    pub(super) const SIGN: u32 = 1 << 18;
}

/// The public part of a key (`TPMT_PUBLIC`), RSA or elliptic curve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    name_algorithm: Algorithm,
    attributes: u32,
    /// The key's symmetric cipher, AES in CFB mode: its key's bits; `None` for none.
    pub(super) aes_bits: Option<u16>,
    pub(super) scheme: Option<(u16, Algorithm)>,
    pub(super) key: Key,
    bytes: Vec<u8>,
}

impl Public {
    /// Reads a `TPMT_PUBLIC`.
    ///
    /// # Errors
    /// When the bytes are none, or of a kind that lacre does not know.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u16("key type")?;
        let name_algorithm = hash(&mut reader, "name algorithm")?;
        let attributes = reader.u32("attributes")?;
        reader.sized("policy")?;
        let aes_bits = match reader.u16("symmetric cipher")? {
            algorithm::NULL => None,
            algorithm::AES => {
                let bits = reader.u16("symmetric key bits")?;
                match reader.u16("symmetric mode")? {
                    algorithm::CFB => Some(bits),
                    value => {
                        return Err(Malformed::Value { what: "mode", value: value.into() });
                    }
                }
            }
            value => return Err(Malformed::Value { what: "cipher", value: value.into() }),
        };
        let scheme = match reader.u16("scheme")? {
            algorithm::NULL => None,
            scheme @ (algorithm::RSASSA | algorithm::RSAPSS | algorithm::ECDSA) => {
                Some((scheme, hash(&mut reader, "scheme's hash")?))
            }
            value => return Err(Malformed::Value { what: "scheme", value: value.into() }),
        };
        let key = match kind {
            algorithm::RSA => {
                reader.u16("key bits")?;
                let exponent = match reader.u32("exponent")? {
                    0 => 65537,
                    exponent => exponent,
                };
                Key::Rsa { modulus: reader.sized("modulus")?.to_vec(), exponent }
            }
            algorithm::ECC => {
                let curve = reader.u16("curve")?;
                match reader.u16("key derivation")? {
                    algorithm::NULL => {}
                    value => {
                        let what = "key derivation";
                        return Err(Malformed::Value { what, value: value.into() });
                    }
                }
                let (x, y) = (reader.sized("x")?.to_vec(), reader.sized("y")?.to_vec());
                Key::Ecc { curve, x, y }
            }
            value => return Err(Malformed::Value { what: "key type", value: value.into() }),
        };
        reader.end()?;
        Ok(Self { name_algorithm, attributes, aes_bits, scheme, key, bytes: bytes.to_vec() })
    }

    /// The key's name: what a TPM calls it by, and what a credential is bound to
    /// (Part 1, 16).
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        let mut name = id_of(self.name_algorithm).to_be_bytes().to_vec();
        name.extend_from_slice(pcr::hash(self.name_algorithm, &[&self.bytes]).as_bytes());
        name
    }

    /// The hash algorithm of its name.
    #[must_use]
    pub const fn name_algorithm(&self) -> Algorithm {
        self.name_algorithm
    }

    /// The structure's own bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    const fn has(&self, bits: u32) -> bool {
        self.attributes & bits == bits
    }

    /// Whether it is made to hold others' secrets: a storage key such as an EK.
    #[must_use]
    pub const fn is_storage(&self) -> bool {
        self.has(attribute::RESTRICTED | attribute::DECRYPT) && !self.has(attribute::SIGN)
    }

    /// Whether a `SubjectPublicKeyInfo` (DER, without the sequence around it) is of this key.
    #[must_use]
    pub(super) fn is_in_spki(&self, spki: &[u8]) -> bool {
        spki::is_of(&self.key, spki).unwrap_or(false)
    }

    /// What names the key itself, whatever else its public part says: a hash of nothing but the
    /// numbers that make it. Its [`Self::name`] hashes attributes and a policy, too, which whoever
    /// shows the key may choose.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<u8> {
        let number = |bytes| {
            let digits = der::number(bytes);
            [&(digits.len() as u64).to_be_bytes()[..], digits].concat()
        };
        let parts = match &self.key {
            Key::Rsa { modulus, exponent } => {
                [b"rsa".to_vec(), exponent.to_be_bytes().to_vec(), number(modulus)].concat()
            }
            Key::Ecc { curve, x, y } => {
                [b"ecc".to_vec(), curve.to_be_bytes().to_vec(), number(x), number(y)].concat()
            }
        };
        pcr::hash(Algorithm::Sha256, &[&parts]).as_bytes().to_vec()
    }
}

fn hash(reader: &mut Reader<'_>, what: &'static str) -> Result<Algorithm, Malformed> {
    let id = reader.u16(what)?;
    hash_of(id).ok_or(Malformed::Value { what, value: id.into() })
}

/// Why a key can't vouch for a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    /// It may leave the TPM, or did not arise in it.
    #[error("it is not bound to one TPM (fixedTPM, fixedParent, sensitiveDataOrigin)")]
    NotFixed,
    /// It signs what a TPM did not make, so its quotes can be forged.
    #[error("it is not a restricted signing key, so that it signs forged quotes, too")]
    NotRestricted,
    /// Its name or its signatures rest on SHA-1.
    #[error("its name or its scheme uses SHA-1")]
    Weak,
}

/// Whether what the key signs as a quote can only be a quote, of one TPM.
///
/// # Errors
/// Why not.
pub const fn ak_suitable(key: &Public) -> Result<(), Unsuitable> {
    use attribute::{DECRYPT, FIXED_PARENT, FIXED_TPM, RESTRICTED, SENSITIVE_DATA_ORIGIN, SIGN};
    if !key.has(FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN) {
        return Err(Unsuitable::NotFixed);
    }
    if !key.has(RESTRICTED | SIGN) || key.has(DECRYPT) {
        return Err(Unsuitable::NotRestricted);
    }
    if matches!(key.name_algorithm, Algorithm::Sha1)
        || matches!(key.scheme, None | Some((_, Algorithm::Sha1)))
    {
        return Err(Unsuitable::Weak);
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A storage key's public part with that policy.
    fn storage(kind: u16, policy: &[u8], rest: &[&[u8]]) -> Public {
        let sized =
            |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let attributes: u32 = 0x0003_00b2;
        let bytes = [
            &kind.to_be_bytes()[..],
            &0x000b_u16.to_be_bytes(),
            &attributes.to_be_bytes(),
            &sized(policy),
            &algorithm::AES.to_be_bytes(),
            &128_u16.to_be_bytes(),
            &algorithm::CFB.to_be_bytes(),
            &algorithm::NULL.to_be_bytes(),
            rest[0],
        ]
        .concat();
        let numbers: Vec<u8> = rest[1..].iter().flat_map(|number| sized(number)).collect();
        Public::parse(&[bytes, numbers].concat()).unwrap()
    }

    /// One of P-256.
    pub(in crate::tpm2) fn ecc(x: &[u8], y: &[u8]) -> Public {
        storage(algorithm::ECC, &[], &[&[0, 3, 0, 0x10], x, y])
    }

    /// One with exponent 65537.
    pub(in crate::tpm2) fn rsa(modulus: &[u8]) -> Public {
        storage(algorithm::RSA, &[], &[&[8, 0, 0, 0, 0, 0], modulus])
    }

    #[test]
    fn a_key_is_the_same_whatever_else_its_public_part_says() {
        let plain = ecc(&[7; 32], &[9; 32]);
        let other = storage(algorithm::ECC, &[1; 32], &[&[0, 3, 0, 0x10], &[7; 32], &[9; 32]]);
        assert_ne!(plain.name(), other.name());
        assert_eq!(plain.fingerprint(), other.fingerprint());
        let zero = [&[0][..], &[7; 31]].concat();
        assert_eq!(ecc(&zero, &[9; 32]).fingerprint(), ecc(&[7; 31], &[9; 32]).fingerprint());
        let mut all = vec![
            plain.fingerprint(),
            ecc(&[7; 32], &[8; 32]).fingerprint(),
            ecc(&[9; 32], &[7; 32]).fingerprint(),
            ecc(&[7; 31], &[7; 1]).fingerprint(),
            ecc(&[7; 1], &[7; 31]).fingerprint(),
            rsa(&[7; 256]).fingerprint(),
            rsa(&[7; 255]).fingerprint(),
        ];
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 7);
    }
}
