//! Big-endian fields of a TPM's structures, and what is said where they are none.

/// Bytes that are no structure of a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end too soon.
    #[error("the bytes end within its {0}")]
    Cut(&'static str),
    /// Something follows.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// A field has a value that it can't have, or that lacre does not know.
    #[error("its {what} is {value:#x}, which is not known here")]
    Value {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}

/// Takes big-endian fields from the front of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed::Cut(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Cut(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// A `TPM2B`: its length, then its bytes.
    pub(super) fn sized(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let len = self.u16(what)?;
        self.take(what, len.into())
    }

    pub(super) const fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Trailing(self.0.len())) }
    }
}
