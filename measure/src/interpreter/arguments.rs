//! What of a command line an interpreter runs. Pure.

use super::extent::{Extent, Missing};
use super::family::Family;
use super::options::{has_operand, permutes};
use reader::Reader;

/// How a name leads to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// It is the file's path.
    Path,
    /// The same; without a slash it is also looked for along `PATH`.
    Searched,
    /// A library's, which may lack its suffix.
    Library,
    /// A module's, whose parts a dot divides.
    Module,
    /// A URL, which may lead through a filter or an archive.
    Url,
}

/// Code that a command line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code<'a> {
    /// More than one where an argument may belong to the option before it: each that is there may
    /// be meant.
    pub(crate) names: Vec<&'a [u8]>,
    pub(crate) named: Named,
    /// The folder that an option has the interpreter go to before.
    pub(crate) within: Option<&'a [u8]>,
}

impl<'a> Code<'a> {
    pub(crate) const fn new(names: Vec<&'a [u8]>, named: Named) -> Self {
        Self { names, named, within: None }
    }
}

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
