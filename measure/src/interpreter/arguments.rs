//! What of a command line an interpreter runs. Pure.

use super::code::{Code, Named};
use super::extent::{Extent, Missing};
use super::family::Family;
use super::options::{has_operand, permutes};
use reader::Reader;

/// What is run, of what follows the name of a program of that family.
pub(crate) fn code_of<T: AsRef<[u8]>>(
    family: Family,
    arguments: &[T],
    extent: Extent,
) -> Result<Vec<Code<'_>>, Missing> {
    if matches!(family, Family::Multicall | Family::Loader) {
        return Ok(Vec::new());
    }
    // Whose options may follow its operands makes nothing of one that is bare.
    let (arguments, is_open) = match permutes(family) {
        true => (arguments, extent.is_open),
        false => extent.certain(arguments),
    };
    let named = if family == Family::Shell { Named::Searched } else { Named::Path };
    Reader {
        family,
        arguments: arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>().into_iter(),
        is_open,
        longest: extent.longest,
        is_cut: false,
        is_missing: false,
        found: Vec::new(),
        operand: Code::new(Vec::new(), named),
        has_operand: has_operand(family),
        may_take: false,
        is_certain: true,
        is_isolated: false,
    }
    .all()
}

mod reader;
#[cfg(test)]
mod tests;
