//! Programs that run text: which they are, and what of a command line they run. One table, for
//! who sees an interpreter started and for who sees it open a file.

mod arguments;
mod code;
#[cfg(test)]
mod differential;
mod extent;
mod family;
mod launcher;
mod options;
mod takes;

pub(crate) use arguments::code_of;
pub(crate) use code::{Code, Named};
pub(crate) use extent::{Extent, Missing};
pub(crate) use family::{Family, is_loader};
pub(crate) use launcher::{applet, applet_called, loaded};
