//! One entry of a measurement list, and the digests that its template comes to.

use std::borrow::Cow;

use lacre_types::{Algorithm, Digest};

use super::template;
use crate::pcr;

/// The length to which the template `ima` pads a name before hashing
/// (`IMA_EVENT_NAME_LEN_MAX + 1`).
const OLD_NAME: usize = 256;

/// The most bytes that one entry's template data may have. The largest that kernels write
/// are module signatures and buffers of a few 100 KiB.
pub const MAX_DATA: usize = 1 << 20;

/// The most bytes that a template's name may have (`TCG_EVENT_NAME_LEN_MAX`).
pub const MAX_NAME: usize = 255;

/// One measurement of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The PCR that it was extended to.
    pub pcr: u32,
    /// The template digest, as the list has it: in the algorithm of the list's file.
    pub logged: &'a [u8],
    /// The template's name.
    pub template: &'a [u8],
    /// The template data as the binary list has it; `None` where a text cannot be turned
    /// back into it.
    pub data: Option<&'a [u8]>,
    pub(super) big_endian: bool,
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// There is no such PCR, so these are no entry's first bytes.
    #[error("it names PCR {0}; there are 24")]
    Pcr(u32),
    /// A length that no kernel writes.
    #[error("its {what} claims {len} bytes; at most {max} are taken")]
    Length {
        /// Of what.
        what: &'static str,
        /// What it claims.
        len: usize,
        /// What is taken.
        max: usize,
    },
    /// The fields do not fill the template data.
    #[error("its fields are not as long as its template data")]
    Fields,
    /// A text field is missing, too many, or not what the kernel prints there.
    #[error("its {0} is missing or not as the kernel prints it")]
    Text(&'static str),
    /// The list ends within an entry.
    #[error("the list ends within it")]
    Cut,
}

/// What an entry says of the container that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container<'a> {
    /// The control group's path (`cg-path`).
    CgroupPath(&'a [u8]),
    /// The control group's name (`cgn`).
    CgroupName(&'a [u8]),
    /// An IMA namespace, as the kernel wrote it (`ns`).
    Namespace(&'a [u8]),
}

impl<'a> Entry<'a> {
    /// Whether it stands for a violation: a file written while it was measured. The list
    /// shows zeroes for its digest, the PCR was extended with ones (`ima_add_violation`).
    #[must_use]
    pub fn is_violation(&self) -> bool {
        self.logged.iter().all(|byte| *byte == 0)
    }

    /// The bytes whose digest the template digest is.
    #[must_use]
    pub fn hashed(&self) -> Option<Cow<'a, [u8]>> {
        let data = self.data?;
        if self.template != b"ima" {
            return Some(Cow::Borrowed(data));
        }
        let (digest, name) = (data.get(..20)?, data.get(24..)?);
        let mut hashed = vec![0; 20 + OLD_NAME];
        hashed[..20].copy_from_slice(digest);
        hashed.get_mut(20..20 + name.len())?.copy_from_slice(name);
        Some(Cow::Owned(hashed))
    }

    /// The digest of its data; `None` where the data cannot be had.
    #[must_use]
    pub fn template_digest(&self, algorithm: Algorithm) -> Option<Digest> {
        Some(pcr::hash(algorithm, &[&self.hashed()?]))
    }

    /// What the kernel extended a bank with, by its rules since 5.8: the digest of the
    /// data in the bank's algorithm, ones for a violation.
    #[must_use]
    pub fn event(&self, bank: Algorithm) -> Option<Digest> {
        if self.is_violation() {
            return Some(pcr::repeated(bank, 0xff));
        }
        match self.template_digest(bank) {
            None if self.logged.len() == bank.len() => Digest::new(bank, self.logged),
            digest => digest,
        }
    }

    /// The bytes of a field, by its id in the template; `None` when it has none such.
    #[must_use]
    pub fn field(&self, id: &str) -> Option<&'a [u8]> {
        let data = self.data?;
        if self.template == b"ima" {
            return match id {
                "d" => data.get(..20),
                "n" => data.get(24..),
                _ => None,
            };
        }
        let mut rest = data;
        let mut found = None;
        for field in template::format(self.template)?.split('|') {
            let (value, after) = split(rest, self.big_endian)?;
            if field == id {
                found = Some(value);
            }
            rest = after;
        }
        // The template's name is not part of what is hashed. It is believed only as far as
        // the data bears it out.
        found.filter(|_| rest.is_empty())
    }

    /// Whether the template is one of the kernel's own, not a description of fields. Since
    /// no PCR vouches for the name, a description could make any field, of what a file's
    /// owner may write, pass for the digest.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        template::is_built_in(self.template)
    }

    /// The name of what was measured: a file's path in its namespace, `boot_aggregate`,
    /// `memfd:…`, or a buffer's name. The kernel writes `_` for each space.
    #[must_use]
    pub fn name(&self) -> Option<&'a [u8]> {
        let name = self.field("n-ng").or_else(|| self.field("n"))?;
        Some(name.strip_suffix(b"\0").unwrap_or(name))
    }

    /// The digest of what was measured; `None` when there is none, or its algorithm is
    /// not one that lacre knows.
    #[must_use]
    pub fn file_digest(&self) -> Option<Digest> {
        if let Some(digest) = self.field("d") {
            return Digest::new(Algorithm::Sha1, digest);
        }
        let field = self.field("d-ng").or_else(|| self.field("d-ngv2"))?;
        let nul = field.iter().position(|byte| *byte == 0)?;
        let algorithm = field[..nul].strip_suffix(b":")?;
        // `ima:` or `verity:` stands before it in d-ngv2; a verity digest is of another kind.
        let algorithm = algorithm.strip_prefix(b"ima:").unwrap_or(algorithm);
        let algorithm: Algorithm = std::str::from_utf8(algorithm).ok()?.parse().ok()?;
        Digest::new(algorithm, &field[nul + 1..])
    }

    /// The buffer that was measured, where it was one (`ima-buf`): its digest must then be
    /// the entry's, or a file's entry could pass for a buffer's by its template's name.
    #[must_use]
    pub fn buffer(&self) -> Option<&'a [u8]> {
        let buffer = self.field("buf")?;
        let digest = self.file_digest()?;
        (pcr::hash(digest.algorithm(), &[buffer]) == digest).then_some(buffer)
    }

    /// The file's signature, where it has one.
    #[must_use]
    pub fn signature(&self) -> Option<&'a [u8]> {
        self.field("sig").filter(|sig| !sig.is_empty())
    }

    /// The container, where the template carries one.
    #[must_use]
    pub fn container(&self) -> Option<Container<'a>> {
        let text = |value: &'a [u8]| value.strip_suffix(b"\0").unwrap_or(value);
        (self.field("cg-path").map(|path| Container::CgroupPath(text(path))))
            .or_else(|| self.field("cgn").map(|name| Container::CgroupName(text(name))))
            .or_else(|| self.field("ns").map(Container::Namespace))
    }
}

/// A field's bytes, and what follows it.
pub(super) fn split(data: &[u8], big_endian: bool) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    let len = if big_endian { u32::from_be_bytes(*len) } else { u32::from_le_bytes(*len) };
    rest.split_at_checked(usize::try_from(len).ok()?)
}
