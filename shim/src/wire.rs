//! Protocol buffers, as bytes: reads fields where they stand, and replaces one without
//! touching the others, unknown ones included.
//!
//! Generated types would reorder what they know and what they don't; a wrapper hands on
//! what it was given. (Encoding: protobuf.dev, "Encoding".)

use std::borrow::Cow;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Integers, booleans and enums.
    Varint(u64),
    /// `fixed64`, `double`.
    Fixed64([u8; 8]),
    /// Strings, bytes and messages.
    Bytes(&'a [u8]),
    /// `fixed32`, `float`.
    Fixed32([u8; 4]),
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// What it holds.
    pub value: Value<'a>,
    /// The whole of it as it came, tag included.
    pub raw: &'a [u8],
}

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It ends within a field.
    #[error("the message ends within a field")]
    Truncated,
    /// A varint has more than 64 bits.
    #[error("a number has more than 64 bits")]
    Overlong,
    /// A tag has a number or a type that does not exist.
    #[error("tag {0:#x} is not one of proto3")]
    Tag(u64),
    /// A field has another type than the protocol says.
    #[error("field {0} has the wrong type")]
    Type(u32),
    /// A string is not UTF-8.
    #[error("field {0} is not UTF-8")]
    Utf8(u32),
}

impl<'a> Field<'a> {
    /// Its bytes.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::Type(self.number)),
        }
    }

    /// Its text.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn text(&self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Utf8(self.number))
    }

    /// Its number.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn uint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(WireError::Type(self.number)),
        }
    }

    /// Its number, as the 32 bits that a `uint32`, `int32` or enum keeps of it.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn uint32(&self) -> Result<u32, WireError> {
        self.uint().map(|value| (value & u64::from(u32::MAX)) as u32)
    }
}

/// The fields of a message, in order. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// Reads a message.
#[must_use]
pub const fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], WireError> {
        let count = usize::try_from(count).map_err(|_| WireError::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for (at, byte) in self.rest.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 || at > 9 {
                return Err(WireError::Overlong);
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(WireError::Truncated)
    }

    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let start = self.rest;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| WireError::Tag(tag))?;
        // The greatest number is 2^29 - 1; groups (types 3 and 4) ended with proto2.
        if number == 0 || number >= 1 << 29 {
            return Err(WireError::Tag(tag));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.array()?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(self.array()?),
            _ => return Err(WireError::Tag(tag)),
        };
        let raw = &start[..start.len() - self.rest.len()];
        Ok(Field { number, value, raw })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn put_raw_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number, unless it is 0, which proto3 leaves out.
pub fn put_uint(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_raw_varint(out, u64::from(number) << 3);
        put_raw_varint(out, value);
    }
}

/// Appends bytes or a message, also when empty.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_raw_varint(out, u64::from(number) << 3 | 2);
    put_raw_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a text, unless it is empty, which proto3 leaves out.
pub fn put_text(out: &mut Vec<u8>, number: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, number, text.as_bytes());
    }
}

/// The message that `number` of `message` holds. One that comes in pieces is what they are
/// together, fields of the first ones included (protobuf.dev, "Encoding", "Last One Wins"):
/// who looks at one piece sees less than who is handed all.
///
/// # Errors
/// When it is not a message, or the field holds something else.
pub fn embedded(message: &[u8], number: u32) -> Result<Option<Cow<'_, [u8]>>, WireError> {
    let mut whole: Option<Cow<'_, [u8]>> = None;
    for field in fields(message) {
        let field = field?;
        if field.number == number {
            let piece = field.bytes()?;
            match &mut whole {
                None => whole = Some(Cow::Borrowed(piece)),
                Some(whole) => whole.to_mut().extend_from_slice(piece),
            }
        }
    }
    Ok(whole)
}

/// A copy of `message` in which `number` holds `bytes`, or is absent; everything else is
/// as it came.
///
/// # Errors
/// When it is not a message.
pub fn replace_bytes(
    message: &[u8],
    number: u32,
    bytes: Option<&[u8]>,
) -> Result<Vec<u8>, WireError> {
    replace(message, number, |out| {
        if let Some(bytes) = bytes {
            put_bytes(out, number, bytes);
        }
    })
}

/// A copy of `message` in which `number` holds `value`; everything else is as it came.
///
/// # Errors
/// When it is not a message.
pub fn replace_uint(message: &[u8], number: u32, value: u64) -> Result<Vec<u8>, WireError> {
    replace(message, number, |out| put_uint(out, number, value))
}

fn replace(message: &[u8], number: u32, put: impl Fn(&mut Vec<u8>)) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(message.len());
    let mut done = false;
    for field in fields(message) {
        let field = field?;
        if field.number != number {
            out.extend_from_slice(field.raw);
        } else if !done {
            put(&mut out);
            done = true;
        }
    }
    if !done {
        put(&mut out);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message() -> impl Strategy<Value = Vec<(u32, Result<u64, Vec<u8>>)>> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..40);
        let value = prop_oneof![any::<u64>().prop_map(Ok), bytes.prop_map(Err)];
        proptest::collection::vec((1u32..1 << 29, value), 0..12)
    }

    fn encode(fields: &[(u32, Result<u64, Vec<u8>>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, value) in fields {
            match value {
                Ok(value) => put_uint(&mut out, *number, *value),
                Err(bytes) => put_bytes(&mut out, *number, bytes),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(wrote in message()) {
            let bytes = encode(&wrote);
            let read: Vec<_> = fields(&bytes).map(Result::unwrap).collect();
            let wrote: Vec<_> = wrote.into_iter().filter(|(_, v)| *v != Ok(0)).collect();
            prop_assert_eq!(read.len(), wrote.len());
            for (read, (number, value)) in read.iter().zip(&wrote) {
                prop_assert_eq!(read.number, *number);
                match value {
                    Ok(value) => prop_assert_eq!(read.uint(), Ok(*value)),
                    Err(bytes) => prop_assert_eq!(read.bytes(), Ok(&bytes[..])),
                }
            }
            prop_assert_eq!(read.iter().map(|f| f.raw).collect::<Vec<_>>().concat(), bytes);
        }

        #[test]
        fn replacing_touches_nothing_else(wrote in message(), number in 1u32..20, new: Vec<u8>) {
            let bytes = encode(&wrote);
            let out = replace_bytes(&bytes, number, Some(&new)).unwrap();
            let held: Vec<_> =
                fields(&out).map(Result::unwrap).filter(|f| f.number == number).collect();
            prop_assert_eq!(held.len(), 1);
            prop_assert_eq!(held[0].bytes(), Ok(&new[..]));
            let others = |bytes| -> Vec<u8> {
                fields(bytes).map(Result::unwrap).filter(|f| f.number != number)
                    .flat_map(|f| f.raw.to_vec()).collect()
            };
            prop_assert_eq!(others(&out), others(&bytes));
        }

        #[test]
        fn no_bytes_make_it_panic_or_run_on(bytes: Vec<u8>) {
            prop_assert!(fields(&bytes).count() <= bytes.len());
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        let mut bytes = vec![0x08];
        bytes.extend([0xff; 9]);
        bytes.push(0x02);
        assert_eq!(fields(&bytes).next(), Some(Err(WireError::Overlong)));
        assert_eq!(fields(&[0x0b]).next(), Some(Err(WireError::Tag(0x0b))));
        assert_eq!(fields(&[0x0a, 5, 1]).next(), Some(Err(WireError::Truncated)));
    }
}
