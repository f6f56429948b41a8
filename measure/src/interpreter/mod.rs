//! Programs that run text: which they are, and what of a command line they run. One table, for
//! who sees an interpreter started and for who sees it open a file.

mod arguments;
#[cfg(test)]
mod differential;
mod extent;
mod family;
mod launcher;
mod options;

pub(crate) use arguments::{Code, Named, code_of};
pub(crate) use extent::{Extent, Missing};
pub(crate) use family::{Family, is_loader};
pub(crate) use launcher::{applet, applet_called, loaded};
