//! Names in JSON that its reader and containerd's could take for different ones.
//!
//! Go takes a member's name in any case for the one that it knows, and of a name that comes
//! twice it takes both (`encoding/json`). Who writes `labels` beside, or instead of, `Labels`
//! has said to containerd what serde never sees.

use std::fmt;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// All members that are read of an image's documents.
const READ: [&str; 12] = [
    "manifests",
    "layers",
    "config",
    "rootfs",
    "annotations",
    "digest",
    "platform",
    "Labels",
    "diff_ids",
    "os",
    "architecture",
    "variant",
];

/// The members of an object that are not read, to be flattened into what is: it refuses those
/// that Go would take for one that is. (That one comes twice serde refuses itself.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Others;

impl<'de> serde::Deserialize<'de> for Others {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OthersVisitor)
    }
}

struct OthersVisitor;

impl<'de> Visitor<'de> for OthersVisitor {
    type Value = Others;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Others, A::Error> {
        while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
            if let Some(read) = READ.iter().find(|read| **read != name && folds(&name, read)) {
                return Err(A::Error::custom(format!("`{name}` is `{read}` to containerd")));
            }
        }
        Ok(Others)
    }
}

/// Whether Go takes `name` for `known`, which is ASCII: two letters beyond ASCII fold into it
/// (Unicode, CaseFolding.txt).
fn folds(name: &str, known: &str) -> bool {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(fold).eq(known.chars().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_as_go_folds_them() {
        for name in ["labels", "LABELS", "Label\u{17f}"] {
            assert!(folds(name, "Labels"), "{name}");
        }
        assert!(!folds("Label", "Labels") && !folds("lab\u{e9}ls", "labels"));
    }
}
