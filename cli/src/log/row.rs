//! A row of `lacre log`: one file, in one container, as one log has it.

use lacre_types::CanonicalPath;
use serde::Serialize;

/// One file that was seen, where, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    /// Escaped.
    pub(super) path: String,
    /// Empty where the bytes could not be read.
    pub(super) digest: String,
    #[serde(rename = "containerID")]
    pub(super) container: String,
    /// containerd's; empty where the log does not tell it.
    pub(super) namespace: String,
    pub(super) image_name: String,
    #[serde(rename = "imageID")]
    pub(super) image_id: String,
    pub(super) layer: String,
    pub(super) node: String,
    /// A source, `kernel` or `shim` as the keeper of a container's list, `host` for IMA's own.
    pub(super) by: String,
    /// A kind of violation and what became of it, or the number of a list's line.
    pub(super) what: String,
    /// How often it was seen; 1 for a line of a list.
    pub(super) count: u64,
    /// RFC 3339; lists have no time.
    pub(super) time: String,
    /// Of a line of a container's list: the container's id there, and the file.
    #[serde(skip)]
    pub(super) listed: Option<(String, CanonicalPath)>,
}

impl Row {
    /// The container, as it is shown.
    pub(super) fn named(&self) -> String {
        match self.namespace.as_str() {
            "" => self.container.clone(),
            namespace => format!("{namespace}/{}", self.container),
        }
    }
}
