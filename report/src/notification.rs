//! A notification and its answer, as Sarmento's figures 1 and 2 have them.

use lacre_types::{Action, ViolationKind};
use serde::{Deserialize, Serialize};

/// The notification of Sarmento's figure 1. Every violation record can be read as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The kind of violation.
    pub notificate: ViolationKind,
    /// The image as the user named it.
    #[serde(rename = "imageName")]
    pub image_name: String,
    /// The image's digest.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// `ALGORITHM:HEX PATH` and a line feed.
    pub line: String,
}

/// The answer of Sarmento's figure 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// What is to be done with it.
    pub action: Action,
}

/// Something that the server would have a node do about a container, and that waits for an
/// operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The order's number.
    pub order: u64,
    /// The action; empty where it is another policy.
    pub action: String,
    /// What it is, for a person.
    pub why: String,
}

impl From<lacre_proto::policy::Held> for Held {
    fn from(held: lacre_proto::policy::Held) -> Self {
        Self { order: held.order, action: held.action, why: held.why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_read_as_printed() {
        let notification: Notification = serde_json::from_str(
            r#"{"containerID": "fd79823c", "notificate": "ENTRY_NOT_FOUND",
                "imageName": "ubuntu:18.04", "imageID": "fd79823c",
                "line": "sha1:523252a839206529ce09bcaf1d60574824 //lib/x86_64-linux-gnu/libdl-2.27.so\n"}"#,
        )
        .unwrap();
        assert_eq!(notification.notificate, ViolationKind::EntryNotFound);
        assert!(notification.line.ends_with("libdl-2.27.so\n"));
        let answer: Answer =
            serde_json::from_str(r#"{"containerID": "fd79823c", "action": "REMOVE"}"#).unwrap();
        assert_eq!(answer, Answer { container_id: "fd79823c".into(), action: Action::Delete });
    }
}
