//! Paths within a container, and how they are shown.

use std::fmt::{self, Write as _};

/// A path within a container: absolute, bytes, with no empty, `.` or `..` part, and no
/// slash at its end. It is a name, not a promise that the file is there: symbolic links
/// are the baseline's to follow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalPath(Box<[u8]>);

/// Why bytes are not a path within a container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("the path does not begin with /")]
    Relative,
    /// It holds a NUL byte.
    #[error("the path holds a NUL byte")]
    Nul,
    /// It is longer than the kernel's `PATH_MAX` (linux/limits.h).
    #[error("the path has {0} bytes, more than PATH_MAX (4096)")]
    TooLong(usize),
}

impl CanonicalPath {
    /// The most bytes that a path has, without its NUL (linux/limits.h).
    pub const MAX: usize = 4096;

    /// Brings the forms that logs use (`//lib/x`, `/a/./b`, `/a/../b`) to one.
    ///
    /// # Errors
    /// When it is relative, too long, or holds a NUL.
    pub fn new(path: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let path = path.as_ref();
        if path.first() != Some(&b'/') {
            return Err(PathError::Relative);
        }
        if path.len() > Self::MAX {
            return Err(PathError::TooLong(path.len()));
        }
        if path.contains(&0) {
            return Err(PathError::Nul);
        }
        let mut canonical = Vec::with_capacity(path.len());
        for part in path.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    let parent = canonical.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                    canonical.truncate(parent);
                }
                _ => {
                    canonical.push(b'/');
                    canonical.extend_from_slice(part);
                }
            }
        }
        if canonical.is_empty() {
            canonical.push(b'/');
        }
        Ok(Self(canonical.into()))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its parts, from the root down.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }
}

impl AsRef<[u8]> for CanonicalPath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", escape(&self.0))
    }
}

/// Bytes from outside as one line that cannot deceive a reader: backslash, control
/// characters, bidirectional and other invisible format characters, and bytes that are
/// not UTF-8 are written as escapes.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                c if c.is_control() || deceives(c) => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
                }
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Format characters that reorder or hide text (Unicode UAX #9, UTS #39), and the line
/// separators.
const fn deceives(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(path: &str) -> String {
        CanonicalPath::new(path).unwrap().to_string()
    }

    #[test]
    fn forms_of_logs_become_one() {
        let libdl = "/lib/x86_64-linux-gnu/libdl-2.27.so";
        assert_eq!(canonical("//lib/x86_64-linux-gnu/libdl-2.27.so"), libdl);
        assert_eq!(canonical("/./lib//x86_64-linux-gnu/libdl-2.27.so/"), libdl);
        assert_eq!(canonical("/a/../../b"), "/b");
        assert_eq!(canonical("/"), "/");
        assert_eq!(canonical("/.."), "/");
    }

    #[test]
    fn bad_paths_are_refused() {
        assert_eq!(CanonicalPath::new("lib"), Err(PathError::Relative));
        assert_eq!(CanonicalPath::new(b"/a\0b"), Err(PathError::Nul));
        assert_eq!(CanonicalPath::new(vec![b'/'; 4097]), Err(PathError::TooLong(4097)));
    }

    #[test]
    fn a_shown_path_cannot_deceive() {
        assert_eq!(escape(b"/a\nb"), "/a\\nb");
        assert_eq!(escape("/\u{202e}gpj.sh".as_bytes()), "/\\u{202e}gpj.sh");
        assert_eq!(escape(b"/\xff\\"), "/\\xff\\\\");
    }

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point(path in "/[a-c./]{0,40}") {
            let once = CanonicalPath::new(&path).unwrap();
            prop_assert_eq!(&CanonicalPath::new(once.as_bytes()).unwrap(), &once);
            prop_assert!(once.parts().all(|part| part != b"." && part != b".."));
        }

        #[test]
        fn different_bytes_are_shown_differently(
            a in proptest::collection::vec(any::<u8>(), 0..12),
            b in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            prop_assert_eq!(a == b, escape(&a) == escape(&b));
        }
    }
}
