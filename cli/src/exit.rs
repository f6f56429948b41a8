//! How `lacre` ends, the same for every command.

use std::io::{self, Write as _};
use std::process::ExitCode;

/// Shown at the end of `--help`.
pub(crate) const HELP: &str = "Exit status: 0 as it should be; 1 it differs, or the answer is no; \
                               2 it could not be found out; 64 wrong usage";

/// What the caller's shell is told; of several, the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// As it should be.
    Good = 0,
    /// It differs, or the answer is no.
    Differs = 1,
    /// It could not be found out.
    Failed = 2,
    /// The command line is wrong (`EX_USAGE`, sysexits.h).
    Usage = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

/// An error with which the command line is to blame.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The reader of our output had enough (`lacre … | head`).
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(broken_pipe)
}

/// Tells what went wrong, with every cause, in one line.
pub(crate) fn tell(error: &anyhow::Error) -> Exit {
    if is_broken_pipe(error) {
        return Exit::Good;
    }
    let _ = writeln!(io::stderr(), "lacre: {error:#}");
    if error.is::<Usage>() { Exit::Usage } else { Exit::Failed }
}
