//! A parsed file in which each value knows where it stands.

use crate::diagnostic::Span;

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
