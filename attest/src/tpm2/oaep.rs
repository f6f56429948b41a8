//! RSA-OAEP encryption to an EK (RFC 8017, 7.1.1). Only this direction, with a public
//! exponent, so that no crate with a private-key side (RUSTSEC-2023-0071) is needed.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U2048, U3072, U4096};
use lacre_types::Algorithm;

use crate::pcr;

/// The label that a TPM's credentials have, with its NUL (Part 1, B.10.4).
const LABEL: &[u8] = b"IDENTITY\0";

/// Encrypts a message no longer than the hash to the key; `None` when the modulus is not
/// of 2048, 3072 or 4096 bits, or even.
pub(super) fn encrypt(
    hash: Algorithm,
    modulus: &[u8],
    exponent: u32,
    message: &[u8],
    seed: &[u8],
) -> Option<Vec<u8>> {
    let encoded = encode(hash, modulus.len(), message, seed)?;
    macro_rules! power {
        ($uint:ty) => {{
            let modulus = Odd::new(<$uint>::from_be_slice(modulus)).into_option()?;
            let params = FixedMontyParams::new_vartime(modulus);
            let base = <$uint>::from_be_slice(&encoded);
            let exponent = <$uint>::from_u32(exponent);
            let power =
                FixedMontyForm::new(&base, &params).pow_bounded_exp(&exponent, 32).retrieve();
            Some(power.to_be_bytes().as_ref().to_vec())
        }};
    }
    match modulus.len() * 8 {
        2048 => power!(U2048),
        3072 => power!(U3072),
        4096 => power!(U4096),
        _ => None,
    }
}

/// EME-OAEP: `0 ‖ masked seed ‖ masked (label's hash ‖ zeroes ‖ 1 ‖ message)`.
fn encode(hash: Algorithm, len: usize, message: &[u8], seed: &[u8]) -> Option<Vec<u8>> {
    let block = hash.len();
    let data_len = len.checked_sub(block + 1)?;
    let zeroes = data_len.checked_sub(block + 1 + message.len())?;
    let mut data = pcr::hash(hash, &[LABEL]).as_bytes().to_vec();
    data.resize(block + zeroes, 0);
    data.push(1);
    data.extend_from_slice(message);
    mask(hash, seed, &mut data);
    let mut seed = seed.to_vec();
    mask(hash, &data, &mut seed);
    Some([&[0], seed.as_slice(), data.as_slice()].concat())
}

/// MGF1 (RFC 8017, B.2.1), applied.
fn mask(hash: Algorithm, seed: &[u8], data: &mut [u8]) {
    for (counter, chunk) in (0u32..).zip(data.chunks_mut(hash.len())) {
        let block = pcr::hash(hash, &[seed, &counter.to_be_bytes()]);
        chunk.iter_mut().zip(block.as_bytes()).for_each(|(byte, mask)| *byte ^= mask);
    }
}
