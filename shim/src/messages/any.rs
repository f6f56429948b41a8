//! Options in an envelope, read as runc would read them.

use crate::wire::{WireError, embedded, fields, put_bytes, put_text};

/// `google.protobuf.Any`, of options: they are edited where they stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Any {
    /// The name of the type; containerd writes it without a host.
    pub type_url: String,
    /// The message.
    pub value: Vec<u8>,
}

impl Any {
    /// # Errors
    /// When it is not such a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut any = Self::default();
        for field in fields(bytes) {
            let field = field?;
            match field.number {
                1 => any.type_url = field.text()?.to_owned(),
                2 => any.value = field.bytes()?.to_vec(),
                _ => {}
            }
        }
        Ok(any)
    }

    /// The one that field `number` of a message holds.
    ///
    /// # Errors
    /// When that is not a message, or holds something else there.
    pub fn embedded(message: &[u8], number: u32) -> Result<Option<Self>, WireError> {
        embedded(message, number)?.map(|any| Self::decode(&any)).transpose()
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.type_url.len() + self.value.len() + 8);
        put_text(&mut out, 1, &self.type_url);
        if !self.value.is_empty() {
            put_bytes(&mut out, 2, &self.value);
        }
        out
    }

    /// The name of the type, without the host that some write before it.
    #[must_use]
    pub fn type_name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }
}
