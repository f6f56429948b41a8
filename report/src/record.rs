//! The record of a violation, and what it is made from.

use std::time::SystemTime;

use base64::Engine as _;
use lacre_types::{
    Action, CanonicalPath, Content, Digest, Event, Kind, Mode, Source, Violation, ViolationKind,
    escape, rfc3339,
};
use serde::{Deserialize, Serialize};

use crate::notification::Notification;
use crate::stream_place::Place;

/// What became of what was measured, from the mildest to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Became {
    /// It was refused with `EPERM`.
    Denied,
    /// Its process was killed before its first instruction.
    Killed,
    /// It ran, and had ended by itself before it could be stopped: nobody runs it any more.
    Ended,
    /// It ran.
    Ran,
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
    /// The pod's name in Kubernetes.
    pub pod_name: Option<String>,
    /// The pod's namespace in Kubernetes.
    pub pod_namespace: Option<String>,
    /// The container's name: in its pod, or as Docker or nerdctl has it.
    pub container_name: Option<String>,
    /// Which of these could not be learnt, and why.
    pub unknown: Option<String>,
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
    /// Its number, and the stream that numbers it.
    #[serde(flatten)]
    pub place: Place,
    /// containerd's namespace.
    pub namespace: String,
    /// The node.
    pub node: String,
    /// The pod's sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The pod's name in Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// The pod's namespace in Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_namespace: Option<String>,
    /// The container's name: in its pod, or as Docker or nerdctl has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// Which facts about the container could not be learnt, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
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
    /// How many equal uses it stands for, seen before it could be written; absent for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// When the last of them was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
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
            Content::Digest(_) | Content::Fileless | Content::Memory(_) => (None, None),
        };
        Self {
            container_id: cut(&origin.container_id),
            notificate: violation.kind,
            image_name: cut(&origin.image_name),
            image_id: cut(&origin.image_id),
            line: violation.line(),
            time: rfc3339(measurement.time),
            place: Place::default(),
            namespace: cut(&origin.namespace),
            node: cut(&origin.node),
            pod: origin.pod.as_deref().map(cut),
            pod_name: origin.pod_name.as_deref().map(cut_name),
            pod_namespace: origin.pod_namespace.as_deref().map(cut_name),
            container_name: origin.container_name.as_deref().map(cut_name),
            unknown: origin.unknown.as_deref().map(cut),
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
            count: None,
            last: None,
        }
    }

    /// The same for so many equal uses, the last of them seen then.
    #[must_use]
    pub fn standing_for(mut self, uses: u64, last: SystemTime) -> Self {
        (self.count, self.last) =
            if uses == 1 { (None, None) } else { (Some(uses), Some(rfc3339(last))) };
        self
    }

    /// How many uses it stands for.
    #[must_use]
    pub fn uses(&self) -> u64 {
        self.count.unwrap_or(1)
    }

    /// Its memory, and about the bytes of its line.
    pub(crate) fn weight(&self) -> u64 {
        let some = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts =
            [&self.path, &self.path_bytes, &self.unread, &self.rule, &self.layer, &self.pod];
        let long = [&self.line, &self.image_name, &self.image_id, &self.container_id];
        let bytes = texts.into_iter().map(some).sum::<usize>()
            + long.into_iter().map(String::len).sum::<usize>();
        512 + bytes as u64
    }

    /// The path within the container, as bytes.
    #[must_use]
    pub fn canonical_path(&self) -> Option<CanonicalPath> {
        match (&self.path_bytes, &self.path) {
            (Some(bytes), _) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(bytes).ok()?;
                CanonicalPath::new(bytes).ok()
            }
            (None, Some(path)) => CanonicalPath::new(path).ok(),
            (None, None) => None,
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

/// A name of at most 256 bytes: Kubernetes has none above 253.
fn cut_name(text: &str) -> String {
    text[..text.floor_char_boundary(256)].to_owned()
}

/// A text of at most 1 KiB.
pub(crate) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(1024)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, Notification};
    use lacre_proto::MAX_RECORD;
    use lacre_types::{CanonicalPath, Measurement, Process};
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn of(path: &[u8], text: &str) -> Record {
        let origin = Origin {
            container_id: text.to_owned(),
            namespace: text.to_owned(),
            image_name: text.to_owned(),
            image_id: text.to_owned(),
            node: text.to_owned(),
            pod: Some(text.to_owned()),
            pod_name: Some(text.to_owned()),
            pod_namespace: Some(text.to_owned()),
            container_name: Some(text.to_owned()),
            unknown: Some(text.to_owned()),
        };
        let violation = Violation {
            kind: ViolationKind::InvalidHash,
            measurement: Measurement {
                source: Source::ExecMap,
                event: Event::Mmap,
                path: Some(CanonicalPath::new(path).unwrap()),
                content: Content::Digest(Digest::sha256([0xab; 32])),
                process: Process { pid: 7, uid: Some(1000) },
                time: UNIX_EPOCH + Duration::new(1_763_780_694, 5),
            },
            expected: Some(Digest::sha256([0xcd; 32])),
        };
        let verdict = Verdict {
            mode: Mode::Enforce,
            action: Action::Delete,
            became: Became::Killed,
            rule: Some(text.to_owned()),
            file_kind: Some(Kind::Library),
            layer: Some(text.to_owned()),
        };
        Record::new(&origin, &violation, &verdict)
    }

    #[test]
    fn a_record_begins_with_figure_1_and_keeps_its_order() {
        let mut entry = Entry::from(of(b"//lib/x86_64-linux-gnu/libdl-2.27.so", "t"));
        entry.number(Some(&"00".into()), Some(3));
        let line = String::from_utf8(entry.encode()).unwrap();
        let (ab, cd) = ("ab".repeat(32), "cd".repeat(32));
        assert_eq!(
            line,
            format!(
                "{}{}{}{}{}",
                r#"{"containerID":"t","notificate":"INVALID_HASH","imageName":"t","imageID":"t","#,
                format_args!(r#""line":"sha256:{ab} /lib/x86_64-linux-gnu/libdl-2.27.so\n","#),
                r#""time":"2025-11-22T03:04:54.000000005Z","stream":"00","seq":3,"namespace":"t","node":"t","pod":"t","podName":"t","podNamespace":"t","containerName":"t","unknown":"t","source":"exec-map","event":"mmap","fileKind":"library","#,
                format_args!(
                    r#""path":"/lib/x86_64-linux-gnu/libdl-2.27.so","digest":"sha256:{ab}","expected":"sha256:{cd}","layer":"t","#
                ),
                r#""pid":7,"uid":1000,"mode":"enforce","action":"DELETE","outcome":"killed","rule":"t"}"#,
            )
        );
        let notification: Notification = serde_json::from_str(&line).unwrap();
        let Entry::Violation(record) = entry else { panic!() };
        assert_eq!(notification, record.notification());
    }

    #[test]
    fn the_worst_record_fits() {
        for byte in [1_u8, 0xff, b'\\', b'"', 0x7f] {
            let mut path = vec![b'/'];
            path.resize(CanonicalPath::MAX, byte);
            let record = of(&path, &"\u{1}".repeat(5000));
            let line = Entry::from(record).encode();
            assert!(line.len() <= MAX_RECORD, "{byte:#x}: {}", line.len());
            assert!(Entry::parse(&line).is_ok());
        }
        let bidi = format!("/{}", "\u{202e}".repeat(1365));
        assert!(Entry::from(of(bidi.as_bytes(), "")).encode().len() <= MAX_RECORD);
    }

    proptest! {
        #[test]
        fn any_path_reads_back_as_its_bytes(
            tail in proptest::collection::vec(1_u8.., 0..80),
            text in any::<String>(),
        ) {
            let path = CanonicalPath::new([&b"/"[..], &tail].concat()).unwrap();
            let line = Entry::from(of(path.as_bytes(), &text)).encode();
            prop_assert!(line.iter().all(|byte| (0x20..0x7f).contains(byte)));
            crate::fuzz::fuzz_entry(&line);
            let Entry::Violation(record) = Entry::parse(&line).unwrap() else { panic!() };
            prop_assert_eq!(record.canonical_path(), Some(path));
        }
    }
}
