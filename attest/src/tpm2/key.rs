//! The numbers that make a key.

/// A public key, RSA or elliptic curve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Rsa { modulus: Vec<u8>, exponent: u32 },
    Ecc { curve: u16, x: Vec<u8>, y: Vec<u8> },
}
