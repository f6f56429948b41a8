//! DER, as far as certificates need it (X.690). Lengths must be exact; how an integer or a
//! string is written inside is not looked at, since makers' certificates have it wrong.

use std::ops::Range;

/// Bytes that are no DER of the form that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Odd;

/// Reads values one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(&'a [u8]);

pub(super) mod tag {
    pub(crate) const BOOLEAN: u8 = 1;
    pub(crate) const INTEGER: u8 = 2;
    pub(crate) const BIT_STRING: u8 = 3;
    pub(crate) const OCTET_STRING: u8 = 4;
    pub(crate) const OID: u8 = 6;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    /// `[0]`, `[3]`, with values inside.
    pub(crate) const VERSION: u8 = 0xa0;
    pub(crate) const EXTENSIONS: u8 = 0xa3;
}

/// One value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// With its tag and its length.
    pub(super) whole: &'a [u8],
}

impl<'a> Der<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value, whatever it is.
    pub(super) fn any(&mut self) -> Result<Value<'a>, Odd> {
        let Range { start, end } = extent(self.0).ok_or(Odd)?;
        let (whole, rest) = self.0.split_at_checked(end).ok_or(Odd)?;
        self.0 = rest;
        Ok(Value { tag: whole[0], content: &whole[start..], whole })
    }

    /// The content of the next value, which has that tag.
    pub(super) fn take(&mut self, tag: u8) -> Result<&'a [u8], Odd> {
        self.any().and_then(|value| if value.tag == tag { Ok(value.content) } else { Err(Odd) })
    }

    /// The same, if the next has that tag.
    pub(super) fn take_if(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Odd> {
        match self.0.first() {
            Some(next) if *next == tag => self.take(tag).map(Some),
            _ => Ok(None),
        }
    }

    /// Goes into the next value, which has that tag.
    pub(super) fn enter(&mut self, tag: u8) -> Result<Self, Odd> {
        self.take(tag).map(Self)
    }

    /// The bytes of a bit string, all of whose bits count.
    pub(super) fn bits(&mut self) -> Result<&'a [u8], Odd> {
        match self.take(tag::BIT_STRING)?.split_first() {
            Some((0, bytes)) => Ok(bytes),
            _ => Err(Odd),
        }
    }

    /// Nothing is left.
    pub(super) const fn end(&self) -> Result<(), Odd> {
        if self.is_empty() { Ok(()) } else { Err(Odd) }
    }
}

/// Where the content of the value begins that these bytes begin with, and where it ends.
pub(super) fn extent(bytes: &[u8]) -> Option<Range<usize>> {
    let (tag, rest) = bytes.split_first()?;
    // Tags of more than a byte are in no certificate.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let digits = match first {
        0..=0x7f => return Some(2..2 + usize::from(*first)),
        0x81..=0x83 => usize::from(first & 0x7f),
        _ => return None,
    };
    let length = rest.get(..digits)?.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
    let start = 2 + digits;
    Some(start..start + length)
}

/// An integer without the zeroes before it, as each side writes them as it likes.
pub(super) fn number(bytes: &[u8]) -> &[u8] {
    let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeroes..]
}
