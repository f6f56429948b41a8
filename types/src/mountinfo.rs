//! `/proc/PID/mountinfo`, as `proc_pid_mountinfo(5)` tells it: the one reader of it.

/// One mount, as a process sees it. No field has the kernel's escapes any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its id, unique while it is mounted.
    pub id: u64,
    /// Major and minor of its file system's device.
    pub dev: (u32, u32),
    /// What of the file system is mounted: `/` for all of it.
    pub root: Vec<u8>,
    /// Where it is mounted, below the root of the process.
    pub point: Vec<u8>,
    /// The file system's type.
    pub kind: Vec<u8>,
    /// The file system's own options, such as `rw` and `lowerdir=/a:/b`; not those of the mount.
    pub options: Vec<Vec<u8>>,
}

impl Mount {
    /// Whether the file system has this option.
    #[must_use]
    pub fn has(&self, option: &[u8]) -> bool {
        self.options.iter().any(|one| one == option)
    }
}

/// A line that isn't of the documented form: its number, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0} of the mount table is not of the form that proc(5) tells")]
pub struct Malformed(pub usize);

/// Every mount, in the order of the table: of several at one point the last is the one seen.
///
/// # Errors
/// When a line can't be read: what is left is not the table.
pub fn parse(table: &[u8]) -> Result<Vec<Mount>, Malformed> {
    lines(table).collect()
}

/// Each line by itself, for who looks for one mount and needs none of the others.
pub fn lines(table: &[u8]) -> impl Iterator<Item = Result<Mount, Malformed>> {
    table
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(at, line)| mount(line).ok_or(Malformed(at + 1)))
}

/// `ID PARENT DEV ROOT POINT OPTIONS [TAG…] - TYPE SOURCE OPTIONS`
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let _parent = fields.next()?;
    let dev = fields.next()?;
    let colon = dev.iter().position(|byte| *byte == b':')?;
    let (major, minor) = (dev.get(..colon)?, dev.get(colon + 1..)?);
    let dev = (number(major)?.try_into().ok()?, number(minor)?.try_into().ok()?);
    let root = unescape(fields.next()?);
    let point = unescape(fields.next()?);
    let _options = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let kind = unescape(fields.next()?);
    let _source = fields.next()?;
    // A comma within an option is escaped too (include/linux/seq_file.h, `seq_show_option`).
    let options = fields.next()?.split(|byte| *byte == b',').map(unescape).collect();
    Some(Mount { id, dev, root, point, kind, options })
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The kernel writes a byte that would end a field, and the backslash, as three octal digits
/// (fs/proc_namespace.c, `mangle`; fs/seq_file.c, `seq_path` and `seq_escape`). Which bytes
/// those are has grown: any is undone.
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
        let line = b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n";
        let mount = Mount {
            id: 36,
            dev: (98, 0),
            root: b"/mnt1".to_vec(),
            point: b"/mnt 2".to_vec(),
            kind: b"ext3".to_vec(),
            options: vec![b"rw".to_vec(), b"errors=continue".to_vec()],
        };
        assert_eq!(parse(line), Ok(vec![mount]));
    }

    #[test]
    fn a_table_that_cannot_be_read_is_not_an_empty_one() {
        let table = b"36 35 98:0 / / rw - ext3 x rw\n36 35\n\n37 35 98:0 / /a rw - ext3 x rw\n";
        assert_eq!(parse(table), Err(Malformed(2)));
        let points: Vec<_> = lines(table).map(|line| line.map(|mount| mount.point)).collect();
        assert_eq!(points, [Ok(b"/".to_vec()), Err(Malformed(2)), Ok(b"/a".to_vec())]);
    }

    #[test]
    fn a_source_of_no_name_is_one() {
        let line = b"36 35 0:40 / /x rw shared:7 master:1 - tmpfs  rw,size=4k\n";
        let [mount] = &parse(line).unwrap()[..] else { panic!("one mount") };
        assert!(mount.kind == b"tmpfs" && mount.has(b"size=4k"), "{mount:?}");
    }

    #[test]
    fn our_own_table_is_read() {
        let table = std::fs::read("/proc/self/mountinfo").unwrap();
        assert!(parse(&table).unwrap().iter().any(|mount| mount.point == b"/"));
    }

    /// As `string_escape_mem` writes those bytes that are asked for (lib/string_helpers.c).
    fn mangled(name: &[u8], of: &[u8]) -> Vec<u8> {
        let escape = |byte: &u8| match of.contains(byte) {
            true => format!("\\{byte:03o}").into_bytes(),
            false => vec![*byte],
        };
        name.iter().flat_map(escape).collect()
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&data);
        }

        #[test]
        fn what_the_kernel_escapes_reads_back(
            mounts in proptest::collection::vec((
                any::<u64>(), any::<(u32, u32)>(),
                proptest::collection::vec(name(), 4),
                proptest::collection::vec(name(), 1..5),
            ), 0..5),
        ) {
            let mut table = Vec::new();
            for (id, (major, minor), names, options) in &mounts {
                let path = |at: usize| mangled(&names[at], b" \t\n\\");
                let word = |at: usize| mangled(&names[at], b" \t\n\\#");
                let options: Vec<_> = options.iter().map(|one| mangled(one, b", \t\n\\")).collect();
                table.extend(format!("{id} 1 {major}:{minor} ").into_bytes());
                table.extend([path(0), path(1), b"rw shared:1 -".to_vec()].join(&b' '));
                table.push(b' ');
                table.extend([word(2), word(3), options.join(&b',')].join(&b' '));
                table.push(b'\n');
            }
            let read = mounts.into_iter().map(|(id, dev, names, options)| {
                let [root, point, kind, _source] = <[_; 4]>::try_from(names).unwrap();
                Mount { id, dev, root, point, kind, options }
            });
            prop_assert_eq!(parse(&table), Ok(read.collect::<Vec<_>>()));
        }
    }

    /// Often of the bytes that matter.
    fn name() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![1_u8.., proptest::sample::select(b" \t\n\\#,=-:0174".as_slice())];
        proptest::collection::vec(byte, 1..20)
    }
}
