//! How things are named in tables.

use std::path::Path;

use lacre_shim::inspect::ContainerSeen;

/// A container, as it is shown.
pub(crate) fn named(one: &ContainerSeen) -> String {
    let (namespace, id) = (one.namespace.as_bytes(), one.id.as_bytes());
    format!("{}/{}", lacre_types::escape(namespace), lacre_types::escape(id))
}

/// A path, as it is shown.
pub(crate) fn shown(path: &Path) -> String {
    lacre_types::escape(path.as_os_str().as_encoded_bytes())
}

/// The id as tables show it: what Docker and CRI draw is told by twelve digits.
pub(crate) fn short(id: &str) -> String {
    let drawn = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = if drawn { &id[..12] } else { id };
    lacre_types::escape(id.as_bytes())
}

/// A digest as tables show it.
pub(crate) fn short_digest(digest: &str) -> String {
    let end = digest.find(':').map_or(0, |at| at + 1) + 12;
    lacre_types::escape(digest.get(..end).unwrap_or(digest).as_bytes())
}
