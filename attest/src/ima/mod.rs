//! IMA's measurement lists (`security/integrity/ima/ima_fs.c` and `ima_template_lib.c`).
//!
//! An [`Entry`] borrows from the bytes it was read from. [`Stream`] takes a list in pieces
//! of any size, of either form; nothing it is fed makes it hold more than one entry.

mod ascii;
mod binary;
mod entry;
mod stream;
mod template;
pub mod write;

pub use ascii::Ascii;
pub use binary::{Endian, next as next_binary};
pub use entry::{Container, Entry};
pub use stream::{Form, LogError, Stream};

/// The most bytes that one entry's template data may have. The largest that kernels write
/// are module signatures and buffers of a few 100 KiB.
pub const MAX_DATA: usize = 1 << 20;

/// The most bytes that a template's name may have (`TCG_EVENT_NAME_LEN_MAX`).
pub const MAX_NAME: usize = 255;

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
