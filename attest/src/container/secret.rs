//! What hides whose an event is, and what it says, from those who may not verify a container.

use std::fmt;

use ring::hmac;
use serde::{Deserialize, Serialize};

/// 32 bytes that the kernel, the shim and those who may verify a container share.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(#[serde(with = "crate::bytes::hex32")] [u8; 32]);

impl Secret {
    /// A secret from its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What an event in `aggregate` tells of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was made.
    Create = 1,
    /// A line was added to its list.
    Line = 2,
    /// Its list is final.
    Close = 3,
}

/// What finds and checks one container's events among those of all.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// The key of that creation (`seq`) of the container.
    #[must_use]
    pub fn new(secret: &Secret, seq: u64, id: &str) -> Self {
        let outer = hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
        let key = mac(&outer, &[b"ima-container\0", &seq.to_le_bytes(), id.as_bytes()]);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    /// The tag of the container's event `n`.
    #[must_use]
    pub fn tag(&self, n: u64) -> [u8; 32] {
        mac(&self.0, &[b"tag", &n.to_le_bytes()])
    }

    /// The value of the container's event `n`, when its cPCR is this.
    #[must_use]
    pub fn value(&self, n: u64, kind: Kind, cpcr: &[u8; 32]) -> [u8; 32] {
        mac(&self.0, &[b"value", &n.to_le_bytes(), &[kind as u8], cpcr])
    }
}

fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}
