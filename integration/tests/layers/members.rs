//! The members of a random layer: few names, so that they meet.

use crate::header::Header;
use crate::random::Random;

/// Of what is mostly a directory, and of what is mostly none.
const DIRECTORIES: [&str; 4] = ["a", "b", "c", "l"];
const NAMES: [&str; 24] = [
    "a",
    "b",
    "c",
    "l",
    "x.sh",
    "y.py",
    "z",
    "m",
    "x.sh",
    "y.py",
    "z",
    "m",
    "n",
    "o",
    "p.pl",
    "q",
    ".wh.a",
    ".wh.b",
    ".wh.x.sh",
    ".wh.y.py",
    ".wh.z",
    ".wh..wh..opq",
    "..",
    ".",
];

const CONTENTS: [&[u8]; 6] = [
    b"",
    b"#!/bin/sh\necho 1\n",
    b"#!/bin/sh\necho 2\n",
    b"data",
    b"\x7fELF\x02\x01\x01",
    b"PK\x03\x04",
];

/// A path of one to three names, written in some way.
fn path(random: &mut Random) -> Vec<u8> {
    if random.once_in(150) {
        let odd: [&[u8]; 8] =
            [b"", b"/", b".wh.", b"a/.wh..", b".wh...", b".wh..wh.a", b"gr\xc3\xbc\xdf.sh", b"./"];
        return random.of(&odd).to_vec();
    }
    let mut parts = vec![random.of(&NAMES)];
    while parts.len() < 3 && random.once_in(2) {
        let dir = if random.once_in(30) { &NAMES[..] } else { &DIRECTORIES[..] };
        parts.insert(0, random.of(dir));
    }
    let mut path = parts.join(if random.once_in(20) { "//" } else { "/" });
    if random.once_in(8) {
        path.insert_str(0, random.of(&["/", "./", "../", "a/../", "/./"]));
    }
    if random.once_in(12) {
        path.push('/');
    }
    if random.once_in(80) {
        let len = [90, 100, 101, 160, 250, 255, 256, 259][random.below(8)];
        path.push_str(&"n".repeat(len));
    }
    path.into_bytes()
}

fn target(random: &mut Random) -> Vec<u8> {
    match random.below(16) {
        4..=9 => random.of(&DIRECTORIES).into(),
        0 => random.of(&["../..", ".", "..", "/", "a/../b", "l/../c", "./x.sh"]).into(),
        1 => [b"/", &path(random)[..]].concat(),
        2 => [b"../", &path(random)[..]].concat(),
        _ => path(random),
    }
}

