//! Which members of a tar are hashed.

use std::collections::HashSet;

/// A member: the layer that it is of, from the bottom, and its place in that one's tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MemberId {
    pub(super) layer: u16,
    pub(super) index: u64,
}

/// Members that are hashed although their own name and mode do not make them code.
#[derive(Debug, Default)]
pub(crate) enum Wanted {
    #[default]
    Code,
    Also(HashSet<MemberId>),
    All,
}

impl Wanted {
    pub(super) fn contains(&self, id: MemberId) -> bool {
        match self {
            Self::Code => false,
            Self::Also(ids) => ids.contains(&id),
            Self::All => true,
        }
    }
}
