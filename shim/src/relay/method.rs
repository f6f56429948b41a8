//! Which calls are read, in each version of the Task API.

use crate::ttrpc::Request;
use crate::wire::WireError;

/// The calls that are read. All others pass, also those that nobody knows today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Create,
    Start,
    Exec,
    Delete,
    Kill,
    Pause,
    Resume,
    State,
    Checkpoint,
}

impl Method {
    /// Which one a request frame calls, if it is one of these, in whichever version.
    pub(super) fn of(frame: &[u8]) -> Result<Option<Self>, WireError> {
        let request = Request::decode(frame)?;
        let task = request.service.starts_with(b"containerd.task.");
        if !task || !request.service.ends_with(b".Task") {
            return Ok(None);
        }
        Ok(match request.method {
            b"Create" => Some(Self::Create),
            b"Start" => Some(Self::Start),
            b"Exec" => Some(Self::Exec),
            b"Delete" => Some(Self::Delete),
            b"Kill" => Some(Self::Kill),
            b"Pause" => Some(Self::Pause),
            b"Resume" => Some(Self::Resume),
            b"State" => Some(Self::State),
            b"Checkpoint" => Some(Self::Checkpoint),
            _ => None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Start => "Start",
            Self::Exec => "Exec",
            Self::Delete => "Delete",
            Self::Kill => "Kill",
            Self::Pause => "Pause",
            Self::Resume => "Resume",
            Self::State => "State",
            Self::Checkpoint => "Checkpoint",
        }
    }

    pub(super) const fn waits_for_guard(self) -> bool {
        matches!(self, Self::Create | Self::Start | Self::Exec)
    }
}
