//! What a file is, by its content.

use crate::words::words;

/// What a file is to the one who would run it, told by its content first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An ELF file that can be executed: `ET_EXEC`, or `ET_DYN` with an interpreter or an entry.
    Elf,
    /// An ELF shared object, or the dynamic loader's food.
    Library,
    /// Text that an interpreter runs: by `#!`, or by a known extension.
    Script,
    /// Compiled for a virtual machine: `.pyc`, `.class`, `.jar`, …
    Bytecode,
    /// None of these, but with an execute bit.
    Executable,
}

words!(Kind, "a kind of file", {
    Elf => "elf", Library => "library", Script => "script",
    Bytecode => "bytecode", Executable => "executable",
});
