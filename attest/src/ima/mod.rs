//! IMA's measurement lists (`security/integrity/ima/ima_fs.c` and `ima_template_lib.c`).
//!
//! An [`Entry`] borrows from the bytes it was read from. [`Stream`] takes a list in pieces
//! of any size, of either form; nothing it is fed makes it hold more than one entry.

mod ascii;
mod binary;
mod entry;
mod open;
mod stream;
mod template;
pub mod write;

pub use ascii::Ascii;
pub use binary::{Endian, next as next_binary};
pub use entry::{Container, Entry, EntryError, MAX_DATA, MAX_NAME};
pub use open::open;
pub use stream::{Form, LogError, Stream};
