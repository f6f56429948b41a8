//! The members of a tar, one by one, in bounded memory: the `tar` crate's own reader takes
//! long names and PAX records of any length into memory, and splits records at line feeds.

use std::io::{self, Read, Seek};

use lacre_types::escape;
use tar::{EntryType, Header};

/// The most bytes of a long name or of one member's PAX records (attributes included).
const EXTENSION: u64 = 1 << 20;

/// A PAX record: key and value.
type Record = (Vec<u8>, Vec<u8>);

/// Why a tar can't be read on.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The stream beneath failed.
    Read(io::Error),
    /// The tar is broken.
    Tar { at: u64, fault: String },
}

/// What one member says of itself.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) device: (u32, u32),
    /// `trusted.overlay.opaque=y`, which unpacking sets on the directory.
    pub(crate) opaque: bool,
    /// `trusted.overlay.whiteout`, on an empty file.
    pub(crate) whiteout: bool,
}

pub(crate) struct Members<R> {
    from: R,
    /// The offset of the next byte.
    at: u64,
    /// Of the present member: bytes not yet read, and its padding.
    left: u64,
    padding: u64,
    seek: Option<fn(&mut R, i64) -> io::Result<()>>,
}

impl<R: Read + Seek> Members<R> {
    /// Passes over content by seeking; a tar that ends within a member is then not noticed.
    pub(crate) fn seeking(from: R) -> Self {
        Self { seek: Some(R::seek_relative), ..Self::new(from) }
    }
}

