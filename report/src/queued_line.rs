//! A line between the intake and the files.

use crate::entry::Entry;
use crate::fair_shares::Owner;
use crate::folding::Number;

/// A line on its way to the disk.
pub(crate) struct Line {
    pub(crate) owner: Owner,
    pub(crate) entry: Entry,
    /// Where its number goes.
    pub(crate) number: Option<Number>,
    /// Whose number it speaks of.
    pub(crate) of: Option<Number>,
    /// How many uses it is the only line of.
    pub(crate) uses: u64,
}
