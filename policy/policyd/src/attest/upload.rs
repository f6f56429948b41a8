//! Evidence on its way, in parts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lacre_attest::evidence::MAX_BYTES;
use lacre_proto::attest::SubmitRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use ttrpc::Code;

use crate::clock::seconds;
use crate::rpc::status;

/// What comes over one connection.
#[derive(Debug, Default)]
pub(super) struct Uploading(Arc<Mutex<Upload>>);

impl Uploading {
    /// Takes a part; all of it, with the last. What is not all there in time is let go.
    pub(super) fn take(
        &self,
        request: &SubmitRequest,
        room: &Arc<Semaphore>,
        within: Duration,
    ) -> ttrpc::Result<Option<Upload>> {
        let mut upload = lock(&self.0);
        if request.offset == 0 {
            let (arrived, expiry) = (seconds(), Some(Expiry::of(&self.0, within)));
            *upload = Upload { arrived, expiry, ..Upload::default() };
        }
        upload.take(request, room, within)
    }
}

fn lock(upload: &Mutex<Upload>) -> MutexGuard<'_, Upload> {
    upload.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends with what it was to let go of.
#[derive(Debug)]
struct Expiry(AbortHandle);

impl Expiry {
    fn of(upload: &Arc<Mutex<Upload>>, within: Duration) -> Self {
        let upload = Arc::downgrade(upload);
        let task = tokio::spawn(async move {
            tokio::time::sleep(within).await;
            if let Some(upload) = upload.upgrade() {
                *lock(&upload) = Upload::default();
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Expiry {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What has come of one node's evidence.
#[derive(Debug, Default)]
pub(super) struct Upload {
    pub(super) bytes: Vec<u8>,
    pub(super) room: Option<OwnedSemaphorePermit>,
    /// When it began to arrive, in seconds since the machine was started.
    pub(super) arrived: u64,
    expiry: Option<Expiry>,
}

impl Upload {
    fn take(
        &mut self,
        request: &SubmitRequest,
        room: &Arc<Semaphore>,
        within: Duration,
    ) -> ttrpc::Result<Option<Self>> {
        // Who takes his time shows what was, not what is.
        if seconds().saturating_sub(self.arrived) > within.as_secs() {
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
        if !request.last {
            return Ok(None);
        }
        self.expiry = None;
        Ok(Some(std::mem::take(self)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn part(offset: u64, last: bool) -> SubmitRequest {
        SubmitRequest { offset, part: vec![1; 2 << 20], last, ..SubmitRequest::default() }
    }

    #[tokio::test]
    async fn what_is_not_ended_in_time_makes_room() {
        let (room, within) = (Arc::new(Semaphore::new(8)), Duration::from_millis(50));
        let (silent, quick) = (Uploading::default(), Uploading::default());
        assert!(silent.take(&part(0, false), &room, within).unwrap().is_none());
        assert_eq!(room.available_permits(), 5);
        assert!(quick.take(&part(0, false), &room, within).unwrap().is_none());
        let whole = quick.take(&part(2 << 20, true), &room, within).unwrap().unwrap();
        let freed = Arc::clone(&room).acquire_many_owned(3).await.unwrap();
        assert_eq!(whole.bytes.len(), 4 << 20, "what has all come stays");
        assert_eq!(room.available_permits(), 0);
        assert!(whole.expiry.is_none(), "nor does it end what comes next");
        drop((whole, freed));
        assert_eq!(room.available_permits(), 8);
        assert!(silent.take(&part(2 << 20, true), &room, within).is_err(), "it must begin anew");
    }

    #[tokio::test]
    async fn more_than_there_is_room_for_is_refused_and_let_go() {
        let (room, within) = (Arc::new(Semaphore::new(4)), Duration::from_secs(60));
        let upload = Uploading::default();
        assert!(upload.take(&part(0, false), &room, within).unwrap().is_none());
        assert!(upload.take(&part(2 << 20, false), &room, within).is_err());
        assert_eq!(room.available_permits(), 4);
    }
}