impl<R: Read> Members<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, at: 0, left: 0, padding: 0, seek: None }
    }

    /// The offset of the next byte: of a member's content, once it was told.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn fault(&self, fault: impl Into<String>) -> Fault {
        Fault::Tar { at: self.at, fault: fault.into() }
    }

    /// The next member; `None` at the end mark, or where the stream ends between members.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, Fault> {
        let mut long_name = None;
        let mut long_link = None;
        let mut pax = Vec::new();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let kind = header.entry_type();
            let size = header.entry_size().map_err(|_| self.fault("a size is not a number"))?;
            self.begin(size)?;
            match kind {
                EntryType::GNULongName => long_name = Some(self.text()?),
                EntryType::GNULongLink => long_link = Some(self.text()?),
                EntryType::XHeader => pax = self.records()?,
                EntryType::XGlobalHeader => {}
                _ => return self.member(&header, size, long_name, long_link, pax).map(Some),
            }
        }
    }

    fn member(
        &mut self,
        header: &Header,
        size: u64,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        pax: Vec<Record>,
    ) -> Result<Member, Fault> {
        let mut member = Member {
            path: long_name.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: long_link
                .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
                .unwrap_or_default(),
            kind: header.entry_type(),
            mode: header.mode().map_err(|_| self.fault("a mode is not a number"))?,
            size,
            device: (0, 0),
            opaque: false,
            whiteout: false,
        };
        for (key, value) in pax {
            match key.as_slice() {
                b"path" => member.path = value,
                b"linkpath" => member.link = value,
                b"size" => {
                    let text = std::str::from_utf8(&value).ok();
                    member.size = text
                        .and_then(|text| text.parse().ok())
                        .ok_or_else(|| self.fault("a PAX size is not a number"))?;
                }
                b"SCHILY.xattr.trusted.overlay.opaque" => member.opaque = value == b"y",
                b"SCHILY.xattr.trusted.overlay.whiteout" => member.whiteout = true,
                b"SCHILY.xattr.trusted.overlay.redirect" => {
                    let path = escape(&member.path);
                    return Err(self.fault(format!("{path} carries an overlayfs redirect")));
                }
                key if key.starts_with(b"GNU.sparse.") => return Err(self.sparse(&member)),
                _ => {}
            }
        }
        match member.kind {
            EntryType::GNUSparse => return Err(self.sparse(&member)),
            // Version 7 tars mark a directory by its name alone.
            EntryType::Regular if member.path.ends_with(b"/") => {
                member.kind = EntryType::Directory;
            }
            EntryType::Char | EntryType::Block => {
                let number = |half: io::Result<Option<u32>>| half.ok().flatten();
                member.device = number(header.device_major())
                    .zip(number(header.device_minor()))
                    .ok_or_else(|| self.fault("a device number is not a number"))?;
            }
            _ => {}
        }
        if [&member.path, &member.link].into_iter().any(|name| name.contains(&0)) {
            return Err(self.fault("a name holds a NUL byte"));
        }
        self.begin(if has_content(member.kind) { member.size } else { size })?;
        Ok(member)
    }

    fn sparse(&self, member: &Member) -> Fault {
        self.fault(format!(
            "{} is stored as a sparse file, which lacre does not read; pack the layer without",
            escape(&member.path)
        ))
    }

    fn begin(&mut self, size: u64) -> Result<(), Fault> {
        let padding = size.wrapping_neg() % 512;
        if size.checked_add(padding).is_none_or(|all| all > i64::MAX as u64) {
            return Err(self.fault(format!("a member claims {size} bytes")));
        }
        (self.left, self.padding) = (size, padding);
        Ok(())
    }

    /// Bytes of the present member; 0 at its end.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        let most = usize::try_from(self.left).map_or(into.len(), |left| left.min(into.len()));
        if most == 0 {
            return Ok(0);
        }
        let len = self.some(most, into)?;
        if len == 0 {
            return Err(self.fault("it ends within a member"));
        }
        self.left -= len as u64;
        Ok(len)
    }

    fn some(&mut self, most: usize, into: &mut [u8]) -> Result<usize, Fault> {
        loop {
            match self.from.read(&mut into[..most]) {
                Ok(len) => {
                    self.at += len as u64;
                    return Ok(len);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Read(error)),
            }
        }
    }

    fn skip(&mut self) -> Result<(), Fault> {
        let padding = std::mem::take(&mut self.padding);
        if let Some(seek) = self.seek {
            let len = self.left + padding;
            seek(&mut self.from, len.cast_signed()).map_err(Fault::Read)?;
            self.at += len;
            self.left = 0;
            return Ok(());
        }
        let mut sink = [0; 16 << 10];
        while self.read(&mut sink)? > 0 {}
        // Some builders leave the last padding and the end mark out; Go reads such a tar.
        let mut missing = usize::try_from(padding).unwrap_or_default();
        while missing > 0 {
            match self.some(missing, &mut sink)? {
                0 => return Ok(()),
                len => missing -= len,
            }
        }
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, Fault> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            let mut second = [0; 512];
            if self.block(&mut second)? && second.iter().any(|byte| *byte != 0) {
                return Err(self.fault("something follows a block of zeros"));
            }
            return Ok(None);
        }
        // The checksum counts its own field as spaces.
        let sum: u32 = header
            .as_bytes()
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        match header.cksum() {
            Ok(told) if told == sum => Ok(Some(header)),
            _ => Err(self.fault("the checksum of a header does not match")),
        }
    }

    /// Fills a block; `false` where the stream ends before it.
    fn block(&mut self, block: &mut [u8; 512]) -> Result<bool, Fault> {
        let mut have = 0;
        while have < block.len() {
            let most = block.len() - have;
            match self.some(most, &mut block[have..])? {
                0 if have == 0 => return Ok(false),
                0 => return Err(self.fault("it ends within a header")),
                len => have += len,
            }
        }
        Ok(true)
    }

    fn extension(&mut self) -> Result<Vec<u8>, Fault> {
        if self.left > EXTENSION {
            let left = self.left;
            return Err(self.fault(format!("a name or its attributes take {left} bytes")));
        }
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        loop {
            match self.read(&mut part)? {
                0 => return Ok(bytes),
                len => bytes.extend_from_slice(&part[..len]),
            }
        }
    }

    fn text(&mut self) -> Result<Vec<u8>, Fault> {
        let mut text = self.extension()?;
        if let Some(end) = text.iter().position(|byte| *byte == 0) {
            text.truncate(end);
        }
        Ok(text)
    }

    fn records(&mut self) -> Result<Vec<Record>, Fault> {
        let bytes = self.extension()?;
        pax_records(&bytes).ok_or_else(|| self.fault("its PAX records are broken"))
    }
}

fn has_content(kind: EntryType) -> bool {
    kind.is_file() || kind.is_contiguous()
}

/// `LENGTH KEY=VALUE\n`, the length in decimal and of the whole record (pax(1)).
fn pax_records(mut bytes: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
        let len: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        let (record, rest) = bytes.split_at_checked(len)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = rest;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pax_value_may_hold_line_feeds() {
        let records = pax_records(b"13 path=a\nb/\n9 size=7\n").unwrap();
        assert_eq!(records[0], (b"path".to_vec(), b"a\nb/".to_vec()));
        assert_eq!(records[1], (b"size".to_vec(), b"7".to_vec()));
    }

    #[test]
    fn broken_pax_records_are_refused() {
        for bytes in [&b"x"[..], b"99 a=b\n", b"0 a=b\n", b"5 a=b\n", b"7 path\n", b"2 a=b\n"] {
            assert_eq!(pax_records(bytes), None, "{}", escape(bytes));
        }
    }
}
