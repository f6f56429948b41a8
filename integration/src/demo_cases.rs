//! The four containers of the demonstration, which every kernel must tell apart, too.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::images::{BUSYBOX, DEBIAN};

/// In the form of Sarmento 2023, figure 3.
pub const POLICY: &str = r#"Actions:
  ENTRY_NOT_FOUND:
    ByContainerImageName:
      - "lacre.test/busybox:1": "KILL"
    Default: "DENY"
  INVALID_HASH:
    Default: "PAUSE"
  NO_WHITELIST:
    Default: "STOP"
"#;

/// One container, and what is expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The container's id.
    pub id: &'static str,
    /// What it does, for a person.
    pub what: &'static str,
    /// The image's name; without one, the container has a plain folder as its root.
    pub image: Option<&'static str>,
    /// What its shell runs; `sleep` comes last.
    pub script: &'static str,
    /// The violation that has to come, if one has to.
    pub expected: Option<&'static str>,
    /// What the policy says to that, or `-`.
    pub action: &'static str,
    /// The state afterwards, as containerd tells it.
    pub state: &'static str,
}

/// All of them.
pub const CASES: [Case; 4] = [
    Case {
        id: "clean",
        what: "only what came with the image",
        image: Some(DEBIAN),
        script: "ls / >/dev/null; python3 -c 'print(1)'; perl -e 1; sleep 1000",
        expected: None,
        action: "-",
        state: "RUNNING",
    },
    Case {
        id: "dropped",
        what: "a program that somebody copied in",
        image: Some(BUSYBOX),
        script: "cp /bin/busybox /tmp/sleep; /tmp/sleep 1000; sleep 1000",
        expected: Some("ENTRY_NOT_FOUND"),
        action: "KILL",
        state: "STOPPED",
    },
    Case {
        id: "replaced",
        what: "a library of the image, with other content",
        image: Some(DEBIAN),
        script: "cd /lib/x86_64-linux-gnu; cp libselinux.so.1 /tmp/l; printf x >>/tmp/l; \
                 mv /tmp/l libselinux.so.1; ls / >/dev/null; sleep 1000",
        expected: Some("INVALID_HASH"),
        action: "PAUSE",
        state: "PAUSED",
    },
    Case {
        id: "unknown",
        what: "a container with no image, and so no baseline",
        image: None,
        script: "sleep 1000",
        expected: Some("NO_WHITELIST"),
        action: "STOP",
        state: "STOPPED",
    },
];

impl Case {
    /// The case of that id.
    #[must_use]
    pub fn named(id: &str) -> Option<Self> {
        CASES.into_iter().find(|case| case.id == id)
    }
}

/// What lacre saw of a container, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The container's id.
    pub id: String,
    /// How many violations were recorded.
    pub violations: usize,
    /// Of the last one, or `-`.
    pub kind: String,
    /// Of the last one, or `-`: digest and path.
    pub line: String,
    /// Of the last one, or `-`.
    pub action: String,
    /// Of the last one, or `-`.
    pub outcome: String,
    /// The state afterwards, as containerd tells it.
    pub state: String,
}

impl Row {
    /// Of a container's records, and the state that it is in.
    #[must_use]
    pub fn new(case: &Case, records: &[Value], state: String) -> Self {
        let word = |name: &str| -> String {
            let mut values = records.iter().filter_map(|record| record[name].as_str());
            values.next_back().unwrap_or("-").trim_end().to_owned()
        };
        Self {
            id: case.id.to_owned(),
            violations: records.len(),
            kind: word("notificate"),
            line: word("line"),
            action: word("action"),
            outcome: word("outcome"),
            state,
        }
    }

    /// Whether it is what `case` says.
    #[must_use]
    pub fn is_of(&self, case: &Case) -> bool {
        let words = [&self.kind, &self.action, &self.state];
        words == [case.expected.unwrap_or("-"), case.action, case.state]
    }
}

/// The violations of the container `id` in a record file that may not be there yet.
///
/// # Errors
/// When a whole line of it is not JSON.
pub fn records(file: &Path, id: &str) -> Result<Vec<Value>> {
    let own = |entry: &Value| entry["containerID"] == id && entry["notificate"].is_string();
    Ok(crate::records::read(file)?.into_iter().filter(own).collect())
}

/// The state in which the last action leaves a container, if it changes it.
#[must_use]
pub fn state_after(records: &[Value]) -> Option<&'static str> {
    match records.last()?["action"].as_str()? {
        "PAUSE" => Some("PAUSED"),
        "KILL" | "STOP" => Some("STOPPED"),
        _ => None,
    }
}

/// A root file system in `folder` that never was an image.
///
/// # Errors
/// When it cannot be written.
pub fn plain_rootfs(folder: &Path, busybox: &Path) -> Result<PathBuf> {
    let rootfs = folder.join("rootfs");
    for name in ["bin", "proc", "dev", "sys", "tmp", "run", "etc"] {
        fs::create_dir_all(rootfs.join(name))?;
    }
    fs::copy(busybox, rootfs.join("bin/busybox"))?;
    for applet in ["sh", "sleep"] {
        symlink("busybox", rootfs.join("bin").join(applet))?;
    }
    Ok(rootfs)
}