/// One member with all that goes before it.
pub(crate) fn member(tar: &mut Vec<u8>, names: &mut Vec<Vec<u8>>, random: &mut Random) {
    let mut header = Header { name: path(random), ..Header::default() };
    header.mode = [0o644, 0o755, 0o4755, 0o2711, 0o1777, 0o100_755, 0, 0o111][random.below(8)];
    let mut content = Vec::new();
    match random.weighted(&[60, 90, 25, 20, 5, 5, 3, 4, 1]) {
        0 => {
            header.flag = b'5';
            if !random.once_in(4) {
                header.name = random.of(&DIRECTORIES).into();
            }
        }
        1 => {
            header.flag = if random.once_in(6) { 0 } else { b'0' };
            content = random.of(&CONTENTS).to_vec();
            if random.once_in(10) {
                content.resize(content.len() + random.below(1500), b'.');
            }
        }
        2 => header.flag = b'2',
        3 => header.flag = b'1',
        4 => {
            header.flag = b'3';
            header.device =
                [(0, 0), (0, 0), (1, 3), (4096, 0), (0, 1 << 20), (5, 256)][random.below(6)];
        }
        5 => header.flag = b'6',
        6 => {
            header.flag = b'4';
            header.device = (7, 1);
        }
        7 => header.flag = b'g',
        _ => header.flag = random.of(&[&b"7"[..], b"M", b"V", b"S"])[0],
    }
    match header.flag {
        b'1' if !random.once_in(20) && !names.is_empty() => {
            header.link.clone_from(&names[random.below(names.len())]);
        }
        b'1' | b'2' => header.link = target(random),
        _ => {}
    }
    if header.flag == b'g' {
        content = records(&[("comment", b"x"), ("path", b"")]);
        if random.once_in(3) {
            content = records(&[("path", &path(random))]);
        }
    }
    header.size = content.len() as u64;
    let mut extensions = Vec::new();
    sparse(&mut header, &mut content, &mut extensions, random);
    if content.is_empty() && random.once_in(20) {
        // A size that a type without content does not have.
        header.size = if matches!(header.flag, b'0' | 0) { 0 } else { 512 };
        if !matches!(header.flag, b'1'..=b'6') {
            header.size = 0;
        }
    }
    let before = tar.len();
    extend(tar, &mut header, extensions, random);
    if header.flag == b'0' && tar.len() == before {
        names.push(header.name.clone());
    }
    tar.extend(header.block(random));
    tar.extend(&content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// PAX records, each with its length.
pub(crate) fn records(all: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in all {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while len != rest + len.to_string().len() {
            len = rest + len.to_string().len();
        }
        bytes.extend_from_slice(format!("{len} {key}=").as_bytes());
        bytes.extend_from_slice(value);
        bytes.push(b'\n');
    }
    bytes
}

/// Long names, PAX records, in any order, of one header or more.
fn extend(
    tar: &mut Vec<u8>,
    header: &mut Header,
    mut extensions: Vec<(&'static str, Vec<u8>)>,
    random: &mut Random,
) {
    let mut pax = !extensions.is_empty();
    for _ in 0..random.weighted(&[16, 3, 1]) {
        pax = true;
        extensions.push(record(header, random));
    }
    let mut special = Vec::new();
    if pax {
        let all: Vec<(&str, &[u8])> =
            extensions.iter().map(|(key, value)| (*key, value.as_slice())).collect();
        let mut content = records(&all);
        if random.once_in(60) {
            let at = random.below(content.len());
            content[at] = random.of(&[&b"\n"[..], b" ", b"=", b"\0"])[0];
        }
        special.push((b'x', content));
    }
    if header.name.len() > 100 || random.once_in(15) {
        let mut name = if random.once_in(3) { path(random) } else { header.name.clone() };
        if random.once_in(2) {
            name.push(0);
        }
        special.push((b'L', name));
    }
    if header.link.len() > 100 || random.once_in(25) {
        special.push((b'K', [&target(random)[..], b"\0"].concat()));
    }
    if random.once_in(2) {
        special.reverse();
    }
    if random.once_in(60) {
        special.push((b'g', records(&[("comment", b"between")])));
    }
    for (flag, content) in special {
        let name = random.of(&[&b"././@PaxHeader"[..], b"a", b"pax_global_header"]).to_vec();
        let size = content.len() as u64;
        let own = Header { flag, name, size, mode: 0o644, ..Header::default() };
        tar.extend(own.block(random));
        tar.extend(&content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
}

/// One that is a number, or seldom one that is not.
fn number(good: &[&'static str], bad: &[&'static str], random: &mut Random) -> Vec<u8> {
    if random.once_in(6) { random.of(bad).into() } else { random.of(good).into() }
}

fn record(header: &Header, random: &mut Random) -> (&'static str, Vec<u8>) {
    match random.below(16) {
        0 | 1 => ("path", path(random)),
        2 => ("path", Vec::new()),
        3 => ("linkpath", target(random)),
        4 => ("linkpath", Vec::new()),
        5 => ("size", header.size.to_string().into()),
        6 => ("size", number(&["", ""], &["0", "+0", "-1", "x"], random)),
        7 => ("uid", number(&["", "7", "-1", "4294967296", "+12"], &["1_0", " 1", "0x1"], random)),
        8 => ("gid", number(&["", "7", "4294967295", "007"], &["99999999999999999999"], random)),
        9 => ("mtime", number(&["", "1.5", "-3", "1."], &["1.x", ".5", "x"], random)),
        10 => ("SCHILY.xattr.user.x", b"y".to_vec()),
        11 => ("SCHILY.xattr.trusted.overlay.opaque", b"y".to_vec()),
        12 => {
            // Not of no bytes: that has a test of its own (`capability.rs`).
            let whole: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
            let value = if random.once_in(8) { &whole[..4] } else { whole };
            ("SCHILY.xattr.security.capability", value.to_vec())
        }
        13 => (
            random.of(&[
                "SCHILY.xattr.",
                "SCHILY.xattr.none",
                "SCHILY.xattr.trusted.overlay.redirect",
            ]),
            b"/x".to_vec(),
        ),
        14 => ("uname", b"somebody\0"[..8 + usize::from(random.once_in(9))].to_vec()),
        _ => ("LIBARCHIVE.creationtime", b"1".to_vec()),
    }
}

/// A file of a few kilobytes with holes, in each of the forms in PAX.
fn sparse(
    header: &mut Header,
    content: &mut Vec<u8>,
    extensions: &mut Vec<(&'static str, Vec<u8>)>,
    random: &mut Random,
) {
    if header.flag != b'0' || !random.once_in(8) {
        return;
    }
    let mut map = Vec::new();
    let (mut at, mut data) = (0, 0);
    for _ in 0..random.below(4) {
        at += random.below(3) * random.below(700);
        let len = random.below(3) * random.below(300);
        map.push((at, len));
        at += len;
        data += len;
    }
    let mut size = at + random.below(2) * random.below(5000);
    match random.below(24) {
        0 => size = size.saturating_sub(1),
        1 => data += 1,
        2 => map.reverse(),
        _ => {}
    }
    let mut bytes = content.clone();
    bytes.resize(data, b'+');
    let text = |number: usize| number.to_string().into_bytes();
    let form = random.below(3);
    let numbers = |between: &str| {
        let all = map.iter().flat_map(|(at, len)| [at.to_string(), len.to_string()]);
        all.collect::<Vec<_>>().join(between)
    };
    match form {
        0 => {
            extensions.push(("GNU.sparse.size", text(size)));
            extensions.push(("GNU.sparse.numblocks", text(map.len())));
            for (at, len) in &map {
                extensions.push(("GNU.sparse.offset", text(*at)));
                extensions.push(("GNU.sparse.numbytes", text(*len)));
            }
        }
        1 => {
            extensions.push(("GNU.sparse.size", text(size)));
            extensions.push(("GNU.sparse.numblocks", text(map.len())));
            extensions.push(("GNU.sparse.map", numbers(",").into()));
        }
        _ => {
            extensions.push(("GNU.sparse.major", b"1".to_vec()));
            extensions.push(("GNU.sparse.minor", b"0".to_vec()));
            extensions.push(("GNU.sparse.realsize", text(size)));
            let mut lines = format!("{}\n{}\n", map.len(), numbers("\n")).into_bytes();
            lines.resize(lines.len().next_multiple_of(512), 0);
            bytes.splice(0..0, lines);
        }
    }
    if random.once_in(2) {
        extensions.push(("GNU.sparse.name", path(random)));
    }
    if random.once_in(30) {
        extensions.remove(random.below(extensions.len()));
    }
    *content = bytes;
    header.size = content.len() as u64;
}
