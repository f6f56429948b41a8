//! Entries for fuzzing: each takes any bytes, and fails by panicking.

use lacre_types::{CanonicalPath, ViolationKind};

use crate::glob::{Glob, Wild};
use crate::{Effective, Policy, Subject};

/// Reads a policy; one that is taken decides, and its effective form reads back.
#[allow(clippy::expect_used, reason = "a fuzz entry fails by panicking")]
pub fn fuzz_policy(data: &[u8]) {
    match Policy::parse("fuzz.yaml", data) {
        Ok((policy, warnings)) => {
            for warning in warnings {
                let _ = warning.to_string();
            }
            let subject =
                Subject { container_id: "web", image_name: Some("a"), ..Subject::default() };
            let path = CanonicalPath::new("/data/x").ok();
            let effective = policy.effective(&subject);
            let read = Effective::from_json(&effective.to_json()).expect("own bytes read back");
            assert_eq!(effective, read);
            let own = policy.code_directories(&subject);
            assert_eq!(own, read.code_directories());
            assert!(
                path.as_ref()
                    .is_none_or(|path| own.hold(path) == read.code_directories().hold(path))
            );
            for kind in ViolationKind::ALL {
                let decided = policy.decide(&subject, *kind, path.as_ref());
                assert_eq!(decided, read.decide(*kind, path.as_ref()));
            }
        }
        Err(errors) => {
            assert!(!errors.diagnostics.is_empty());
            assert!(!errors.to_string().is_empty());
        }
    }
}

/// Reads an effective policy, as a node does with a server's bytes.
#[allow(clippy::expect_used, reason = "a fuzz entry fails by panicking")]
pub fn fuzz_effective(data: &[u8]) {
    if let Ok(effective) = Effective::from_json(data) {
        let again = Effective::from_json(&effective.to_json()).expect("own bytes read back");
        assert_eq!(effective, again);
    }
}

/// A glob and, after a NUL, the path that it is to match.
pub fn fuzz_glob(data: &[u8]) {
    let (pattern, text) = match data.iter().position(|byte| *byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &b"/data/x.sh"[..]),
    };
    let Ok(pattern) = std::str::from_utf8(pattern) else { return };
    if let Ok(wild) = Wild::new(pattern)
        && let Some(own) = wild.literal()
    {
        assert!(wild.matches(&own));
        assert_eq!(wild.matches(text), own == text);
    }
    let Ok(glob) = Glob::new(pattern) else { return };
    assert!(!glob.matches(text) || text.starts_with(&glob.prefix()));
    if let Some(own) = glob.literal() {
        assert_eq!(glob.matches(text), own == text);
    }
    // Without sets and escapes a pattern can be held against the definition.
    let plain = |byte: &u8| matches!(byte, b'/' | b'*' | b'?' | b'.' | b'a'..=b'z');
    if pattern.len() <= 24 && text.len() <= 24 && pattern.bytes().all(|byte| plain(&byte)) {
        assert_eq!(glob.matches(text), defined(pattern.as_bytes(), text));
    }
}

/// What a glob matches, without care for cost.
pub(crate) fn defined(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', b'*', b'/', rest @ ..], _) => {
            defined(rest, text)
                || (0..text.len()).any(|at| text[at] == b'/' && defined(rest, &text[at + 1..]))
        }
        (b"**", _) => true,
        ([b'*', rest @ ..], _) => {
            defined(rest, text)
                || text.split_first().is_some_and(|(c, tail)| *c != b'/' && defined(pattern, tail))
        }
        ([b'?', rest @ ..], [c, tail @ ..]) => *c != b'/' && defined(rest, tail),
        ([p, rest @ ..], [c, tail @ ..]) => p == c && defined(rest, tail),
        _ => false,
    }
}
