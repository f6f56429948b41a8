//! What a shim answers.

use crate::wire::{WireError, fields};

/// The field of `StateResponse` that holds the status.
pub(crate) const STATE_STATUS: u32 = 4;

/// `containerd.v1.types.Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Created, and not started.
    Created,
    /// It runs.
    Running,
    /// It has ended.
    Stopped,
    /// It is frozen.
    Paused,
    /// It is being frozen.
    Pausing,
    /// Another number.
    Unknown(u32),
}

impl From<u32> for Status {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Created,
            2 => Self::Running,
            3 => Self::Stopped,
            4 => Self::Paused,
            5 => Self::Pausing,
            other => Self::Unknown(other),
        }
    }
}

impl From<Status> for u32 {
    fn from(status: Status) -> Self {
        match status {
            Status::Created => 1,
            Status::Running => 2,
            Status::Stopped => 3,
            Status::Paused => 4,
            Status::Pausing => 5,
            Status::Unknown(other) => other,
        }
    }
}

/// `StateResponse`, as far as it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The bundle.
    pub bundle: String,
    /// The process id, 0 when there is none.
    pub pid: u32,
    /// What it does.
    pub status: Status,
    /// How it ended.
    pub exit_status: u32,
}

impl State {
    /// # Errors
    /// When it is not such a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut state =
            Self { bundle: String::new(), pid: 0, status: Status::Unknown(0), exit_status: 0 };
        for field in fields(bytes) {
            let field = field?;
            match field.number {
                2 => state.bundle = field.text()?.to_owned(),
                3 => state.pid = field.uint32()?,
                STATE_STATUS => state.status = field.uint32()?.into(),
                9 => state.exit_status = field.uint32()?,
                _ => {}
            }
        }
        Ok(state)
    }
}

/// The number in field `number` of a message, 0 when absent: `CreateTaskResponse.pid`,
/// `StartResponse.pid`, `ConnectResponse.shim_pid`, `WaitResponse.exit_status` are field 1.
///
/// # Errors
/// When it is not a message, or holds something else there.
pub fn uint_at(bytes: &[u8], number: u32) -> Result<u32, WireError> {
    let mut found = 0;
    for field in fields(bytes) {
        let field = field?;
        if field.number == number {
            found = field.uint32()?;
        }
    }
    Ok(found)
}

/// The process ids of a `PidsResponse`.
///
/// # Errors
/// When it is not such a message.
pub fn pids(bytes: &[u8]) -> Result<Vec<u32>, WireError> {
    fields(bytes)
        .filter(|field| !matches!(field, Ok(field) if field.number != 1))
        .map(|field| uint_at(field?.bytes()?, 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{put_bytes, put_uint};

    #[test]
    fn a_list_of_processes_reads_as_runc_writes_it() {
        let mut bytes = Vec::new();
        for pid in [7, 8] {
            let mut process = Vec::new();
            put_uint(&mut process, 1, pid);
            put_bytes(&mut bytes, 1, &process);
        }
        assert_eq!(pids(&bytes), Ok(vec![7, 8]));
        assert_eq!(pids(&[0x0a, 9]), Err(WireError::Truncated));
    }

    #[test]
    fn every_status_reads_back() {
        for number in 0..9 {
            assert_eq!(u32::from(Status::from(number)), number);
        }
    }
}
