//! What test and guest say to each other: one line of JSON each.

use std::io::{BufRead, Read};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The greatest line: an IMA list of 50,000 entries, as hex.
const LINE_MAX: u64 = 16 << 20;

/// What a test asks of its guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Runs one of [`crate::demo_cases::CASES`]; the answer is its [`crate::demo_cases::Row`].
    Case {
        /// The case.
        id: String,
        /// The version of containerd ([`crate::Version::name`]).
        containerd: String,
        /// The shim's configuration for it; without one, the guest's own.
        config: Option<String>,
    },
    /// Runs a script of the shell; the answer is what it printed. A script that fails is a
    /// failure.
    Run {
        /// The script.
        script: String,
        /// Which containerd `ctr` talks to; it is started first if need be.
        containerd: Option<String>,
        /// The shim's configuration meanwhile; without one, the guest's own.
        config: Option<String>,
    },
    /// Waits for a violation; the answer is the container's records.
    Violation {
        /// The container's id.
        id: String,
        /// What the record must have in it, as `ENTRY_NOT_FOUND`.
        word: String,
    },
    /// Measures how `container-ima` follows; the answer is a
    /// [`super::follow_latency::Following`].
    Following {
        /// How many programs the container runs.
        programs: usize,
        /// Whether a bare loop reads the list, too.
        beside: bool,
    },
    /// Reads a file; the answer is its bytes, as hex.
    Read {
        /// The file.
        path: String,
    },
    /// Loads and attaches a BPF program of type LSM; the answer is how often it was called
    /// while one program was executed.
    LsmProgram,
    /// Ends all that runs, and reboots; the answer is that it is about to, and then comes a
    /// [`Hello`].
    Reboot,
}

/// What the agent says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Of the running kernel.
    pub release: String,
    /// Since the kernel's start.
    pub uptime_ms: u64,
    /// Whether the kernel has found its TPM.
    pub tpm: bool,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Done(Value),
    Failed(String),
}

/// The next line, or nothing when the other side has gone.
pub(crate) fn read<T: for<'a> Deserialize<'a>>(from: &mut impl BufRead) -> Result<Option<T>> {
    let mut line = String::new();
    let got = from.by_ref().take(LINE_MAX).read_line(&mut line)?;
    if got == 0 {
        return Ok(None);
    }
    ensure!(line.ends_with('\n'), "a line of {got} bytes has no end");
    Ok(Some(serde_json::from_str(&line).with_context(|| format!("reading {line:?}"))?))
}

/// One line, end included.
pub(crate) fn line(message: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Result<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect::<Option<_>>().context("this is not hex")
}
