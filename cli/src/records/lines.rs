//! Lines of a file that grows, is cut short, or is anything else.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};

/// A record has at most 128 KiB, and a server's words before it some hundreds of bytes. What is
/// longer is no record, and is passed over.
const LINE_MAX: usize = 256 << 10;

/// What there is next.
pub(crate) enum Next<'a> {
    /// A line, with its line feed.
    Whole(&'a [u8]),
    /// A line that is longer than any record, or has no end and is not waited for.
    NoRecord,
    /// Nothing more for now.
    End,
}

/// The lines of one file, of which no more than one is in memory.
pub(crate) struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
    /// What is read up to the next line feed belongs to a line that is too long.
    skips: bool,
    /// The last call has handed it out.
    given: bool,
}

impl Lines {
    pub(crate) fn of(file: File) -> Self {
        let file = BufReader::with_capacity(128 << 10, file);
        Self { file, line: Vec::new(), skips: false, given: false }
    }

    /// The next line. Half a line at the end is waited for where the file `grows`.
    pub(crate) fn next(&mut self, grows: bool) -> io::Result<Next<'_>> {
        if std::mem::take(&mut self.given) {
            self.line.clear();
        }
        loop {
            if self.skips {
                let ended = skip(&mut self.file)?;
                self.skips = !ended;
                return Ok(if ended { Next::NoRecord } else { Next::End });
            }
            let room = (LINE_MAX - self.line.len()) as u64;
            (&mut self.file).take(room).read_until(b'\n', &mut self.line)?;
            if self.line.last() == Some(&b'\n') {
                self.given = true;
                return Ok(Next::Whole(&self.line));
            }
            if self.line.len() >= LINE_MAX {
                self.line.clear();
                self.skips = true;
                continue;
            }
            if self.line.is_empty() || grows {
                return Ok(Next::End);
            }
            self.line.clear();
            return Ok(Next::NoRecord);
        }
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        self.file.get_ref()
    }
}

/// Up to and with the next line feed; whether there was one.
fn skip(file: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let some = file.fill_buf()?;
        if some.is_empty() {
            return Ok(false);
        }
        let end = some.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(some.len(), |end| end + 1);
        file.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn all(lines: &mut Lines, grows: bool) -> Vec<Option<String>> {
        let mut found = Vec::new();
        loop {
            match lines.next(grows).unwrap() {
                Next::Whole(line) => {
                    found.push(Some(String::from_utf8_lossy(line).trim_end().to_owned()));
                }
                Next::NoRecord => found.push(None),
                Next::End => return found,
            }
        }
    }

    #[test]
    fn half_a_line_is_waited_for_and_one_that_is_too_long_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut out = File::create(&path).unwrap();
        let mut lines = Lines::of(File::open(&path).unwrap());
        assert!(all(&mut lines, true).is_empty());
        out.write_all(b"one\ntw").unwrap();
        assert_eq!(all(&mut lines, true), [Some("one".to_owned())]);
        out.write_all(b"o\n").unwrap();
        assert_eq!(all(&mut lines, true), [Some("two".to_owned())]);
        out.write_all(&vec![b'x'; LINE_MAX + 5]).unwrap();
        assert!(all(&mut lines, true).is_empty());
        out.write_all(b"x\nthree\nfour").unwrap();
        assert_eq!(all(&mut lines, true), [None, Some("three".to_owned())]);
        assert_eq!(all(&mut lines, false), [None], "and it is cut short");
    }
}
