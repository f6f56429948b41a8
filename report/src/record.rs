use std::sync::Arc;

use base64::Engine as _;
use lacre_types::{
    Action, Content, Digest, Event, Kind, Mode, Source, Violation, ViolationKind, escape,
};
use serde::{Deserialize, Serialize};

use crate::message::Notification;
use crate::time::rfc3339;

/// What became of what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Became {
    /// It ran.
    Ran,
    /// It was refused with `EPERM`.
    Denied,
    /// Its process was killed before its first instruction.
    Killed,
}

/// Where records come from: one container on one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// containerd's id of the container.
    pub container_id: String,
    /// containerd's namespace.
    pub namespace: String,
    /// The image as the user named it; empty when nobody knows.
    pub image_name: String,
    /// The image's digest, `sha256:…`; empty when nobody knows.
    pub image_id: String,
    /// The node.
    pub node: String,
    /// The pod's sandbox, where there is one.
    pub pod: Option<String>,
}

/// What was decided about a violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How far lacre goes here.
    pub mode: Mode,
    /// What the policy says is to be done.
    pub action: Action,
    /// What became of the measurement.
    pub became: Became,
    /// The rule that gave the action, for a person.
    pub rule: Option<String>,
    /// What kind of file it is, where that is known.
    pub file_kind: Option<Kind>,
    /// The layer that the baseline's entry came from.
    pub layer: Option<String>,
}

/// One violation: figure 1's five fields, then lacre's own, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The kind of violation.
    pub notificate: ViolationKind,
    /// The image as the user named it.
    pub image_name: String,
    /// The image's digest.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// `ALGORITHM:HEX PATH` and a line feed.
    pub line: String,
    /// When the source saw it.
    pub time: String,
    /// The stream that numbers it; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Arc<str>>,
    /// Its number in the stream; absent when the spool had no room for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// containerd's namespace.
    pub namespace: String,
    /// The node.
    pub node: String,
    /// The pod's sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Who saw it.
    pub source: Source,
    /// How it came to run.
    pub event: Event,
    /// What kind of file it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_kind: Option<Kind>,
    /// The path, escaped; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The path's bytes in base64, where the escaped form differs from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// The digest of what was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The size, where that alone told it from the baseline's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Why the bytes could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
    /// The digest that the baseline has under that path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Digest>,
    /// The layer that the baseline's entry came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// The process id, outermost pid namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The user id, outermost user namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// How far lacre goes here.
    pub mode: Mode,
    /// What the policy says is to be done.
    pub action: Action,
    /// What became of the measurement.
    pub outcome: Became,
    /// The rule that gave the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

impl Record {
    /// The record of a violation. Texts from outside are cut at 1 KiB, so that a record
    /// has a bounded size; a path is never cut.
    #[must_use]
    pub fn new(origin: &Origin, violation: &Violation, verdict: &Verdict) -> Self {
        let measurement = &violation.measurement;
        let path = measurement.path.as_ref().map(|path| escape(path.as_bytes()));
        let path_bytes = match (&measurement.path, &path) {
            (Some(bytes), Some(shown)) if bytes.as_bytes() != shown.as_bytes() => {
                Some(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            _ => None,
        };
        let (size, unread) = match &measurement.content {
            Content::Size(size) => (Some(*size), None),
            Content::Unread(why) => (None, Some(cut(why))),
            Content::Digest(_) | Content::Fileless => (None, None),
        };
        Self {
            container_id: cut(&origin.container_id),
            notificate: violation.kind,
            image_name: cut(&origin.image_name),
            image_id: cut(&origin.image_id),
            line: violation.line(),
            time: rfc3339(measurement.time),
            stream: None,
            seq: None,
            namespace: cut(&origin.namespace),
            node: cut(&origin.node),
            pod: origin.pod.as_deref().map(cut),
            source: measurement.source,
            event: measurement.event,
            file_kind: verdict.file_kind,
            path,
            path_bytes,
            digest: measurement.digest().copied(),
            size,
            unread,
            expected: violation.expected,
            layer: verdict.layer.as_deref().map(cut),
            pid: (measurement.process.pid != 0).then_some(measurement.process.pid),
            uid: measurement.process.uid,
            mode: verdict.mode,
            action: verdict.action,
            outcome: verdict.became,
            rule: verdict.rule.as_deref().map(cut),
        }
    }

    /// The five fields of figure 1.
    #[must_use]
    pub fn notification(&self) -> Notification {
        Notification {
            container_id: self.container_id.clone(),
            notificate: self.notificate,
            image_name: self.image_name.clone(),
            image_id: self.image_id.clone(),
            line: self.line.clone(),
        }
    }
}

/// A text of at most 1 KiB.
pub(crate) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(1024)].to_owned()
}
