//! What a reporter is started with.

use std::path::PathBuf;

use lacre_proto::Connector;

/// What a reporter needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name.
    pub node: String,
    /// Where the spool and the last policies are, such as `/var/lib/lacre`.
    pub state: PathBuf,
    /// The node's record file, such as `/var/log/lacre/violations.jsonl`; `None`: no file.
    pub records: Option<PathBuf>,
    /// When the record file is put aside.
    pub rotation: Rotation,
    /// The policy server; `None`: there is none, and nothing is spooled.
    pub server: Option<Connector>,
    /// The most bytes of the spool.
    pub spool_limit: u64,
    /// What the record file refuses to the last is kept in `state`, for the node's next process
    /// to write. Not where the caller, who is told, keeps it.
    pub keeps_unwritten: bool,
}

impl Config {
    /// The usual bounds, no record file, no server.
    #[must_use]
    pub fn new(node: impl Into<String>, state: impl Into<PathBuf>) -> Self {
        Self {
            node: node.into(),
            state: state.into(),
            records: None,
            rotation: Rotation::default(),
            server: None,
            spool_limit: 16 * 1024 * 1024,
            keeps_unwritten: true,
        }
    }

    pub(crate) fn spools(&self) -> PathBuf {
        self.state.join("spool")
    }
}

/// When the record file is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// From this size on. 0: never, logrotate does it.
    pub bytes: u64,
    /// How many old files are kept, as `.1` (the youngest) to `.N`.
    pub keep: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { bytes: 64 * 1024 * 1024, keep: 5 }
    }
}
