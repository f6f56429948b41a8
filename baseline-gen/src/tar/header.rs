//! One header block of a tar, field by field, as Go's `archive/tar` takes it: what containerd
//! unpacks, and what it refuses, is decided there.

/// The size of a header, and what content is padded to.
pub(super) const BLOCK: usize = 512;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    /// A hard link.
    Link,
    Char,
    Block,
    Fifo,
    /// PAX records for all that follows; they count for nothing, and the name does.
    Global,
    /// The flag of a type that containerd does not unpack.
    Unknown(u8),
}

impl Kind {
    /// `slash`: whether the name ends in one, by which the oldest tars mark a directory.
    pub(super) const fn of(flag: u8, slash: bool) -> Self {
        match flag {
            0 if slash => Self::Directory,
            0 | b'0' => Self::File,
            b'1' => Self::Link,
            b'2' => Self::Symlink,
            b'3' => Self::Char,
            b'4' => Self::Block,
            b'5' => Self::Directory,
            b'6' => Self::Fifo,
            b'g' => Self::Global,
            flag => Self::Unknown(flag),
        }
    }

    /// Whether content follows the header, if its size says so.
    pub(super) const fn has_content(self) -> bool {
        matches!(self, Self::File | Self::Global | Self::Unknown(_))
    }
}

#[derive(Debug)]
pub(super) struct Header {
    pub(super) flag: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: i64,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    /// Major and minor number.
    pub(super) device: (i64, i64),
    /// Of a sparse file of GNU's old type: its size, and the map's first part.
    pub(super) sparse: Option<(i64, OldMap)>,
}

/// By magic, version and trailer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl Header {
    /// What the block says, or what is wrong with it.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, String> {
        if !checksum_fits(block) {
            return Err("the checksum of a header does not match".to_owned());
        }
        let number = |what: &str, at: usize, len: usize| {
            numeric(&block[at..at + len]).ok_or_else(|| format!("a {what} is not a number"))
        };
        let mut header = Self {
            flag: block[156],
            name: text(&block[..100]).to_vec(),
            link: text(&block[157..257]).to_vec(),
            size: number("size", 124, 12)?,
            mode: number("mode", 100, 8)?,
            uid: number("user id", 108, 8)?,
            gid: number("group id", 116, 8)?,
            device: (0, 0),
            sparse: None,
        };
        number("time", 136, 12)?;
        let format = format_of(block);
        if header.flag == b'S' {
            // Others have the same flag for another form.
            if format != Format::Gnu {
                return Err("a sparse file has no header of GNU's".to_owned());
            }
            header.sparse = Some((number("size", 483, 12)?, OldMap::of(&block[386..483])?));
        }
        if format == Format::V7 {
            return Ok(header);
        }
        header.device = (number("device number", 329, 8)?, number("device number", 337, 8)?);
        let prefix = match format {
            Format::V7 => &[][..],
            Format::Ustar => text(&block[345..500]),
            Format::Star => {
                number("time", 476, 12)?;
                number("time", 488, 12)?;
                text(&block[345..476])
            }
            Format::Gnu => gnu_prefix(block),
        };
        if !prefix.is_empty() {
            header.name = [prefix, b"/", &header.name].concat();
        }
        Ok(header)
    }
}

/// A part of the map of a sparse file of GNU's old type.
#[derive(Debug)]
pub(super) struct OldMap {
    /// Offsets and lengths.
    pub(super) regions: Vec<(i64, i64)>,
    /// Whether another block of them follows.
    pub(super) more: bool,
}

impl OldMap {
    /// So many entries, and a byte that is not 0 where more follow.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, String> {
        let mut regions = Vec::new();
        let (entries, rest) = bytes.as_chunks::<24>();
        for entry in entries {
            if entry[0] == 0 {
                break;
            }
            let region = numeric(&entry[..12]).zip(numeric(&entry[12..]));
            regions.push(region.ok_or("the map of a sparse file is broken")?);
        }
        Ok(Self { regions, more: rest.first().is_some_and(|more| *more != 0) })
    }
}

/// The GNU format has times where others have a prefix. Go before 1.8 wrote a prefix there
/// all the same: it is one where the times are no numbers.
fn gnu_prefix(block: &[u8; BLOCK]) -> &[u8] {
    let is_time = |at: usize| block[at] == 0 || numeric(&block[at..at + 12]).is_some();
    let prefix = text(&block[345..500]);
    if (is_time(345) && is_time(357)) || !prefix.is_ascii() { &[] } else { prefix }
}

fn format_of(block: &[u8; BLOCK]) -> Format {
    match &block[257..263] {
        b"ustar\0" if &block[508..] == b"tar\0" => Format::Star,
        b"ustar\0" => Format::Ustar,
        b"ustar " if &block[263..265] == b" \0" => Format::Gnu,
        _ => Format::V7,
    }
}

/// The sum counts its own field as spaces; old writers summed the bytes as signed ones.
fn checksum_fits(block: &[u8; BLOCK]) -> bool {
    let (mut unsigned, mut signed) = (0, 0);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    octal(&block[148..156]).is_some_and(|told| told == unsigned || told == signed)
}

/// Up to the first NUL.
pub(super) fn text(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// Base 256 where the highest bit is set: two's complement, big-endian, the bit not counted.
fn numeric(field: &[u8]) -> Option<i64> {
    let Some((first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) else {
        return octal(field);
    };
    let inverted = if first & 0x40 != 0 { 0xff } else { 0 };
    let mut value = u64::from((first ^ inverted) & 0x7f);
    for byte in rest {
        if value >> 56 > 0 {
            return None;
        }
        value = value << 8 | u64::from(byte ^ inverted);
    }
    let value = i64::try_from(value).ok()?;
    Some(if inverted == 0 { value } else { !value })
}

/// Octal digits among blanks and NULs; nothing is 0.
fn octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !blank(byte)) else { return Some(0) };
    let end = field.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    let mut value: u64 = 0;
    for digit in text(&field[start..end]) {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value = value.checked_mul(8)?.checked_add(digit.into())?;
    }
    Some(value.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_go() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b" 644   \0", Some(0o644)),
            (b"12\0 34  ", Some(0o12)),
            (b"        ", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"-1      ", None),
            (b"+1      ", None),
            (b"0o17    ", None),
            (b"89      ", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\0", Some(-256)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"777777777777", Some(0o777_777_777_777)),
        ] {
            assert_eq!(numeric(field), value, "{}", lacre_types::escape(field));
        }
    }
}
