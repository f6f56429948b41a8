//! The values of an overlay mount's options (Linux, Documentation/filesystems/overlayfs.rst).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// The paths of a `lowerdir`: topmost first; a double colon begins data-only layers, which
/// hold no names of their own.
pub fn paths(value: &[u8]) -> impl Iterator<Item = PathBuf> {
    colons(value).into_iter().take_while(|path| !path.is_empty()).map(path)
}

/// Parts between colons without a backslash.
fn colons(value: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut from, mut at) = (Vec::new(), 0, 0);
    while at < value.len() {
        match value[at] {
            b'\\' => at += 1,
            b':' => {
                parts.push(&value[from..at]);
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    parts.push(&value[from..]);
    parts
}

/// A path without overlayfs's own backslashes.
#[must_use]
pub fn path(path: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        plain.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    OsString::from_vec(plain).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_part_and_backslashes_keep_together() {
        let of = |value: &[u8]| paths(value).collect::<Vec<_>>();
        let dirs = |all: &[&str]| all.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(of(b"/a:/b"), dirs(&["/a", "/b"]));
        assert_eq!(of(br"/a\:b:/c"), dirs(&["/a:b", "/c"]));
        assert_eq!(of(b"/a::/data"), dirs(&["/a"]), "data alone has no names");
        assert_eq!(of(b""), dirs(&[]));
    }
}
