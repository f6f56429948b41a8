//! The members of a tar, one by one, in bounded memory, as Go's `archive/tar` reads them:
//! containerd unpacks by it, so what it takes is taken, and what it refuses is refused.

use std::io::{self, Read, Seek};

use lacre_types::escape;

use super::header::{BLOCK, Header, Kind, OldMap, text};
use super::pax::{self, Records, decimal, value};
use super::sparse::{self, Map, Next, Regions};

/// The most bytes of a long name or of one member's PAX records (attributes included), as in
/// Go.
const EXTENSION: u64 = 1 << 20;

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
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// User and group; the kernel leaves the one that is `u32::MAX` as it was.
    pub(crate) owner: (u32, u32),
    /// Of a file: with its holes.
    pub(crate) size: u64,
    /// Whether the content has holes, and so is not in one piece.
    pub(crate) sparse: bool,
    /// As the kernel sees it.
    pub(crate) device: (u32, u32),
    /// An extended attribute that the kernel refuses to set.
    pub(crate) bad_attribute: Option<String>,
}

pub(crate) struct Members<R> {
    from: R,
    /// The offset of the next byte.
    at: u64,
    /// Of the present member: bytes not yet read, and its padding.
    left: u64,
    padding: u64,
    regions: Option<Regions>,
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
        Self { from, at: 0, left: 0, padding: 0, regions: None, seek: None }
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
        let mut long_name = Vec::new();
        let mut long_link = Vec::new();
        let mut records = Records::new();
        loop {
            if !self.skip()? {
                return Ok(None);
            }
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            self.begin(Kind::of(header.flag, false), header.size)?;
            match header.flag {
                b'L' => long_name = self.text()?,
                b'K' => long_link = self.text()?,
                b'x' => records = self.records()?,
                // It stands for itself: of its records only a name counts, and what was said
                // before it is lost.
                b'g' => {
                    let mut records = self.records()?;
                    records.retain(|key, _| key == b"path");
                    return self.member(header, &[], &[], &records).map(Some);
                }
                _ => return self.member(header, &long_name, &long_link, &records).map(Some),
            }
        }
    }

    fn member(
        &mut self,
        header: Header,
        long_name: &[u8],
        long_link: &[u8],
        records: &Records,
    ) -> Result<Member, Fault> {
        let number = |key: &[u8], own: i64| match value(records, key) {
            Some(text) => decimal(text).ok_or_else(|| {
                self.fault(format!("the PAX record `{}` is not a number", escape(key)))
            }),
            None => Ok(own),
        };
        let mut size = number(b"size", header.size)?;
        let owner = (number(b"uid", header.uid)?, number(b"gid", header.gid)?);
        for key in [&b"atime"[..], b"mtime", b"ctime"] {
            if value(records, key).is_some_and(|text| !pax::is_time(text)) {
                return Err(self.fault(format!("the PAX record `{}` is no time", escape(key))));
            }
        }
        let chosen = |long: &[u8], key: &[u8], own: Vec<u8>| match (long, value(records, key)) {
            ([], None) => own,
            ([], Some(value)) => value.to_vec(),
            (long, _) => long.to_vec(),
        };
        let mut path = chosen(long_name, b"path", header.name);
        let link = chosen(long_link, b"linkpath", header.link);
        let kind = Kind::of(header.flag, path.ends_with(b"/"));
        let mut sparse = false;
        let (mut mode, mut owner) = (low(header.mode) & 0o7777, (low(owner.0), low(owner.1)));
        if kind == Kind::Global {
            // Its records were its content, and Go tells no more than its name.
            (size, mode, owner) = (0, 0, (0, 0));
        } else {
            self.begin(kind, size)?;
            if let Some((size, map)) = header.sparse {
                self.old_sparse(size, map)?;
            } else if let Some(map) = sparse::map(records) {
                sparse = true;
                if let Some(name) = value(records, b"GNU.sparse.name") {
                    path = name.to_vec();
                }
                size = self.sparse(map, kind, size, records)?;
            }
        }
        if [&path, &link].into_iter().any(|name| name.contains(&0)) {
            return Err(self.fault("a name holds a NUL byte"));
        }
        Ok(Member {
            path,
            link,
            kind,
            mode,
            owner,
            size: size.try_into().unwrap_or_default(),
            sparse,
            device: device(header.device),
            bad_attribute: bad_attribute(records),
        })
    }

    /// Reads the map of a sparse file, and tells its size.
    fn sparse(&mut self, map: Map, kind: Kind, size: i64, records: &Records) -> Result<i64, Fault> {
        let told = value(records, b"GNU.sparse.size").or(value(records, b"GNU.sparse.realsize"));
        let broken = "the map of a sparse file is broken";
        let size = match told {
            Some(text) => decimal(text).ok_or_else(|| self.fault(broken))?,
            None => size,
        };
        let map = match map {
            Map::InRecords => sparse::in_records(records),
            Map::InContent => sparse::in_content(|| self.content_block())?,
        };
        let regions = map.and_then(|map| Regions::new(&map, size)).filter(|_| kind.has_content());
        self.regions = Some(regions.ok_or_else(|| self.fault(broken))?);
        Ok(size)
    }

    /// Reads the map of a sparse file of GNU's old type: containerd unpacks none, but where
    /// nothing would be made of one it goes on after it.
    fn old_sparse(&mut self, size: i64, map: OldMap) -> Result<(), Fault> {
        let broken = "the map of a sparse file is broken";
        let (mut regions, mut more) = (map.regions, map.more);
        while more {
            let mut block = [0; BLOCK];
            if !self.block(&mut block)? {
                return Err(self.fault("the map of a sparse file ends too early"));
            }
            let next = OldMap::of(&block[..505]).map_err(|fault| self.fault(fault))?;
            more = next.more;
            regions.extend(next.regions);
            if regions.len() > sparse::REGIONS {
                return Err(self.fault(broken));
            }
        }
        Regions::new(&regions, size).map(drop).ok_or_else(|| self.fault(broken))
    }

    fn content_block(&mut self) -> Result<[u8; BLOCK], Fault> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            match self.read(&mut block[have..])? {
                0 => return Err(self.fault("the map of a sparse file ends too early")),
                len => have += len,
            }
        }
        Ok(block)
    }

    fn begin(&mut self, kind: Kind, size: i64) -> Result<(), Fault> {
        let size = if kind.has_content() { size } else { 0 };
        let Ok(size) = u64::try_from(size) else {
            return Err(self.fault(format!("a member claims {size} bytes")));
        };
        (self.left, self.padding, self.regions) = (size, size.wrapping_neg() % BLOCK as u64, None);
        Ok(())
    }

    /// Whether the member holds as much as its map of regions says: to be asked before its
    /// content is used.
    pub(crate) fn check_content(&self) -> Result<(), Fault> {
        match &self.regions {
            Some(regions) if regions.len() != self.left => {
                Err(self.fault("a sparse file holds more or less than its map says"))
            }
            _ => Ok(()),
        }
    }

    /// Bytes of the present member, holes as zeros; 0 at its end.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        let cut = |most: u64| usize::try_from(most).map_or(into.len(), |most| most.min(into.len()));
        let most = match self.regions.as_ref().map(Regions::next) {
            None => cut(self.left),
            Some(Next::Data(most)) => cut(most.min(self.left)),
            Some(Next::End) => 0,
            Some(Next::Hole(most)) => {
                let len = cut(most);
                into[..len].fill(0);
                self.advance(len);
                return Ok(len);
            }
        };
        let len = self.dense(most, into)?;
        self.advance(len);
        Ok(len)
    }

    fn advance(&mut self, by: usize) {
        if let Some(regions) = &mut self.regions {
            regions.advance(by as u64);
        }
    }

    /// Bytes of the present member as they lie in the tar.
    fn dense(&mut self, most: usize, into: &mut [u8]) -> Result<usize, Fault> {
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

    /// Passes over what is left of a member; `false` where the stream ends in its padding.
    fn skip(&mut self) -> Result<bool, Fault> {
        let padding = std::mem::take(&mut self.padding);
        if let Some(seek) = self.seek {
            let len = self.left.saturating_add(padding);
            let by = i64::try_from(len).map_err(|_| self.fault("a member has no end"))?;
            seek(&mut self.from, by).map_err(Fault::Read)?;
            self.at += len;
            self.left = 0;
            return Ok(true);
        }
        let mut sink = [0; 16 << 10];
        while self.left > 0 {
            let most = usize::try_from(self.left).map_or(sink.len(), |left| left.min(sink.len()));
            self.dense(most, &mut sink)?;
        }
        // Some builders leave the last padding and the end mark out; Go reads such a tar.
        let mut missing = usize::try_from(padding).unwrap_or_default();
        while missing > 0 {
            match self.some(missing, &mut sink)? {
                0 => return Ok(false),
                len => missing -= len,
            }
        }
        Ok(true)
    }

    fn header(&mut self) -> Result<Option<Header>, Fault> {
        let mut block = [0; BLOCK];
        if !self.block(&mut block)? {
            return Ok(None);
        }
        if block == [0; BLOCK] {
            if self.block(&mut block)? && block != [0; BLOCK] {
                return Err(self.fault("something follows a block of zeros"));
            }
            return Ok(None);
        }
        Header::parse(&block).map(Some).map_err(|fault| self.fault(fault))
    }

    /// Fills a block; `false` where the stream ends before it.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Fault> {
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
        Ok(text(&self.extension()?).to_vec())
    }

    fn records(&mut self) -> Result<Records, Fault> {
        let bytes = self.extension()?;
        pax::records(&bytes).ok_or_else(|| self.fault("its PAX records are broken"))
    }
}

