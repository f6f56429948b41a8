//! Evidence on its way, in parts.

use std::sync::Arc;
use std::time::Duration;

use lacre_attest::evidence::MAX_BYTES;
use lacre_proto::attest::SubmitRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use ttrpc::Code;

use super::record::now;
use crate::session::status;

/// What has come of one node's evidence.
#[derive(Debug, Default)]
pub(super) struct Upload {
    pub(super) bytes: Vec<u8>,
    pub(super) room: Option<OwnedSemaphorePermit>,
    /// When it began to arrive, in seconds since 1970.
    pub(super) arrived: u64,
}

impl Upload {
    /// Takes a part; all of it, with the last.
    pub(super) fn take(
        &mut self,
        request: &SubmitRequest,
        room: &Arc<Semaphore>,
        within: Duration,
    ) -> ttrpc::Result<Option<Self>> {
        if request.offset == 0 {
            *self = Self { arrived: now(), ..Self::default() };
        }
        // Who takes his time shows what was, not what is.
        if now().saturating_sub(self.arrived) > within.as_secs() {
            *self = Self::default();
            return Err(status(Code::FAILED_PRECONDITION, "the evidence took too long"));
        }
        let come = self.bytes.len() as u64;
        let whole = request.offset.saturating_add(request.part.len() as u64);
        if request.offset != come || whole > MAX_BYTES {
            let why = format!(
                "{come} bytes have come, and the part begins at {}; evidence has at most {MAX_BYTES}",
                request.offset
            );
            return Err(status(Code::INVALID_ARGUMENT, why));
        }
        self.make_room(whole, room)?;
        self.bytes.extend_from_slice(&request.part);
        Ok(request.last.then(|| std::mem::take(self)))
    }

    fn make_room(&mut self, whole: u64, room: &Arc<Semaphore>) -> ttrpc::Result<()> {
        // In whole MiB, so that the smallest evidence counts, too.
        let wanted = usize::try_from(whole >> 20).unwrap_or(usize::MAX) + 1;
        let held = self.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Some(more @ 1..) = wanted.checked_sub(held) else { return Ok(()) };
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(room).try_acquire_many_owned(more) else {
            *self = Self::default();
            return Err(status(Code::RESOURCE_EXHAUSTED, "too much evidence at a time"));
        };
        match &mut self.room {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}
