//! Code that a command line names, and how the name leads to its file.

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