/// What a system call takes of a number.
fn low(number: i64) -> u32 {
    (number & i64::from(u32::MAX)).try_into().unwrap_or_default()
}

/// The kernel has 12 bits for a major number and 20 for a minor one.
fn device((major, minor): (i64, i64)) -> (u32, u32) {
    (low(major) & 0xfff, low(minor) & 0xf_ffff)
}

/// The first attribute that no file system takes. `trusted.*` is not set at all, and one that
/// a file system does not know is passed over.
fn bad_attribute(records: &Records) -> Option<String> {
    records.iter().find_map(|(key, value)| {
        let name = key.strip_prefix(b"SCHILY.xattr.")?;
        let bad = match name {
            _ if name.starts_with(b"trusted.") => false,
            b"" => true,
            b"security.capability" => !is_capability(value),
            name => name.len() > 255 || value.len() > 64 << 10,
        };
        bad.then(|| format!("the attribute `{}` can't be set", escape(name)))
    })
}

/// Revisions 2 and 3 (capability.h): one flag, two pairs of sets; and a root's user id. The
/// kernel does not look at a value of no bytes.
fn is_capability(value: &[u8]) -> bool {
    match value {
        [0 | 1, 0, 0, 2, ..] => value.len() == 20,
        [0 | 1, 0, 0, 3, ..] => value.len() == 24,
        value => value.is_empty(),
    }
}
