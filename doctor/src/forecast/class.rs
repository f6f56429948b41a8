//! Classes of attacks, by what sees them and not by what they do.

use serde::Serialize;

/// A class of attacks: those of which the same becomes, whatever the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// A program that did not come with the image, or was changed, on the container's own mounts;
    /// its loader or its interpreter.
    Program,
    /// The same on a mount that only a namespace of the attacker's own has.
    ProgramElsewhere,
    /// A program in memory.
    Memfd,
    /// A library that a loader loads, or a file that a loader is told to run.
    Library,
    /// A library whose text is read as data, or that holds nothing until it was opened.
    LibraryAtOpen,
    /// Machine code of a file that a program maps by itself.
    MappedByHand,
    /// Machine code in private memory, or written over the text of a process.
    Memory,
    /// A script that an interpreter is given.
    Script,
    /// The same by a copy of an interpreter, which no baseline has under its name.
    ScriptOfCopy,
    /// The same where fanotify does not watch: in `/proc`, on a mount of one's own.
    ScriptElsewhere,
    /// A script that is another file by the time that its interpreter opens it, or that is
    /// opened by who runs already.
    ScriptAtOpen,
    /// A file that an interpreter reads and runs, and nothing says to be code.
    Unmarked,
    /// A module that is imported from a mount of a namespace of one's own, or a pipe that is
    /// sourced.
    ModuleElsewhere,
}

impl Class {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Program,
        Self::ProgramElsewhere,
        Self::Memfd,
        Self::Library,
        Self::LibraryAtOpen,
        Self::MappedByHand,
        Self::Memory,
        Self::Script,
        Self::ScriptOfCopy,
        Self::ScriptElsewhere,
        Self::ScriptAtOpen,
        Self::Unmarked,
        Self::ModuleElsewhere,
    ];

    /// Whether it comes to run by an executable mapping of a file, as an exec is one too.
    #[must_use]
    pub const fn is_mapped_file(self) -> bool {
        match self {
            Self::Program
            | Self::ProgramElsewhere
            | Self::Memfd
            | Self::Library
            | Self::LibraryAtOpen
            | Self::MappedByHand
            // The copy is.
            | Self::ScriptOfCopy => true,
            Self::Memory
            | Self::Script
            | Self::ScriptElsewhere
            | Self::ScriptAtOpen
            | Self::Unmarked
            | Self::ModuleElsewhere => false,
        }
    }

    /// In a few words.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Program => "a foreign or changed program",
            Self::ProgramElsewhere => "a program on a mount of the attacker's own namespace",
            Self::Memfd => "a program in memory (memfd)",
            Self::Library => "a foreign library, or a file run by the loader",
            Self::LibraryAtOpen => "a library that only its open tells of",
            Self::MappedByHand => "machine code that a program maps from a file by itself",
            Self::Memory => "machine code in private memory, or written over a process's text",
            Self::Script => "a foreign script, run by an interpreter",
            Self::ScriptOfCopy => "a foreign script, run by a copy of an interpreter",
            Self::ScriptElsewhere => "a script in /proc, or on a mount of one's own namespace",
            Self::ScriptAtOpen => "a script that only its open tells of (swapped, imported)",
            Self::Unmarked => "a file that an interpreter runs, and nothing says to be code",
            Self::ModuleElsewhere => "a module on a mount of one's own namespace, or a pipe",
        }
    }
}
