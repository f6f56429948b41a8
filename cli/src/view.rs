//! What this node guards, as its guards tell it and as it is written down.

mod find;
mod look;
mod names;
mod row;
mod unguarded;

pub(crate) use find::{find, rows};
pub(crate) use look::{Everywhere, View, Where};
pub(crate) use names::{named, short, short_digest, shown};
pub(crate) use row::Row;
pub(crate) use unguarded::{Other, Others, others};
