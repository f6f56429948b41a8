//! Why a call failed, as ttrpc says it.

use crate::wire::{WireError, fields, put_text, put_uint};

/// gRPC's status codes, those that lacre gives (google.rpc.Code).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// The request makes no sense.
    InvalidArgument = 3,
    /// It took too long.
    DeadlineExceeded = 4,
    /// There is no such thing.
    NotFound = 5,
    /// It is there already.
    AlreadyExists = 6,
    /// It is not allowed.
    PermissionDenied = 7,
    /// Too much of it.
    ResourceExhausted = 8,
    /// Not in the state that it is in.
    FailedPrecondition = 9,
    /// lacre has gone wrong.
    Internal = 13,
    /// The other end is not there.
    Unavailable = 14,
}

/// `google.rpc.Status`: why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The code's number; 0 is success.
    pub code: u32,
    /// What a person reads.
    pub message: String,
}

impl Status {
    /// A failure.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: code as u32, message: message.into() }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut status = Self::default();
        for field in fields(bytes) {
            let field = field?;
            match field.number {
                1 => status.code = field.uint32()?,
                2 => status.message = field.text()?.to_owned(),
                _ => {}
            }
        }
        Ok(status)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.message.len() + 8);
        put_uint(&mut out, 1, u64::from(self.code));
        put_text(&mut out, 2, &self.message);
        out
    }
}
