//! The key of a certificate (`SubjectPublicKeyInfo`, RFC 5280 4.1.2.7, RFC 5480, RFC 4055).

use super::der::{Der, Odd, number, tag};
use super::key::Key;

/// `rsaEncryption`, and `id-RSAES-OAEP`, which the TCG's profile has for a key that only decrypts.
const RSA: [&[u8]; 2] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07],
];

/// `id-ecPublicKey`.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// A TPM's curves (`TPM_ECC_CURVE`), with their OIDs and the bytes of a coordinate.
const CURVES: [(u16, &[u8], usize); 3] = [
    (3, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], 32), // P-256
    (4, &[0x2b, 0x81, 0x04, 0x00, 0x22], 48),                   // P-384
    (5, &[0x2b, 0x81, 0x04, 0x00, 0x23], 66),                   // P-521
];

/// Whether it is that key.
pub(super) fn is_of(key: &Key, spki: &[u8]) -> Result<bool, Odd> {
    let mut spki = Der::new(spki);
    let (mut algorithm, bits) = (spki.enter(tag::SEQUENCE)?, spki.bits()?);
    spki.end()?;
    let id = algorithm.take(tag::OID)?;
    match key {
        Key::Rsa { modulus, exponent } => {
            let mut outer = Der::new(bits);
            let mut inside = outer.enter(tag::SEQUENCE)?;
            let same = number(inside.take(tag::INTEGER)?) == number(modulus)
                && number(inside.take(tag::INTEGER)?) == number(&exponent.to_be_bytes());
            inside.end()?;
            outer.end()?;
            Ok(RSA.contains(&id) && same)
        }
        Key::Ecc { curve, x, y } => {
            let known = CURVES.iter().find(|(known, ..)| known == curve).ok_or(Odd)?;
            let (_, oid, length) = *known;
            if id != EC || algorithm.take(tag::OID)? != oid {
                return Ok(false);
            }
            let same = |written: &[u8], own: &[u8]| number(written) == number(own);
            Ok(match bits.split_first() {
                Some((4, point)) if point.len() == 2 * length => {
                    let (written_x, written_y) = point.split_at(length);
                    same(written_x, x) && same(written_y, y)
                }
                // Compressed (SEC 1, 2.3.3): which of the two that have that x.
                Some((sign @ (2 | 3), point)) if point.len() == length => {
                    same(point, x) && y.last().is_some_and(|last| last & 1 == sign & 1)
                }
                _ => false,
            })
        }
    }
}
