//! What an option takes of a command line.

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// The next argument, or what follows in its own.
    Value,
    /// What follows in its own argument, be that nothing.
    Rest,
    /// The same up to a space, behind which options go on if there is a dash.
    Word,
    /// Its digits, and no more of its argument.
    Digits,
    /// The text of the program: no operand is a script then.
    Text,
    /// Text beside the script.
    MoreText,
    /// A file that is run, beside the script.
    File,
    /// The script: what follows is its own.
    Script,
    /// A file that is run, by its name as a library.
    Library,
    /// The same behind a name that it is given: `NAME=LIBRARY`.
    NamedLibrary,
    /// The name of a module that is run.
    Module,
    /// Its program is read from standard input.
    Stdin,
    /// The script is searched for along `PATH`.
    Search,
    /// What may be a setting that names a file which is run.
    Setting,
    /// Of awk: a long option by its name alone, or some of them with commas between.
    Words,
    /// The folder that names behind it are relative to.
    Folder,
    /// It may take the next argument, and that be a file which is run.
    Perhaps,
    /// What follows is another program's.
    End,
    /// What follows in its own argument is nothing, but for options behind a space and a dash.
    Space,
}

impl Takes {
    /// Of options that an abbreviation may stand for, the one that matters most.
    const fn rank(self) -> u8 {
        match self {
            Self::File | Self::Script | Self::Library | Self::Folder => 3,
            Self::Text | Self::MoreText | Self::Value => 2,
            _ => 1,
        }
    }
}

/// One of a table's options, by its name or what it may be abbreviated to.
pub(super) fn abbreviated(table: &[(&[u8], Takes)], name: &[u8]) -> Option<Takes> {
    let exact = table.iter().find(|(known, _)| *known == name);
    let begun = table.iter().filter(|(known, _)| !name.is_empty() && known.starts_with(name));
    exact.or_else(|| begun.max_by_key(|(_, takes)| takes.rank())).map(|(_, takes)| *takes)
}
