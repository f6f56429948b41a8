//! What a test leaves out.

use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::{Context, Result};

/// Writes down that `what` was not tried, and why: for the last line of the run, if
/// `integration/test.sh` runs it (`LACRE_NOT_RUN`). A test that only returns has passed, and
/// nobody would know.
///
/// # Errors
/// When that file can't be written.
pub fn not_run(what: &str, why: &str) -> Result<()> {
    let line = format!("{what} ({why})\n");
    eprint!("not run: {line}");
    let Some(path) = std::env::var_os("LACRE_NOT_RUN") else {
        return Ok(());
    };
    let file = OpenOptions::new().append(true).create(true).open(&path);
    // In one piece: other tests write to it too.
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .with_context(|| format!("writing to {}, for the last line of the run", path.display()))
}
