//! YAML as this project's files use it: mappings, lists and scalars, each with its place.
//!
//! What is not needed is refused, and with it the ways to make a small file large:
//! anchors, aliases, tags, directives, more than one document, deep nesting, large files.
//! Scalars stay the text that they are, so that an id of digits never becomes a number.

mod duration;
mod load;
mod node;
mod reader;

pub use duration::duration;
pub use load::{MAX_BYTES, MAX_DEPTH};
pub use node::{Node, Value};
pub use reader::{Field, Reader};

pub use crate::diagnostic::Span;
