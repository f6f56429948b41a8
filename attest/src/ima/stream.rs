//! A measurement list read entry by entry, of bytes or of text, however much comes at a time.

use lacre_types::Algorithm;
use serde::{Deserialize, Serialize};

use super::ascii::Ascii;
use super::binary::{self, Endian};
use super::entry::{Entry, EntryError, MAX_DATA, MAX_NAME};

/// A line of text may have each byte of template data as two digits.
const MAX_LINE: usize = 2 * MAX_DATA + 4096;
/// What comes before the template data in a binary entry, at its longest.
const MAX_HEAD: usize = 4 + 64 + 4 + MAX_NAME + 4;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `binary_runtime_measurements`.
    Binary,
    /// `ascii_runtime_measurements`.
    Ascii,
}

/// A list that is not what the kernel writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the list, at byte {offset} of what was given, is no entry")]
pub struct LogError {
    /// The number of the entry, from 0.
    pub line: u64,
    /// Where it begins.
    pub offset: u64,
    /// What is wrong with it.
    #[source]
    pub source: EntryError,
}

/// A list, taken in pieces.
#[derive(Debug)]
pub struct Stream {
    form: Form,
    digests: Algorithm,
    endian: Option<Endian>,
    /// The beginning of an entry whose end is still to come: at most one entry long.
    carry: Vec<u8>,
    ascii: Ascii,
    line: u64,
    offset: u64,
}

impl Stream {
    /// A list from its first byte. `digests` is the algorithm of its template digests,
    /// SHA-1 unless the file's name ends in another.
    #[must_use]
    pub fn new(form: Form, digests: Algorithm) -> Self {
        Self {
            form,
            digests,
            endian: None,
            carry: Vec::new(),
            ascii: Ascii::default(),
            line: 0,
            offset: 0,
        }
    }

    /// Takes the next bytes, and hands over each entry that is now whole, with its number.
    ///
    /// # Errors
    /// When something in them is no entry; the stream is then at its end.
    pub fn feed<F>(&mut self, bytes: &[u8], mut each: F) -> Result<(), LogError>
    where
        F: FnMut(u64, &Entry<'_>),
    {
        let mut carry = std::mem::take(&mut self.carry);
        if carry.is_empty() {
            let used = self.entries(bytes, &mut each)?;
            carry.extend_from_slice(&bytes[used..]);
        } else {
            carry.extend_from_slice(bytes);
            let used = self.entries(&carry, &mut each)?;
            carry.drain(..used);
        }
        let max = match self.form {
            Form::Binary => MAX_HEAD + MAX_DATA,
            Form::Ascii => MAX_LINE,
        };
        if carry.len() > max {
            let len = carry.len();
            return Err(self.error(EntryError::Length { what: "text", len, max }));
        }
        self.carry = carry;
        Ok(())
    }

    /// The end of the list.
    ///
    /// # Errors
    /// When it comes within an entry.
    pub fn finish(&self) -> Result<(), LogError> {
        if self.carry.is_empty() { Ok(()) } else { Err(self.error(EntryError::Cut)) }
    }

    /// How many entries it has handed over.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.line
    }

    fn error(&self, source: EntryError) -> LogError {
        LogError { line: self.line, offset: self.offset, source }
    }

    fn entries<F>(&mut self, bytes: &[u8], each: &mut F) -> Result<usize, LogError>
    where
        F: FnMut(u64, &Entry<'_>),
    {
        match self.form {
            Form::Binary => self.binary(bytes, each),
            Form::Ascii => self.ascii(bytes, each),
        }
    }

    fn binary<F>(&mut self, bytes: &[u8], each: &mut F) -> Result<usize, LogError>
    where
        F: FnMut(u64, &Entry<'_>),
    {
        let Some(endian) = self.endian.or_else(|| Endian::of_list(bytes)) else { return Ok(0) };
        self.endian = Some(endian);
        let mut used = 0;
        while let Some((entry, len)) =
            binary::next(&bytes[used..], self.digests, endian).map_err(|e| self.error(e))?
        {
            each(self.line, &entry);
            used += len;
            self.line += 1;
            self.offset += len as u64;
        }
        Ok(used)
    }

    fn ascii<F>(&mut self, bytes: &[u8], each: &mut F) -> Result<usize, LogError>
    where
        F: FnMut(u64, &Entry<'_>),
    {
        let mut used = 0;
        while let Some(end) = bytes[used..].iter().position(|byte| *byte == b'\n') {
            let (line, offset) = (self.line, self.offset);
            let error = |source| LogError { line, offset, source };
            let entry = self.ascii.line(&bytes[used..used + end]).map_err(error)?;
            if entry.logged.len() != self.digests.len() {
                return Err(error(EntryError::Text("template digest")));
            }
            each(line, &entry);
            used += end + 1;
            self.line += 1;
            self.offset += end as u64 + 1;
        }
        Ok(used)
    }
}
