//! Programs that run text: which they are, and what of a command line they run. One table, for
//! who sees an interpreter started and for who sees it open a file.

mod arguments;
mod family;
mod options;

pub(crate) use arguments::{Code, Extent, Missing, Named, applet, code_of, loaded};
pub(crate) use family::{Family, is_loader};
