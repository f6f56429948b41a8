//! One header block of a tar, with every field written in the ways that writers have.

use crate::random::Random;

/// What a header says; the rest is drawn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Header {
    pub(crate) flag: u8,
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) mode: u64,
    pub(crate) device: (u64, u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Gnu,
    Star,
}

impl Header {
    pub(crate) fn block(&self, random: &mut Random) -> Vec<u8> {
        let format =
            [Format::Ustar, Format::Gnu, Format::V7, Format::Star][random.weighted(&[6, 4, 1, 1])];
        let mut block = vec![0; 512];
        let (prefix, name) = self.name_fields(format, random);
        put(&mut block, 0, 100, &name);
        put(&mut block, 157, 100, &self.link);
        block[156] = self.flag;
        field(&mut block, 100, 8, self.mode, random);
        for at in [108, 116] {
            let id = [0, 0, 0, 1000, 65534, 0x7fff_ffff, 0xffff_ffff, 1 << 32];
            field(&mut block, at, 8, id[random.weighted(&[8, 4, 2, 4, 2, 1, 1, 1])], random);
        }
        field(&mut block, 124, 12, self.size, random);
        field(&mut block, 136, 12, [0, 1_700_000_000, 1 << 40][random.below(3)], random);
        if format != Format::V7 {
            let magic: &[u8] = if format == Format::Gnu { b"ustar  \0" } else { b"ustar\x0000" };
            put(&mut block, 257, 8, magic);
            put(&mut block, 265, 32, b"root");
            put(&mut block, 297, 32, b"wheel");
            if self.device != (0, 0) || random.once_in(2) {
                field(&mut block, 329, 8, self.device.0, random);
                field(&mut block, 337, 8, self.device.1, random);
            }
            put(&mut block, 345, 155, &prefix);
        }
        match format {
            Format::Star => {
                field(&mut block, 476, 12, 0, random);
                field(&mut block, 488, 12, 1, random);
                put(&mut block, 508, 4, b"tar\0");
            }
            Format::Gnu if random.once_in(8) => {
                // Times, or what a writer took for a prefix.
                let there: &[u8] =
                    random.of(&[&b"00000000000\0"[..], b"dir", b"l", b"7777", b"\xe9"]);
                put(&mut block, 345, 12, there);
            }
            _ => {}
        }
        if random.once_in(400) {
            let at = random.below(512);
            block[at] = [b' ', 0, 0xff, b'7', b'/'][random.below(5)];
        }
        checksum(&mut block, random);
        block
    }

    /// A prefix where the format has one, and the name has a folder to put there.
    fn name_fields(&self, format: Format, random: &mut Random) -> (Vec<u8>, Vec<u8>) {
        let has = matches!(format, Format::Ustar | Format::Star);
        let slash = self.name.iter().position(|byte| *byte == b'/').filter(|at| *at > 0);
        match slash {
            Some(at) if has && (self.name.len() > 100 || random.once_in(4)) => {
                (self.name[..at].to_vec(), self.name[at + 1..].to_vec())
            }
            _ => (Vec::new(), self.name.clone()),
        }
    }
}

fn put(block: &mut [u8], at: usize, len: usize, bytes: &[u8]) {
    let len = len.min(bytes.len());
    block[at..at + len].copy_from_slice(&bytes[..len]);
}

/// A number as writers write it; seldom, as none does.
fn field(block: &mut [u8], at: usize, len: usize, value: u64, random: &mut Random) {
    let field = &mut block[at..at + len];
    let digits = format!("{value:o}");
    if digits.len() > len || random.once_in(12) {
        field.fill(0);
        let bytes = value.to_be_bytes();
        let have = bytes.len().min(len);
        field[len - have..].copy_from_slice(&bytes[bytes.len() - have..]);
        field[0] |= 0x80;
        return;
    }
    let text = match random.weighted(&[20, 4, 3, 3, 2, 1]) {
        0 => format!("{value:0>width$o}\0", width = len - 1),
        1 => format!("{digits:>width$} ", width = len - 1),
        2 => format!("{value:0>len$o}"),
        3 => format!("{digits} \0"),
        4 => format!(" {digits}\0 "),
        _ => digits.clone(),
    };
    put(field, 0, len, text.as_bytes());
    if value == 0 {
        match random.below(8) {
            0 => field.fill(0),
            1 => field.fill(b' '),
            _ => {}
        }
    }
    if random.once_in(1500) {
        match random.below(5) {
            0 => put(field, 0, len, b"-1"),
            1 => field.fill(0xff),
            2 => put(field, 0, len, b"9"),
            3 => field[len - 1] = b'8',
            _ => put(field, 0, len, b"0x"),
        }
    }
}

/// Of unsigned bytes, or of signed ones as some old writers did.
pub(crate) fn checksum(block: &mut [u8], random: &mut Random) {
    block[148..156].fill(b' ');
    let unsigned: i64 = block.iter().map(|byte| i64::from(*byte)).sum();
    let signed: i64 = block.iter().map(|byte| i64::from(byte.cast_signed())).sum();
    let sum = match random.weighted(&[600, 40, 1]) {
        0 => unsigned,
        1 => signed,
        _ => unsigned + 1,
    };
    let text = match random.below(3) {
        0 => format!("{sum:06o}\0 "),
        1 => format!("{sum:07o}\0"),
        _ => format!("{sum:6o}\0 "),
    };
    put(block, 148, 8, text.as_bytes());
}
