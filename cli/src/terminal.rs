//! The terminal that standard output is, if it is one.

use std::io::{self, IsTerminal as _};

/// Its size, columns and rows; none where standard output is no terminal, or does not tell.
pub(crate) fn size() -> Option<(usize, usize)> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    let told = size.ws_col > 0 && size.ws_row > 0;
    told.then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// A text in lines of at most so many columns, of which those after the first are indented. What
/// is shown here is printable ASCII: a column is a byte, whatever has been read.
pub(crate) fn wrap(text: &str, columns: usize, indent: &str) -> String {
    let room = columns.saturating_sub(indent.len()).max(8);
    let mut out = String::new();
    let (mut rest, mut first) = (text, true);
    while !rest.is_empty() {
        let prefix = if first { "" } else { indent };
        let limit = if first { columns.max(8) } else { room };
        let mut end = rest.floor_char_boundary(limit.min(rest.len()));
        if end < rest.len()
            && let Some(space) = rest[..end].rfind(' ').filter(|at| *at > limit / 3)
        {
            end = space;
        }
        out.push_str(prefix);
        out.push_str(rest[..end].trim_end());
        out.push('\n');
        rest = rest[end..].trim_start();
        first = false;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_broken_at_spaces_and_else_where_it_must() {
        assert_eq!(wrap("one two three four", 10, "  "), "one two\n  three\n  four\n");
        let path = wrap("/a/very/long/path/without/any/space", 12, "  ");
        assert!(path.lines().all(|line| line.len() <= 12), "{path}");
        assert_eq!(path.replace("\n  ", "").trim_end(), "/a/very/long/path/without/any/space");
        assert_eq!(wrap("", 10, ""), "");
    }
}
