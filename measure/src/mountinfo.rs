//! `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).

/// One mount, as a process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Its id, unique while it is mounted.
    pub(crate) id: u64,
    /// Major and minor of its file system's device.
    pub(crate) dev: (u32, u32),
    /// Where it is mounted, below the root of the process.
    pub(crate) point: Vec<u8>,
    /// The file system's type.
    pub(crate) kind: Vec<u8>,
}

/// A line that isn't of the documented form: number, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0} of the mount table is not of the form that proc(5) tells")]
pub(crate) struct Malformed(pub(super) usize);

/// Every mount, in the order of the table.
pub(crate) fn parse(table: &[u8]) -> Result<Vec<Mount>, Malformed> {
    table
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(at, line)| mount(line).ok_or(Malformed(at + 1)))
        .collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let _parent = fields.next()?;
    let dev = fields.next()?;
    let colon = dev.iter().position(|byte| *byte == b':')?;
    let (major, minor) = (dev.get(..colon)?, dev.get(colon + 1..)?);
    let dev = (number(major)?.try_into().ok()?, number(minor)?.try_into().ok()?);
    let _root = fields.next()?;
    let point = unescape(fields.next()?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?.to_vec();
    Some(Mount { id, dev, point, kind })
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Space, tab, line feed and backslash come as three octal digits.
fn unescape(mut field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    while let [first, rest @ ..] = field {
        match rest {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] if *first == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                field = rest;
            }
            rest => {
                bytes.push(*first);
                field = rest;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_manuals_example_is_read() {
        let line = b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw\n";
        let [mount] = &parse(line).unwrap()[..] else { panic!("one mount") };
        assert_eq!((mount.id, mount.dev), (36, (98, 0)));
        assert_eq!((&mount.point[..], &mount.kind[..]), (&b"/mnt 2"[..], &b"ext3"[..]));
    }

    #[test]
    fn a_table_that_cannot_be_read_is_not_an_empty_one() {
        assert_eq!(parse(b"36 35 98:0 / / rw - ext3 x rw\n36 35\n"), Err(Malformed(2)));
    }

    #[test]
    fn our_own_table_is_read() {
        let table = std::fs::read("/proc/self/mountinfo").unwrap();
        assert!(parse(&table).unwrap().iter().any(|mount| mount.point == b"/"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&data);
        }

        #[test]
        fn a_name_comes_back(name in proptest::collection::vec(1_u8.., 1..40)) {
            let escaped: Vec<u8> = name.iter().flat_map(|byte| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                byte => vec![*byte],
            }).collect();
            prop_assert_eq!(unescape(&escaped), name);
        }
    }
}
