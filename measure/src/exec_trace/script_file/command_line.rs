//! What /proc tells of a process that lives.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::held_process::Held;

/// The longest command line that is read: one that is longer hides its script on purpose.
const COMMAND: u64 = 2 << 20;

pub(super) fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(COMMAND).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// All of the arguments; `None` where they are not all there.
pub(super) fn command_line(process: &Held) -> Option<Vec<Vec<u8>>> {
    let bytes = read(&process.proc("cmdline")).filter(|bytes| (bytes.len() as u64) < COMMAND)?;
    let mut argv: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    argv.pop();
    (!argv.is_empty() && process.lives()).then_some(argv)
}
