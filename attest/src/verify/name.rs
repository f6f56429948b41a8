//! How lists are named, where an id has come again.

use lacre_types::escape;
use serde::Serialize;

use crate::container::Keeper;

/// What names a container's list: its id, and the number of the container's creation where
/// more than one list has that id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListName {
    /// The container's id.
    pub id: String,
    /// The number of its creation.
    pub seq: Option<u64>,
}

impl From<&str> for ListName {
    fn from(id: &str) -> Self {
        Self { id: id.to_owned(), seq: None }
    }
}

impl std::fmt::Display for ListName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&escape(self.id.as_bytes()))?;
        self.seq.map_or(Ok(()), |seq| write!(f, "#{seq}"))
    }
}

/// Which list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Log {
    /// The host's measurement list.
    Host,
    /// The `aggregate` of that keeper.
    Aggregate(Keeper),
    /// That list of a container.
    Container(ListName),
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host => f.write_str("the host's list"),
            Self::Aggregate(keeper) => write!(f, "the {keeper}'s aggregate"),
            Self::Container(name) => write!(f, "the list of {name}"),
        }
    }
}

impl Serialize for Log {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Host => s.serialize_str("host"),
            Self::Aggregate(keeper) => s.collect_str(&format_args!("aggregate:{keeper}")),
            Self::Container(name) => s.collect_str(&format_args!("container:{name}")),
        }
    }
}
