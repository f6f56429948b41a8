//! What others see of this process's command line.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;

/// Puts `word` in the place of the last argument, which must be as long: in `ps`, and for
/// `std::env::args` too.
///
/// # Errors
/// When its length is another, or `/proc` does not let this process write to its own memory.
pub fn set_last_argument(word: &str) -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name, in brackets, may hold spaces; after it comes field 3 (proc(5)).
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    // Fields 48 and 49, `arg_start` and `arg_end`: the arguments, each ended by a 0.
    let mut bounds = fields.split_ascii_whitespace().skip(45).map(str::parse::<u64>);
    let (Some(Ok(begin)), Some(Ok(end))) = (bounds.next(), bounds.next()) else {
        return Err(io::Error::other("/proc/self/stat does not say where the arguments are"));
    };
    let line = fs::read("/proc/self/cmdline")?;
    let last = line.strip_suffix(b"\0").and_then(|line| line.rsplit(|byte| *byte == 0).next());
    let at = end.checked_sub(word.len() as u64 + 1).filter(|at| *at >= begin);
    match (last, at) {
        (Some(last), Some(at)) if last.len() == word.len() => {
            OpenOptions::new().write(true).open("/proc/self/mem")?.write_all_at(word.as_bytes(), at)
        }
        _ => Err(io::Error::other("the last argument is not as long as what is to replace it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_argument_is_shown_as_another() {
        let before = fs::read("/proc/self/cmdline").unwrap();
        let last = std::env::args().next_back().unwrap();
        assert!(set_last_argument(&format!("{last}x")).is_err());
        let other = "x".repeat(last.len());
        set_last_argument(&other).unwrap();
        let after = fs::read("/proc/self/cmdline").unwrap();
        assert_eq!(after[..after.len() - 1 - last.len()], before[..before.len() - 1 - last.len()]);
        assert!(
            after.ends_with(format!("\0{other}\0").as_bytes())
                || after == format!("{other}\0").as_bytes()
        );
        set_last_argument(&last).unwrap();
        assert_eq!(fs::read("/proc/self/cmdline").unwrap(), before);
    }
}
