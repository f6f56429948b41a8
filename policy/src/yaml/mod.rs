//! YAML as this project's files use it: mappings, lists and scalars, each with its place.
//!
//! What is not needed is refused, and with it the ways to make a small file large:
//! anchors, aliases, tags, directives, more than one document, deep nesting, large files.
//! Scalars stay the text that they are, so that an id of digits never becomes a number.

mod load;
mod reader;

pub use load::{MAX_BYTES, MAX_DEPTH};
pub use reader::{Field, Reader};

pub use crate::diagnostic::Span;
pub use crate::read::duration;

/// A node of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins; for a scalar on one line, all of it.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text, quoted or not.
    Scalar(String),
    /// Nothing after a colon or a dash, or an unquoted `~` or `null`.
    Null,
    /// A list, in its order.
    List(Vec<Node>),
    /// Keys and values, in their order, the same key twice included.
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// The word for it in a message.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Scalar(_) => "a scalar",
            Self::Null => "nothing",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}
