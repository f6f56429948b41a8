use std::io::{self, Read as _};

/// What containerd writes on standard input, at most so many bytes; nothing where a person runs
/// this, since nobody would close it.
pub(super) fn read(most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let stdin = io::stdin();
    if !rustix::termios::isatty(&stdin) {
        stdin.lock().take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
