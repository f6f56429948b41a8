//! What happened, and how often: equal records are one row.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::Serialize;

use crate::records::{Line, plain};

/// A row. Texts are printable ASCII, whatever the file had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    /// RFC 3339.
    pub(crate) first: String,
    /// RFC 3339.
    pub(crate) last: String,
    pub(crate) count: u64,
    /// A kind of violation, `REPORT`, `OUTCOME`, `GAP`, `RELEASE`; `AGAIN`: a violation whose
    /// record is not in these files.
    pub(crate) kind: String,
    /// What became of the code, or of the action.
    pub(crate) outcome: String,
    /// What the policy says is to be done; of an outcome, what was.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) action: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) mode: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) rule: String,
    pub(crate) node: String,
    pub(crate) namespace: String,
    #[serde(rename = "containerID")]
    pub(crate) container: String,
    #[serde(flatten)]
    pub(crate) of: Of,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) event: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) digest: String,
    /// Why the bytes could not be read, what came of an action, why records are missing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
}

/// Whose it is, beyond the container's id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Of {
    pub(crate) image_name: String,
    #[serde(rename = "imageID")]
    pub(crate) image_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) container_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) pod: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) pod_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) pod_namespace: String,
}

impl Of {
    pub(super) fn is_known(&self) -> bool {
        *self != Self::default()
    }
}

impl Row {
    /// Of one record that is no update.
    pub(super) fn of(line: &Line<'_>) -> Self {
        let own = |text: &str| plain(text).into_owned();
        let last = if line.last.is_empty() { &line.time } else { &line.last };
        let mut row = Self {
            first: own(&line.time),
            last: own(last),
            count: line.count.unwrap_or(1),
            kind: own(&line.notificate),
            outcome: own(&line.outcome),
            action: own(&line.action),
            mode: own(&line.mode),
            rule: own(&line.rule),
            node: own(&line.node),
            namespace: own(&line.namespace),
            container: own(&line.container),
            of: Of {
                image_name: own(&line.image_name),
                image_id: own(&line.image_id),
                container_name: own(&line.container_name),
                pod: own(&line.pod),
                pod_name: own(&line.pod_name),
                pod_namespace: own(&line.pod_namespace),
            },
            event: own(&line.event),
            path: own(&line.path),
            digest: own(&line.digest),
            detail: own(&line.unread),
        };
        match line.record.as_deref() {
            None => {}
            Some("outcome") => {
                row.kind = "OUTCOME".to_owned();
                row.outcome = own(&line.result);
                row.detail = own(&line.detail);
            }
            Some("release") => {
                row.kind = "RELEASE".to_owned();
                row.outcome = own(&line.result);
                row.action = own(&line.undone.join(","));
                row.detail = own(&release(line));
            }
            Some("gap") => {
                row.kind = "GAP".to_owned();
                row.outcome = "missing".to_owned();
                row.detail = own(&match line.lost {
                    Some(lost) => format!("{}: {lost} lost", line.reason),
                    None => line.reason.to_string(),
                });
            }
            Some(other) => {
                // Of a later release.
                row.kind = own(other).to_uppercase();
                row.detail = own(&line.detail);
            }
        }
        row
    }

    /// By which rows are equal.
    pub(super) fn key(&self) -> u128 {
        let half = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            seed.hash(&mut hasher);
            let Self { kind, outcome, action, mode, rule, node, namespace, container, .. } = self;
            for text in [kind, outcome, action, mode, rule, node, namespace, container] {
                text.hash(&mut hasher);
            }
            [&self.event, &self.path, &self.digest, &self.detail].hash(&mut hasher);
            u128::from(hasher.finish())
        };
        half(0) << 64 | half(1)
    }

    /// The container, as it is shown.
    pub(crate) fn named(&self) -> String {
        match (self.namespace.as_str(), self.container.as_str()) {
            (_, "") => "-".to_owned(),
            ("", id) => crate::view::short(id),
            (namespace, id) => format!("{namespace}/{}", crate::view::short(id)),
        }
    }
}

fn release(line: &Line<'_>) -> String {
    let who = match (line.uid, line.login) {
        (Some(uid), Some(login)) => format!("uid {uid}, logged in as {login}"),
        (Some(uid), None) => format!("uid {uid}"),
        _ => "somebody".to_owned(),
    };
    let mut text = format!("by {who}: {}", line.reason);
    if !line.again.is_empty() {
        text.push_str(&format!("; again at once: {}", line.again.join(",")));
    }
    if !line.detail.is_empty() {
        text.push_str(&format!("; {}", line.detail));
    }
    text
}
